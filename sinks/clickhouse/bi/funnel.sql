-- How many users went from looking to the cart to paying, each step in order and all within
-- a time of the first.
-- :param view String = product_viewed -- event of the first step
-- :param cart String = cart_added -- event of the second step
-- :param pay String = order_paid -- event of the third step
-- :param within_s UInt32 = 86400 -- seconds from the first step to the last
-- :param source String = -- only this source; empty: all
-- :param from Date = 2000-01-01 -- first day, by event time
-- :param to Date = 2100-01-01 -- last day
-- :param tz String = Asia/Shanghai -- time zone of the days
WITH levels AS
(
    SELECT
        user,
        windowFunnel({within_s:UInt32} * 1000)(
            toUInt64(greatest(toUnixTimestamp64Milli(timestamp), 0)),
            event = {view:String}, event = {cart:String}, event = {pay:String}
        ) AS level
    FROM events
    WHERE event IN ({view:String}, {cart:String}, {pay:String})
        AND toDate(timestamp, {tz:String}) BETWEEN {from:Date} AND {to:Date}
        AND ({source:String} = '' OR source = {source:String})
    GROUP BY user
)
SELECT
    step,
    event,
    users,
    round(if(first = 0, 0, users / first), 4) AS share_of_first,
    round(if(previous = 0, 0, users / previous), 4) AS share_of_previous
FROM
(
    SELECT countIf(level >= 1) AS viewed, countIf(level >= 2) AS added, countIf(level >= 3) AS paid
    FROM levels
)
ARRAY JOIN
    [1, 2, 3] AS step,
    [{view:String}, {cart:String}, {pay:String}] AS event,
    [viewed, added, paid] AS users,
    [viewed, viewed, viewed] AS first,
    [viewed, viewed, added] AS previous
ORDER BY step
