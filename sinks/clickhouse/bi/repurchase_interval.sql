-- Repurchase interval by order number: how many buyers go on from their nth order to the next,
-- and after how many days; the quartiles say when a reminder is due.
-- :param pay String = order_paid -- event that is an order
-- :param orders UInt16 = 10 -- up to this order
-- :param from Date = 2000-01-01 -- first day of the first order
-- :param to Date = 2100-01-01 -- last day of the first order
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column nth -- number of the order, from 1
-- :column buyers -- users with an nth order
-- :column went_on -- of them, with another after it
-- :column share -- went_on over buyers
-- :column mean_days -- mean of the days from the nth order to the next
-- :column p25_days -- a quarter came back sooner
-- :column median_days -- half came back sooner
-- :column p75_days -- three quarters came back sooner
-- :column p90_days -- nine in ten came back sooner
-- :example repurchase_interval --param orders=5
-- :plot bar nth median_days,p90_days
WITH buyers AS
(
    SELECT arraySort(groupArray(timestamp)) AS times
    FROM events
    WHERE event = {pay:String}
    GROUP BY person
    HAVING toDate(times[1], {tz:String}) BETWEEN {from:Date} AND {to:Date}
)
SELECT
    nth,
    count() AS buyers,
    countIf(again) AS went_on,
    round(went_on / buyers, 4) AS share,
    if(went_on = 0, NULL, round(avgIf(days, again), 4)) AS mean_days,
    if(went_on = 0, NULL, round(quantileExactInclusiveIf(0.25)(days, again), 4)) AS p25_days,
    if(went_on = 0, NULL, round(quantileExactInclusiveIf(0.5)(days, again), 4)) AS median_days,
    if(went_on = 0, NULL, round(quantileExactInclusiveIf(0.75)(days, again), 4)) AS p75_days,
    if(went_on = 0, NULL, round(quantileExactInclusiveIf(0.9)(days, again), 4)) AS p90_days
FROM
(
    SELECT nth, nth < length(times) AS again, dateDiff('millisecond', times[nth], times[if(again, nth + 1, nth)]) / 86400000 AS days
    FROM buyers
    ARRAY JOIN arrayEnumerate(times) AS nth
)
WHERE nth <= {orders:UInt16}
GROUP BY nth
ORDER BY nth
