-- Who shared, and who has an identifier, by hash alone: the questions about sharing then read no
-- column that names a person, and analysts need not see one.

ALTER TABLE events
    ADD COLUMN IF NOT EXISTS sharer_key UInt64 DEFAULT if(JSONExtractString(properties, 'sharer') = '', 0, sipHash64(substringIndex(JSONExtractString(properties, 'sharer'), ':', -1))) COMMENT 'hash of the identifier of who shared, without its kind; 0: none named' CODEC(ZSTD(1)) AFTER user_key;

DROP VIEW IF EXISTS identifiers_of_events;

DROP TABLE IF EXISTS identifiers SYNC;

CREATE TABLE IF NOT EXISTS identifiers
(
    name_key UInt64                                              COMMENT 'hash of the identifier, without its kind and the appid of an openid'  CODEC(LZ4),
    user_key UInt64                                              COMMENT 'hash of a user that has it'  CODEC(LZ4),
    first    SimpleAggregateFunction(min, DateTime64(3, 'UTC'))  COMMENT 'first event of that user with it'  CODEC(LZ4),
    person   UInt64 ALIAS dictGetOrDefault('{database}.persons', 'person', user_key, user_key) COMMENT 'user_key of the canonical user today'
)
ENGINE = AggregatingMergeTree
ORDER BY (name_key, user_key)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Which users have an identifier: who is the sharer that a share names';

CREATE MATERIALIZED VIEW IF NOT EXISTS identifiers_of_events TO identifiers AS
SELECT sipHash64(substringIndex(identifier, ':', -1)) AS name_key, user_key, min(timestamp) AS first
FROM events
ARRAY JOIN mapValues(identities) AS identifier
GROUP BY name_key, user_key;
