-- The latest change of each tag of each user. A repeated or re-read change is no other version,
-- so this holds whatever is inserted twice; readers take the highest version, without FINAL.
-- The order of changes is that of the log, not of their own times: a late event moves a tag now,
-- and is told with the time at which it happened.
CREATE TABLE IF NOT EXISTS tags_latest
(
    tag        LowCardinality(String)  COMMENT 'id of the tag in the rulebook; segment.ID of a segment',
    user       String                  COMMENT 'canonical user'  CODEC(ZSTD(1)),
    after      String                  COMMENT 'JSON of the value; null: expired or taken away'  CODEC(ZSTD(1)),
    time       DateTime64(3, 'UTC')    COMMENT 'when it changed, in event time'  CODEC(ZSTD(1)),
    message_id String                  COMMENT 'event that moved it, empty where time alone did'  CODEC(ZSTD(1)),
    version    UInt128                 COMMENT 'time of the record on the broker in ms, and offset: the highest is the latest'  CODEC(ZSTD(1))
)
ENGINE = ReplacingMergeTree(version)
ORDER BY (tag, user)
SETTINGS non_replicated_deduplication_window = 100000, index_granularity = 1024
COMMENT 'Latest change of each tag of a user; read with argMax(..., version), or by the views user_tags and profiles';

CREATE MATERIALIZED VIEW IF NOT EXISTS tags_latest_of_tag_changes TO tags_latest AS
SELECT tag, user, after, time, message_id, bitShiftLeft(toUInt128(toUnixTimestamp64Milli(_logged_at)), 64) + toUInt128(_offset) AS version
FROM tag_changes;

INSERT INTO tags_latest (tag, user, after, time, message_id, version)
SELECT tag, user, after, time, message_id, bitShiftLeft(toUInt128(toUnixTimestamp64Milli(_logged_at)), 64) + toUInt128(_offset)
FROM tag_changes;

CREATE VIEW IF NOT EXISTS user_tags AS
SELECT
    user,
    tag,
    latest.1 AS value,
    latest.2 AS since,
    latest.3 AS message_id
FROM
(
    SELECT user, tag, argMax((after, time, message_id), version) AS latest
    FROM tags_latest
    GROUP BY tag, user
)
WHERE value != 'null';

CREATE VIEW IF NOT EXISTS profiles AS
SELECT
    user,
    CAST((groupArray(toString(tag)), groupArray(value)), 'Map(String, String)') AS tags,
    CAST((groupArray(toString(tag)), groupArray(since)), 'Map(String, DateTime64(3, \'UTC\'))') AS since,
    max(user_tags.since) AS changed_at
FROM user_tags
GROUP BY user;
