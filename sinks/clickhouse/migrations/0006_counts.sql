-- Counts and distinct users by source, channel and event, for each minute and each day. The
-- tables of 0002 without a channel are made anew; `migrate` fills what is empty from the raw
-- rows. Users are counted as landed: the questions that count persons read the tables of 0007.

DROP VIEW IF EXISTS events_per_minute_of_events;

DROP VIEW IF EXISTS users_per_day_of_events;

DROP TABLE IF EXISTS events_per_minute SYNC;

DROP TABLE IF EXISTS users_per_day SYNC;

CREATE TABLE IF NOT EXISTS events_per_minute
(
    source  LowCardinality(String)                COMMENT 'app, mini_program, official_account, web or server',
    event   LowCardinality(String)                COMMENT 'name of the fact',
    minute  DateTime('UTC')                       COMMENT 'minute of the event time'  CODEC(DoubleDelta, ZSTD(1)),
    channel LowCardinality(String)                COMMENT 'marketing channel, empty if unknown',
    events  SimpleAggregateFunction(sum, UInt64)  COMMENT 'read with sum(events)'  CODEC(ZSTD(1)),
    users   AggregateFunction(uniq, UInt64)       COMMENT 'read with uniqMerge(users)'  CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY (source, event, minute, channel)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Events and users by source, name, minute and channel';

CREATE MATERIALIZED VIEW IF NOT EXISTS events_per_minute_of_events TO events_per_minute AS
SELECT source, event, toStartOfMinute(timestamp) AS minute, channel, count() AS events, uniqState(user_key) AS users
FROM events
GROUP BY source, event, minute, channel;

CREATE TABLE IF NOT EXISTS users_per_day
(
    day     Date                                  COMMENT 'day of the event time in Asia/Shanghai'  CODEC(DoubleDelta, ZSTD(1)),
    source  LowCardinality(String)                COMMENT 'app, mini_program, official_account, web or server',
    channel LowCardinality(String)                COMMENT 'marketing channel, empty if unknown',
    event   LowCardinality(String)                COMMENT 'name of the fact',
    users   AggregateFunction(uniq, UInt64)       COMMENT 'read with uniqMerge(users)'  CODEC(ZSTD(1)),
    events  SimpleAggregateFunction(sum, UInt64)  COMMENT 'read with sum(events)'  CODEC(ZSTD(1))
)
ENGINE = AggregatingMergeTree
ORDER BY (day, source, channel, event)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Users and events by day, source, channel and name';

CREATE MATERIALIZED VIEW IF NOT EXISTS users_per_day_of_events TO users_per_day AS
SELECT toDate(timestamp, 'Asia/Shanghai') AS day, source, channel, event, uniqState(user_key) AS users, count() AS events
FROM events
GROUP BY day, source, channel, event;
