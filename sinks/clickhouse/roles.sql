-- Who may what. `siyu migrate --print --roles` fills in the database; an administrator runs it, on
-- a server that has users (clickhouse-local, which is embedded, has none), and grants a role:
-- GRANT siyu_analyst TO zhang.

-- The pipeline: `siyu land`, `siyu migrate`, `siyu audit`.
CREATE ROLE IF NOT EXISTS siyu_pipeline;

GRANT SELECT, INSERT, CREATE TABLE, CREATE VIEW, CREATE DICTIONARY, ALTER, DROP TABLE, DROP VIEW, DROP DICTIONARY, TRUNCATE, OPTIMIZE, dictGet ON {database}.* TO siyu_pipeline;

GRANT SYSTEM RELOAD DICTIONARY ON *.* TO siyu_pipeline;

-- Analysts: read all that names nobody. Not what a person is called or wrote: user, identifiers,
-- context, properties, traits, bodies of rejects. `person` and `user_key` are hashes.
CREATE SETTINGS PROFILE IF NOT EXISTS siyu_read_only SETTINGS readonly = 2, max_memory_usage = 4000000000, max_execution_time = 120;

CREATE ROLE IF NOT EXISTS siyu_analyst SETTINGS PROFILE siyu_read_only;

GRANT dictGet ON {database}.persons TO siyu_analyst;

GRANT SELECT(message_id, type, event, source, door, account, timestamp, received_at, original_timestamp, sent_at, marks, raw_partition, raw_offset, _partition, _offset, _logged_at, channel, amount, sku, category, order_id, user_key, sharer_key, person) ON {database}.events TO siyu_analyst;

GRANT SELECT(tag, before, after, time, message_id, _partition, _offset, _logged_at, user_key, person) ON {database}.tag_changes TO siyu_analyst;

GRANT SELECT(decision_id, rule, rule_version, outcome, reason, time, trigger_kind, trigger, touch_id, variant, value, _partition, _offset, _logged_at, user_key, person) ON {database}.decisions TO siyu_analyst;

GRANT SELECT(touch_id, rule, rule_version, channel, template, status, attempts, time, variant, code, _partition, _offset, _logged_at, user_key, person) ON {database}.receipts TO siyu_analyst;

GRANT SELECT(stage, reason, fingerprint, door, source, account, received_at, item, raw_partition, raw_offset, redrive_of, _topic, _partition, _offset, _logged_at) ON {database}.rejects TO siyu_analyst;

GRANT SELECT(user_key, first, last, events, channel, person) ON {database}.users TO siyu_analyst;

GRANT SELECT ON {database}.journeys TO siyu_analyst;

GRANT SELECT ON {database}.activity TO siyu_analyst;

GRANT SELECT ON {database}.orders TO siyu_analyst;

GRANT SELECT ON {database}.identifiers TO siyu_analyst;

GRANT SELECT ON {database}.events_per_minute TO siyu_analyst;

GRANT SELECT ON {database}.users_per_day TO siyu_analyst;

GRANT SELECT ON {database}.touches_by_rule TO siyu_analyst;

GRANT SELECT ON {database}.channel_costs TO siyu_analyst;

-- Producers: whether their events arrive, and why not; of nobody's person.
CREATE ROLE IF NOT EXISTS siyu_producer SETTINGS PROFILE siyu_read_only;

GRANT SELECT(stage, reason, detail, fingerprint, door, source, account, received_at, item, raw_partition, raw_offset, redrive_of, _topic, _partition, _offset, _logged_at) ON {database}.rejects TO siyu_producer;

GRANT SELECT ON {database}.events_per_minute TO siyu_producer;
