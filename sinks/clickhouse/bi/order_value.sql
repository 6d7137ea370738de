-- Average order value by day, week or month, with what was refunded in the same period.
-- :param period String = day -- day, week (from Monday) or month
-- :param pay String = order_paid -- event that carries the revenue in its amount
-- :param refund String = order_refunded -- event that carries the refund in its amount
-- :param source String = -- only this source; empty: all
-- :param from Date = 2000-01-01 -- first day, by event time
-- :param to Date = 2100-01-01 -- last day
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column start -- first day of the period
-- :column orders -- orders paid
-- :column buyers -- users that paid
-- :column revenue -- sum of what was paid
-- :column average_order -- revenue over orders
-- :column median_order -- half of the orders are smaller
-- :column orders_per_buyer -- orders over buyers
-- :column revenue_per_buyer -- revenue over buyers
-- :column refunded -- sum of the refunds of the period
-- :column net_revenue -- revenue less refunded
-- :example order_value --param period=month --param source=mini_program
-- :plot line start average_order,median_order
SELECT
    toDate(dateTrunc({period:String}, toDate(timestamp, {tz:String}))) AS start,
    countIf(event = {pay:String}) AS orders,
    uniqExactIf(person, event = {pay:String}) AS buyers,
    sumIf(ifNull(amount, 0), event = {pay:String}) AS revenue,
    if(orders = 0, NULL, round(toFloat64(revenue) / orders, 4)) AS average_order,
    if(orders = 0, NULL, round(quantileExactInclusiveIf(0.5)(toFloat64(ifNull(amount, 0)), event = {pay:String}), 4)) AS median_order,
    if(orders = 0, NULL, round(orders / buyers, 4)) AS orders_per_buyer,
    if(orders = 0, NULL, round(toFloat64(revenue) / buyers, 4)) AS revenue_per_buyer,
    sumIf(ifNull(amount, 0), event = {refund:String}) AS refunded,
    revenue - refunded AS net_revenue
FROM events
WHERE event IN ({pay:String}, {refund:String})
    AND toDate(timestamp, {tz:String}) BETWEEN {from:Date} AND {to:Date}
    AND ({source:String} = '' OR source = {source:String})
GROUP BY start
ORDER BY start
