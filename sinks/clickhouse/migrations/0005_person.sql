-- Who is one person today. Rows keep the user they were landed for; the links say whom that
-- user is now, so that a merge rewrites no row and can be undone. The alias `person` of each
-- table looks the link up as it is read: with no link it is the user itself.

CREATE TABLE IF NOT EXISTS identity_links
(
    identifier String                             COMMENT 'identifier or former user, <kind>:<value>'  CODEC(ZSTD(1)),
    user       String                             COMMENT 'canonical user it belongs to, <kind>:<value>; itself: unbound'  CODEC(ZSTD(1)),
    version    UInt64                             COMMENT 'a later link of the identifier has a greater one; the greatest counts'  CODEC(ZSTD(1)),
    linked_at  DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when it was bound, merged or unbound'  CODEC(DoubleDelta, ZSTD(1)),
    cause      String DEFAULT ''                  COMMENT 'message id of the event behind it, empty if put in by hand'  CODEC(ZSTD(1)),
    _partition UInt32 DEFAULT 0                   COMMENT 'partition of the record'  CODEC(ZSTD(1)),
    _offset    UInt64 DEFAULT 0                   COMMENT 'offset of the record'  CODEC(Delta, ZSTD(1)),
    _logged_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'time of the record on the broker'  CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (identifier, version)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Every link of an identifier to a canonical user; an append-only log';

-- A user that was merged into one that was merged later is the last one's. Sixteen merges in a
-- row are followed; a circle, which no agent makes, ends there too.
CREATE VIEW IF NOT EXISTS user_of
(
    identifier String COMMENT 'identifier or former user, <kind>:<value>',
    user       String COMMENT 'canonical user today; an identifier without a link is its own'
)
AS
WITH RECURSIVE
    latest AS
    (
        SELECT identifier, argMax(user, version) AS user
        FROM {database}.identity_links
        GROUP BY identifier
        HAVING user != identifier
    ),
    walk AS
    (
        SELECT identifier, user, 1 AS depth
        FROM latest
        UNION ALL
        SELECT walk.identifier AS identifier, latest.user AS user, walk.depth + 1 AS depth
        FROM walk
        INNER JOIN latest ON latest.identifier = walk.user
        WHERE walk.depth < 16
    )
SELECT identifier, argMax(user, depth) AS user
FROM walk
GROUP BY identifier;

CREATE VIEW IF NOT EXISTS person_keys
(
    user_key UInt64 COMMENT 'sipHash64 of the identifier',
    person   UInt64 COMMENT 'sipHash64 of its canonical user today'
)
AS
SELECT sipHash64(identifier) AS user_key, sipHash64(user) AS person
FROM user_of;

-- In memory, 16 bytes and a little a link. Read anew only if the links have changed.
CREATE DICTIONARY IF NOT EXISTS persons
(
    user_key UInt64,
    person   UInt64
)
PRIMARY KEY user_key
SOURCE(CLICKHOUSE({login}DB '{database}' TABLE 'person_keys' INVALIDATE_QUERY 'SELECT count(), max(version) FROM {database}.identity_links'))
LAYOUT(HASHED())
LIFETIME(MIN 5 MAX 10)
COMMENT 'Key of a user to the key of the canonical user today';

ALTER TABLE events
    ADD COLUMN IF NOT EXISTS user_key UInt64 DEFAULT sipHash64(user) COMMENT 'hash of the user: fast to group by' CODEC(LZ4),
    ADD COLUMN IF NOT EXISTS person UInt64 ALIAS dictGetOrDefault('{database}.persons', 'person', user_key, user_key) COMMENT 'user_key of the canonical user today',
    COMMENT COLUMN IF EXISTS door 'native, segment, sensors, wechat or wecom';

ALTER TABLE tag_changes
    ADD COLUMN IF NOT EXISTS user_key UInt64 DEFAULT sipHash64(user) COMMENT 'hash of the user: fast to group by' CODEC(LZ4),
    ADD COLUMN IF NOT EXISTS person UInt64 ALIAS dictGetOrDefault('{database}.persons', 'person', user_key, user_key) COMMENT 'user_key of the canonical user today';

ALTER TABLE decisions
    ADD COLUMN IF NOT EXISTS user_key UInt64 DEFAULT sipHash64(user) COMMENT 'hash of the user: fast to group by' CODEC(LZ4),
    ADD COLUMN IF NOT EXISTS person UInt64 ALIAS dictGetOrDefault('{database}.persons', 'person', user_key, user_key) COMMENT 'user_key of the canonical user today',
    COMMENT COLUMN IF EXISTS outcome 'sent, held, suppressed, exited, holdout or converted';

ALTER TABLE receipts
    ADD COLUMN IF NOT EXISTS user_key UInt64 DEFAULT sipHash64(user) COMMENT 'hash of the user: fast to group by' CODEC(LZ4),
    ADD COLUMN IF NOT EXISTS person UInt64 ALIAS dictGetOrDefault('{database}.persons', 'person', user_key, user_key) COMMENT 'user_key of the canonical user today';
