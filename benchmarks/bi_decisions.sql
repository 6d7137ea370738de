-- A tenth of the orders is met by a rule of three: seven of eight users get a touch in one of two
-- variants or are capped, one is held out.
INSERT INTO decisions (decision_id, rule, rule_version, user, outcome, reason, time, trigger_kind, trigger, touch_id, variant, tags, trace, _partition, _offset, _logged_at)
SELECT
    concat('d', message_id) AS decision_id,
    ['cart_30m', 'welcome', 'viewed_3'][1 + sipHash64(message_id) % 3] AS rule,
    '1' AS rule_version,
    user,
    multiIf(user_key % 8 = 0, 'holdout', sipHash64(message_id, 1) % 5 = 0, 'suppressed', 'sent') AS outcome,
    multiIf(outcome = 'holdout', 'holdout', outcome = 'suppressed', 'cap:marketing', 'passed') AS reason,
    timestamp AS time,
    'event' AS trigger_kind,
    message_id AS trigger,
    if(outcome = 'sent', concat('t', message_id), '') AS touch_id,
    if(user_key % 2 = 0, 'a', 'b') AS variant,
    '{}' AS tags,
    '[]' AS trace,
    _partition,
    _offset,
    _logged_at
FROM events
WHERE event IN ('cart_added', 'order_paid');
