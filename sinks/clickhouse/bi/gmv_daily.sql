-- GMV by day: orders, buyers, revenue and revenue an order.
-- :param pay String = order_paid -- event that carries the revenue in its amount
-- :param source String = -- only this source; empty: all
-- :param from Date = 2000-01-01 -- first day, by event time
-- :param to Date = 2100-01-01 -- last day
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column day -- day
-- :column orders -- orders paid
-- :column buyers -- users that paid
-- :column gmv -- what they paid
-- :column gmv_per_order -- gmv over orders
-- :example gmv_daily --param source=app
-- :plot line day gmv
SELECT
    toDate(quarter, {tz:String}) AS day,
    sum(paid.orders) AS orders,
    uniqExact(person) AS buyers,
    sum(paid.amount) AS gmv,
    round(gmv / orders, 2) AS gmv_per_order
FROM orders AS paid
WHERE event = {pay:String}
    AND toDate(quarter, {tz:String}) BETWEEN {from:Date} AND {to:Date}
    AND ({source:String} = '' OR source = {source:String})
GROUP BY day
ORDER BY day
