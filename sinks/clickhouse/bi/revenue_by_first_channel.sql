-- Revenue by the channel that first brought the user, over the whole history of the user.
-- :param pay String = order_paid -- event that carries the revenue in its amount
-- :param from Date = 2000-01-01 -- first day of revenue, by event time
-- :param to Date = 2100-01-01 -- last day
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column first_channel -- channel of the user's first event that has one, or "unknown"
-- :column buyers -- users that paid
-- :column orders -- their orders
-- :column revenue -- what they paid
-- :example revenue_by_first_channel --param from=2026-11-01
WITH firsts AS
(
    SELECT user, argMin(channel, (timestamp, _partition, _offset)) AS first_channel
    FROM events
    WHERE channel != ''
    GROUP BY user
),
paid AS
(
    SELECT user, count() AS orders, sum(amount) AS revenue
    FROM events
    WHERE event = {pay:String} AND toDate(timestamp, {tz:String}) BETWEEN {from:Date} AND {to:Date}
    GROUP BY user
)
SELECT
    if(first_channel = '', 'unknown', toString(first_channel)) AS first_channel,
    count() AS buyers,
    sum(paid.orders) AS orders,
    sum(paid.revenue) AS revenue
FROM paid
LEFT JOIN firsts ON firsts.user = paid.user
GROUP BY first_channel
ORDER BY revenue DESC, first_channel
