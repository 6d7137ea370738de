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
-- :plot bar first_channel revenue
WITH
    paid AS
    (
        SELECT person, sum(orders.orders) AS bought, sum(orders.amount) AS spent
        FROM orders
        WHERE event = {pay:String} AND toDate(quarter, {tz:String}) BETWEEN {from:Date} AND {to:Date}
        GROUP BY person
    ),
    comers AS
    (
        SELECT person, argMinIfMerge(users.channel) AS brought_by
        FROM users
        WHERE person IN (SELECT person FROM paid)
        GROUP BY person
    )
SELECT
    if(comers.brought_by = '', 'unknown', comers.brought_by) AS first_channel,
    count() AS buyers,
    sum(paid.bought) AS orders,
    sum(paid.spent) AS revenue
FROM paid
LEFT JOIN comers ON comers.person = paid.person
GROUP BY first_channel
ORDER BY revenue DESC, first_channel
