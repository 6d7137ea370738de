CREATE TABLE feed
(
    messageId String, type String, event String, user String, source String, door String, account String,
    timestampMs Int64, receivedAtMs Int64, originalTimestampMs Nullable(Int64), sentAtMs Nullable(Int64),
    userId Nullable(String), anonymousId Nullable(String), identities Map(String, String),
    context String, properties String, traits String, marks Array(String), rawPartition Int32, rawOffset Int64
)
ENGINE = Kafka
SETTINGS kafka_broker_list = '{kafka}', kafka_topic_list = 'events', kafka_group_name = '{group}', kafka_format = 'JSONEachRow',
    kafka_num_consumers = 2, kafka_thread_per_consumer = 1, kafka_max_block_size = 50000, kafka_poll_max_batch_size = 50000, kafka_flush_interval_ms = 500;

CREATE MATERIALIZED VIEW feed_to_events TO events AS
SELECT
    messageId AS message_id, type, event, user, source, door, account,
    fromUnixTimestamp64Milli(timestampMs, 'UTC') AS timestamp,
    fromUnixTimestamp64Milli(receivedAtMs, 'UTC') AS received_at,
    fromUnixTimestamp64Milli(originalTimestampMs, 'UTC') AS original_timestamp,
    fromUnixTimestamp64Milli(sentAtMs, 'UTC') AS sent_at,
    ifNull(userId, '') AS user_id, ifNull(anonymousId, '') AS anonymous_id, identities, context, properties, traits, marks,
    rawPartition AS raw_partition, rawOffset AS raw_offset,
    toUInt32(feed._partition) AS _partition, toUInt64(feed._offset) AS _offset, assumeNotNull(feed._timestamp_ms) AS _logged_at
FROM feed;
