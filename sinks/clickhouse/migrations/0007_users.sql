-- What the questions about users read: narrow, by user, so that ten million events are grouped
-- in under a second. Times are cut into quarters of an hour, not days: a day of any time zone is
-- a whole number of them, and a pause of a quarter or more is seen from the first and last event.

CREATE TABLE IF NOT EXISTS journeys
(
    user_key   UInt64                  COMMENT 'hash of the user'  CODEC(Delta, LZ4),
    timestamp  DateTime64(3, 'UTC')    COMMENT 'when it happened'  CODEC(Delta, LZ4),
    event      LowCardinality(String)  COMMENT 'name of the fact',
    source     LowCardinality(String)  COMMENT 'app, mini_program, official_account, web or server',
    _partition UInt32                  COMMENT 'partition in events'  CODEC(LZ4),
    _offset    UInt64                  COMMENT 'offset in events; orders what happened at the same time'  CODEC(Delta, LZ4),
    person     UInt64 ALIAS dictGetOrDefault('{database}.persons', 'person', user_key, user_key) COMMENT 'user_key of the canonical user today'
)
ENGINE = MergeTree
ORDER BY (user_key, timestamp)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Every event, narrow, by user and time: funnels, paths, cohorts of events';

CREATE MATERIALIZED VIEW IF NOT EXISTS journeys_of_events TO journeys AS
SELECT user_key, timestamp, event, source, _partition, _offset
FROM events;

CREATE TABLE IF NOT EXISTS activity
(
    user_key UInt64                                                COMMENT 'hash of the user'  CODEC(Delta, LZ4),
    quarter  DateTime('UTC')                                       COMMENT 'quarter of an hour of the event time'  CODEC(Delta, LZ4),
    source   LowCardinality(String)                                COMMENT 'app, mini_program, official_account, web or server',
    first    SimpleAggregateFunction(min, DateTime64(3, 'UTC'))    COMMENT 'first event in it'  CODEC(Delta, LZ4),
    last     SimpleAggregateFunction(max, DateTime64(3, 'UTC'))    COMMENT 'last event in it'  CODEC(Delta, LZ4),
    events   SimpleAggregateFunction(sum, UInt64)                  COMMENT 'events in it; read with sum(events)'  CODEC(LZ4),
    person   UInt64 ALIAS dictGetOrDefault('{database}.persons', 'person', user_key, user_key) COMMENT 'user_key of the canonical user today'
)
ENGINE = AggregatingMergeTree
ORDER BY (user_key, quarter, source)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'When each user was there, by quarter of an hour and source: active users, sessions, retention';

CREATE MATERIALIZED VIEW IF NOT EXISTS activity_of_events TO activity AS
SELECT user_key, toDateTime(toStartOfInterval(timestamp, toIntervalMinute(15)), 'UTC') AS quarter, source, min(timestamp) AS first, max(timestamp) AS last, count() AS events
FROM events
GROUP BY user_key, quarter, source;

CREATE TABLE IF NOT EXISTS users
(
    user_key UInt64                                              COMMENT 'hash of the user'  CODEC(Delta, LZ4),
    user     SimpleAggregateFunction(any, String)                COMMENT 'the user as landed, <kind>:<value>'  CODEC(ZSTD(1)),
    first    SimpleAggregateFunction(min, DateTime64(3, 'UTC'))  COMMENT 'first event'  CODEC(LZ4),
    last     SimpleAggregateFunction(max, DateTime64(3, 'UTC'))  COMMENT 'last event'  CODEC(LZ4),
    events   SimpleAggregateFunction(sum, UInt64)                COMMENT 'events; read with sum(events)'  CODEC(LZ4),
    channel  AggregateFunction(argMinIf, String, Tuple(DateTime64(3, 'UTC'), UInt32, UInt64), UInt8) COMMENT 'first channel that is known; read with argMinIfMerge(channel)'  CODEC(LZ4),
    person   UInt64 ALIAS dictGetOrDefault('{database}.persons', 'person', user_key, user_key) COMMENT 'user_key of the canonical user today'
)
ENGINE = AggregatingMergeTree
ORDER BY user_key
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'First and last event and first channel of each user';

CREATE MATERIALIZED VIEW IF NOT EXISTS users_of_events TO users AS
SELECT
    user_key,
    any(events.user) AS user,
    min(timestamp) AS first,
    max(timestamp) AS last,
    count() AS events,
    argMinIfState(toString(events.channel), (timestamp, _partition, _offset), events.channel != '') AS channel
FROM events
GROUP BY user_key;

CREATE TABLE IF NOT EXISTS orders
(
    event    LowCardinality(String)                              COMMENT 'order_paid, order_refunded or any other event with an amount',
    quarter  DateTime('UTC')                                     COMMENT 'quarter of an hour of the event time'  CODEC(Delta, LZ4),
    user_key UInt64                                              COMMENT 'hash of the user'  CODEC(LZ4),
    source   LowCardinality(String)                              COMMENT 'app, mini_program, official_account, web or server',
    channel  LowCardinality(String)                              COMMENT 'marketing channel of the order, empty if unknown',
    first    SimpleAggregateFunction(min, DateTime64(3, 'UTC'))  COMMENT 'first order in it'  CODEC(Delta, LZ4),
    orders   SimpleAggregateFunction(sum, UInt64)                COMMENT 'orders; read with sum(orders)'  CODEC(LZ4),
    amount   SimpleAggregateFunction(sum, Decimal(38, 4))        COMMENT 'money of them; read with sum(amount)'  CODEC(LZ4),
    person   UInt64 ALIAS dictGetOrDefault('{database}.persons', 'person', user_key, user_key) COMMENT 'user_key of the canonical user today'
)
ENGINE = AggregatingMergeTree
ORDER BY (event, quarter, user_key, source, channel)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Orders and money by user and quarter of an hour';

CREATE MATERIALIZED VIEW IF NOT EXISTS orders_of_events TO orders AS
SELECT event, toDateTime(toStartOfInterval(timestamp, toIntervalMinute(15)), 'UTC') AS quarter, user_key, source, channel, min(timestamp) AS first, count() AS orders, toDecimal128(sum(ifNull(events.amount, 0)), 4) AS amount
FROM events
WHERE events.amount IS NOT NULL OR event IN ('order_paid', 'order_refunded')
GROUP BY event, quarter, user_key, source, channel;

CREATE TABLE IF NOT EXISTS identifiers
(
    name     String                                              COMMENT 'identifier without its kind, and without the appid of an openid'  CODEC(ZSTD(1)),
    user_key UInt64                                              COMMENT 'hash of a user that has it'  CODEC(LZ4),
    first    SimpleAggregateFunction(min, DateTime64(3, 'UTC'))  COMMENT 'first event of that user with it'  CODEC(LZ4),
    person   UInt64 ALIAS dictGetOrDefault('{database}.persons', 'person', user_key, user_key) COMMENT 'user_key of the canonical user today'
)
ENGINE = AggregatingMergeTree
ORDER BY (name, user_key)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Which users have an identifier: who is the sharer that a share names';

CREATE MATERIALIZED VIEW IF NOT EXISTS identifiers_of_events TO identifiers AS
SELECT substringIndex(identifier, ':', -1) AS name, user_key, min(timestamp) AS first
FROM events
ARRAY JOIN mapValues(identities) AS identifier
GROUP BY name, user_key;
