-- Aggregates are exact because each target has its own deduplication window: a block that is
-- inserted again under its token is dropped there too. They have no partitions, so that one
-- block of the source stays one block here. Days are the brand's: Asia/Shanghai.

CREATE TABLE IF NOT EXISTS events_per_minute
(
    source LowCardinality(String)                COMMENT 'app, mini_program, official_account, web or server',
    event  LowCardinality(String)                COMMENT 'name of the fact',
    minute DateTime('UTC')                       COMMENT 'minute of the event time'  CODEC(DoubleDelta, ZSTD(1)),
    events SimpleAggregateFunction(sum, UInt64)  COMMENT 'read with sum(events)'
)
ENGINE = AggregatingMergeTree
ORDER BY (source, event, minute)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Events by source, name and minute';

CREATE MATERIALIZED VIEW IF NOT EXISTS events_per_minute_of_events TO events_per_minute AS
SELECT source, event, toStartOfMinute(timestamp) AS minute, count() AS events
FROM events
GROUP BY source, event, minute;

CREATE TABLE IF NOT EXISTS users_per_day
(
    day    Date                             COMMENT 'day of the event time in Asia/Shanghai'  CODEC(DoubleDelta, ZSTD(1)),
    source LowCardinality(String)           COMMENT 'app, mini_program, official_account, web or server',
    users  AggregateFunction(uniq, String)  COMMENT 'read with uniqMerge(users)',
    events SimpleAggregateFunction(sum, UInt64)  COMMENT 'read with sum(events)'
)
ENGINE = AggregatingMergeTree
ORDER BY (day, source)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Users and events by day and source';

CREATE MATERIALIZED VIEW IF NOT EXISTS users_per_day_of_events TO users_per_day AS
SELECT toDate(timestamp, 'Asia/Shanghai') AS day, source, uniqState(user) AS users, count() AS events
FROM events
GROUP BY day, source;

CREATE TABLE IF NOT EXISTS touches_by_rule
(
    rule    LowCardinality(String)                COMMENT 'id of the rule in the rulebook',
    day     Date                                  COMMENT 'day in Asia/Shanghai'  CODEC(DoubleDelta, ZSTD(1)),
    stage   LowCardinality(String)                COMMENT 'decision: what the rule said; receipt: what the channel said',
    outcome LowCardinality(String)                COMMENT 'sent, suppressed, holdout, exited; of receipts: sent, failed, unknown',
    reason  LowCardinality(String)                COMMENT 'reason of the decision; of receipts: code of the channel',
    channel LowCardinality(String)                COMMENT 'channel, empty for decisions',
    touches SimpleAggregateFunction(sum, UInt64)  COMMENT 'read with sum(touches)'
)
ENGINE = AggregatingMergeTree
ORDER BY (rule, day, stage, outcome, reason, channel)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Decisions and receipts by rule, day and outcome';

CREATE MATERIALIZED VIEW IF NOT EXISTS touches_by_rule_of_decisions TO touches_by_rule AS
SELECT rule, toDate(time, 'Asia/Shanghai') AS day, 'decision' AS stage, outcome, reason, '' AS channel, count() AS touches
FROM decisions
GROUP BY rule, day, outcome, reason;

CREATE MATERIALIZED VIEW IF NOT EXISTS touches_by_rule_of_receipts TO touches_by_rule AS
SELECT rule, toDate(time, 'Asia/Shanghai') AS day, 'receipt' AS stage, status AS outcome, code AS reason, channel, count() AS touches
FROM receipts
GROUP BY rule, day, outcome, reason, channel;
