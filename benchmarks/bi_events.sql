-- Ten million events of half a million people in 91 days, made by ClickHouse itself: visits of 2
-- to 10 steps in order of time, as the demo's shop has them; a few come far more often than others.
INSERT INTO events (message_id, type, event, user, source, door, account, timestamp, received_at, user_id, identities, context, properties, traits, marks, raw_partition, raw_offset, _partition, _offset, _logged_at)
WITH
    ['xiaohongshu', 'douyin', 'baidu', 'weibo', ''] AS channels,
    ['skincare', 'makeup', 'baby', 'snacks', 'home'] AS categories
SELECT
    concat('m', toString(visit), '-', toString(step)) AS message_id,
    'track' AS type,
    multiIf(
        step = 1 AND born AND r % 10 = 0, 'share_opened',
        step = 1, if(app, 'app_started', 'mini_program_launched'),
        step = 2, if(app, 'screen_viewed', 'page_viewed'),
        step = 3 AND r % 4 = 0, 'search_performed',
        step = length AND length >= 8, 'order_paid',
        step = length AND length = 7, 'coupon_used',
        step = length - 1 AND length >= 7, 'cart_added',
        step = length AND r % 40 = 1, 'content_shared',
        step = length AND r % 40 = 2 AND length = 3, 'order_refunded',
        'product_viewed') AS event,
    concat('user_id:u', toString(user_number)) AS user,
    if(app, 'app', 'mini_program') AS source,
    if(app, 'segment', 'sensors') AS door,
    if(app, 'demo-app', 'demo-mini') AS account,
    fromUnixTimestamp64Milli(started_ms + step * 23456 + sipHash64(visit, step) % 9973, 'UTC') AS timestamp,
    timestamp + toIntervalMillisecond(1234) AS received_at,
    concat('u', toString(user_number)) AS user_id,
    if(app, map('user_id', user_id, 'device_id', concat('dev', hex(sipHash64(user_number)))), map('user_id', user_id, 'openid', concat('wx1:o', hex(sipHash64(user_number, 1))))) AS identities,
    concat('{"channel":"', channels[1 + sipHash64(user_number, 2) % 5], '","app":{"version":"8.2.', toString(r % 9), '"},"locale":"zh-CN","session":"s', toString(visit), '"}') AS context,
    multiIf(
        event = 'share_opened', concat('{"sharer":"u', toString(intDiv(user_number * 7, 10)), '","path":"products/', categories[1 + r % 5], '-01"}'),
        event IN ('order_paid', 'order_refunded', 'cart_added', 'coupon_used'), concat('{"order_id":"o-', toString(visit), '","amount":', toString(5 + r % 400), '.5,"category":"', categories[1 + r % 5], '","cart_id":"c-', toString(visit), '"}'),
        concat('{"sku":"', categories[1 + r % 5], '-', toString(r % 20), '","category":"', categories[1 + r % 5], '","price":', toString(10 + r % 300), '}')) AS properties,
    '{}' AS traits,
    [] AS marks,
    toInt32(user_number % 4) AS raw_partition,
    toInt64(number * 16 + step) AS raw_offset,
    toUInt32(user_number % 4) AS _partition,
    toUInt64(number * 16 + step) AS _offset,
    received_at AS _logged_at
FROM
(
    SELECT
        number,
        number AS visit,
        sipHash64(number, 3) AS r,
        2 + sipHash64(number, 4) % 9 AS length,
        -- the crowd grows; some come far more often than others
        toUInt64({users:UInt64} * (0.1 + 0.9 * number / {visits:UInt64}) * pow(sipHash64(number, 5) / 18446744073709551616., 1.5)) AS user_number,
        sipHash64(user_number, 6) % 2 = 0 AS app,
        sipHash64(number, 7) % 4 = 0 AS born,
        toInt64(toUnixTimestamp64Milli(toDateTime64('2026-08-01 00:00:00', 3, 'UTC')) + number / {visits:UInt64} * 91 * 86400000) AS started_ms
    FROM numbers({first:UInt64}, {count:UInt64})
)
ARRAY JOIN range(1, toUInt64(length) + 1) AS step
