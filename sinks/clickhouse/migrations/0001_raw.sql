-- One table per landed topic. Plain MergeTree: the lander inserts each offset once, so no
-- query needs FINAL. Partitions follow _logged_at (when the broker logged the record), not
-- event time: one insert then hits one partition, however old the events of a late phone are.
-- The deduplication window is counted in inserts, not in time: 100 000 are hours of landing.

CREATE TABLE IF NOT EXISTS events
(
    message_id         String                            COMMENT 'id of the fact, from its producer'  CODEC(ZSTD(1)),
    type               LowCardinality(String)            COMMENT 'track, identify, page, screen, group or alias',
    event              LowCardinality(String)            COMMENT 'name of the fact, a verb in the past',
    user               String                            COMMENT 'canonical user at landing, <kind>:<value>'  CODEC(ZSTD(1)),
    source             LowCardinality(String)            COMMENT 'app, mini_program, official_account, web or server',
    door               LowCardinality(String)            COMMENT 'native, segment, sensors or wechat',
    account            LowCardinality(String)            COMMENT 'name of the write key, or the appid',
    timestamp          DateTime64(3, 'UTC')              COMMENT 'when it happened, corrected for the clock of the client'  CODEC(DoubleDelta, ZSTD(1)),
    received_at        DateTime64(3, 'UTC')              COMMENT 'when the collector took it'  CODEC(DoubleDelta, ZSTD(1)),
    original_timestamp Nullable(DateTime64(3, 'UTC'))    COMMENT 'when it happened, by the clock of the client'  CODEC(ZSTD(1)),
    sent_at            Nullable(DateTime64(3, 'UTC'))    COMMENT 'when it was sent, by the clock of the client'  CODEC(ZSTD(1)),
    user_id            String                            COMMENT 'as the producer gave it, empty if absent'  CODEC(ZSTD(1)),
    anonymous_id       String                            COMMENT 'as the producer gave it, empty if absent'  CODEC(ZSTD(1)),
    identities         Map(LowCardinality(String), String) COMMENT 'every identifier by kind; phone and e-mail as keyed HMAC'  CODEC(ZSTD(1)),
    context            String                            COMMENT 'JSON'  CODEC(ZSTD(1)),
    properties         String                            COMMENT 'JSON'  CODEC(ZSTD(1)),
    traits             String                            COMMENT 'JSON'  CODEC(ZSTD(1)),
    marks              Array(LowCardinality(String))     COMMENT 'late, future, uncatalogued',
    raw_partition      Int32                             COMMENT 'partition in events.raw'  CODEC(ZSTD(1)),
    raw_offset         Int64                             COMMENT 'offset in events.raw'  CODEC(Delta, ZSTD(1)),
    _partition         UInt32                            COMMENT 'partition in events'  CODEC(ZSTD(1)),
    _offset            UInt64                            COMMENT 'offset in events'  CODEC(Delta, ZSTD(1)),
    _logged_at         DateTime64(3, 'UTC')              COMMENT 'time of the record on the broker'  CODEC(DoubleDelta, ZSTD(1)),
    -- The engine computes these: a later one is filled for old rows too, without a backfill.
    channel            LowCardinality(String)            DEFAULT JSONExtractString(context, 'channel') COMMENT 'marketing channel, empty if unknown',
    amount             Nullable(Decimal(18, 4))          DEFAULT toDecimal64OrNull(trim(BOTH '"' FROM JSONExtractRaw(properties, 'amount')), 4) COMMENT 'money of the event, in the unit of the catalogue; NULL if absent or no number',
    sku                String                            DEFAULT JSONExtractString(properties, 'sku') COMMENT 'article, empty if absent'  CODEC(ZSTD(1)),
    category           LowCardinality(String)            DEFAULT JSONExtractString(properties, 'category') COMMENT 'category of the article, empty if absent',
    order_id           String                            DEFAULT JSONExtractString(properties, 'order_id') COMMENT 'order, empty if absent'  CODEC(ZSTD(1)),
    INDEX by_user user TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_time timestamp TYPE minmax GRANULARITY 4,
    INDEX by_message message_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(_logged_at)
ORDER BY (event, toStartOfHour(timestamp), user, timestamp)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Accepted events, each once (topic events)';

CREATE TABLE IF NOT EXISTS tag_changes
(
    change_id    String                  COMMENT 'derived from its cause: a replay makes the same'  CODEC(ZSTD(1)),
    user         String                  COMMENT 'canonical user'  CODEC(ZSTD(1)),
    tag          LowCardinality(String)  COMMENT 'id of the tag in the rulebook',
    before       String                  COMMENT 'JSON; null: not set'  CODEC(ZSTD(1)),
    after        String                  COMMENT 'JSON; null: expired or taken away'  CODEC(ZSTD(1)),
    time         DateTime64(3, 'UTC')    COMMENT 'when it changed, in event time'  CODEC(DoubleDelta, ZSTD(1)),
    message_id   String                  COMMENT 'event that moved it, empty where time alone did'  CODEC(ZSTD(1)),
    _partition   UInt32                  COMMENT 'partition in tags'  CODEC(ZSTD(1)),
    _offset      UInt64                  COMMENT 'offset in tags'  CODEC(Delta, ZSTD(1)),
    _logged_at   DateTime64(3, 'UTC')    COMMENT 'time of the record on the broker'  CODEC(DoubleDelta, ZSTD(1)),
    INDEX by_user user TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(_logged_at)
ORDER BY (tag, user, time)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Every change of a tag of a user (topic tags); the latest by user and tag is the profile';

CREATE TABLE IF NOT EXISTS decisions
(
    decision_id  String                  COMMENT 'derived from rule, version, user and trigger'  CODEC(ZSTD(1)),
    rule         LowCardinality(String)  COMMENT 'id of the rule in the rulebook',
    rule_version LowCardinality(String)  COMMENT 'version of the rule',
    user         String                  COMMENT 'canonical user'  CODEC(ZSTD(1)),
    outcome      LowCardinality(String)  COMMENT 'sent, suppressed, holdout or exited',
    reason       LowCardinality(String)  COMMENT 'stable code of the condition that decided',
    time         DateTime64(3, 'UTC')    COMMENT 'when it was decided, in event time'  CODEC(DoubleDelta, ZSTD(1)),
    trigger_kind LowCardinality(String)  COMMENT 'trigger of the rule: event, count, absence and so on',
    trigger      String                  COMMENT 'message id of the event behind it'  CODEC(ZSTD(1)),
    touch_id     String                  COMMENT 'touch that went out, empty if none'  CODEC(ZSTD(1)),
    variant      LowCardinality(String)  COMMENT 'variant of the experiment, empty if none',
    tags         String                  COMMENT 'JSON: values that the audience read'  CODEC(ZSTD(1)),
    trace        String                  COMMENT 'JSON: conditions in order, with their results'  CODEC(ZSTD(1)),
    _partition   UInt32                  COMMENT 'partition in decisions'  CODEC(ZSTD(1)),
    _offset      UInt64                  COMMENT 'offset in decisions'  CODEC(Delta, ZSTD(1)),
    _logged_at   DateTime64(3, 'UTC')    COMMENT 'time of the record on the broker'  CODEC(DoubleDelta, ZSTD(1)),
    INDEX by_user user TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_touch touch_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(_logged_at)
ORDER BY (rule, outcome, time, user)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'Every decision of a rule, also those that sent nothing (topic decisions)';

CREATE TABLE IF NOT EXISTS receipts
(
    touch_id     String                  COMMENT 'touch that this answers'  CODEC(ZSTD(1)),
    rule         LowCardinality(String)  COMMENT 'id of the rule in the rulebook',
    rule_version LowCardinality(String)  COMMENT 'version of the rule',
    user         String                  COMMENT 'canonical user'  CODEC(ZSTD(1)),
    channel      LowCardinality(String)  COMMENT 'channel that was tried',
    template     LowCardinality(String)  COMMENT 'template of the message',
    status       LowCardinality(String)  COMMENT 'sent, failed or unknown',
    attempts     UInt32                  COMMENT 'calls to the channel'  CODEC(ZSTD(1)),
    time         DateTime64(3, 'UTC')    COMMENT 'when the outcome was known'  CODEC(DoubleDelta, ZSTD(1)),
    variant      LowCardinality(String)  COMMENT 'variant of the experiment, empty if none',
    code         LowCardinality(String)  COMMENT 'answer of the channel',
    detail       String                  COMMENT 'text of the channel, for people'  CODEC(ZSTD(1)),
    _partition   UInt32                  COMMENT 'partition in receipts'  CODEC(ZSTD(1)),
    _offset      UInt64                  COMMENT 'offset in receipts'  CODEC(Delta, ZSTD(1)),
    _logged_at   DateTime64(3, 'UTC')    COMMENT 'time of the record on the broker'  CODEC(DoubleDelta, ZSTD(1)),
    INDEX by_user user TYPE bloom_filter(0.01) GRANULARITY 4,
    INDEX by_touch touch_id TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(_logged_at)
ORDER BY (rule, status, time, user)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'What became of each touch on its channel (topic receipts)';

CREATE TABLE IF NOT EXISTS rejects
(
    stage         LowCardinality(String)          COMMENT 'collect, parse, validate, identify, dedupe, or land: this lander could not read the record',
    reason        LowCardinality(String)          COMMENT 'stable code',
    detail        String                          COMMENT 'for people'  CODEC(ZSTD(1)),
    fingerprint   String                          COMMENT 'items that fail alike share it'  CODEC(ZSTD(1)),
    door          LowCardinality(String)          COMMENT 'door it came in by, empty if unknown',
    source        LowCardinality(String)          COMMENT 'source it came from, empty if unknown',
    account       LowCardinality(String)          COMMENT 'write key or appid, empty if unknown',
    received_at   Nullable(DateTime64(3, 'UTC'))  COMMENT 'when the collector took it'  CODEC(ZSTD(1)),
    request_id    String                          COMMENT 'request of the producer'  CODEC(ZSTD(1)),
    item          UInt32                          COMMENT 'place in its batch, from 0'  CODEC(ZSTD(1)),
    body          String                          COMMENT 'the original bytes (any bytes: read them with base64Encode)'  CODEC(ZSTD(3)),
    raw_partition Int32                           COMMENT 'partition in events.raw, -1 where there is none'  CODEC(ZSTD(1)),
    raw_offset    Int64                           COMMENT 'offset in events.raw, -1 where there is none'  CODEC(Delta, ZSTD(1)),
    _topic        LowCardinality(String)          COMMENT 'topic of the record',
    _partition    UInt32                          COMMENT 'partition of the record'  CODEC(ZSTD(1)),
    _offset       UInt64                          COMMENT 'offset of the record'  CODEC(Delta, ZSTD(1)),
    _logged_at    DateTime64(3, 'UTC')            COMMENT 'time of the record on the broker'  CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toYYYYMM(_logged_at)
ORDER BY (stage, reason, fingerprint, _logged_at)
SETTINGS non_replicated_deduplication_window = 100000
COMMENT 'What is not an event: topic events.rejected, and records no table could take';
