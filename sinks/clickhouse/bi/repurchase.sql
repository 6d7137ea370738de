-- Repurchase rate and interval by cohort of the first order: who bought again, how often, and
-- after how long. A last row, "all", has all cohorts.
-- :param period String = month -- cohorts by day, week (from Monday) or month of the first order
-- :param within_days UInt32 = 0 -- count only orders so many days after the first; 0: any
-- :param pay String = order_paid -- event that is an order
-- :param from Date = 2000-01-01 -- first day of the cohorts
-- :param to Date = 2100-01-01 -- last day of the cohorts
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column cohort -- first day of the period of the first order, or "all"
-- :column buyers -- users whose first order was then
-- :column repeat_buyers -- of them, with a second order
-- :column repurchase_rate -- repeat_buyers over buyers
-- :column orders -- their orders
-- :column orders_per_buyer -- orders over buyers
-- :column mean_interval_days -- mean of the days between an order and the next
-- :column median_interval_days -- half of the intervals are shorter
-- :example repurchase --param within_days=90
-- :plot bar cohort repurchase_rate
WITH buyers AS
(
    SELECT
        arraySort(groupArray(timestamp)) AS every,
        toDate(dateTrunc({period:String}, toDate(every[1], {tz:String}))) AS start,
        arrayFilter(time -> {within_days:UInt32} = 0 OR dateDiff('millisecond', every[1], time) <= {within_days:UInt32} * 86400000, every) AS times,
        arrayMap((one, two) -> dateDiff('millisecond', one, two) / 86400000, arrayPopBack(times), arrayPopFront(times)) AS intervals
    FROM events
    WHERE event = {pay:String}
    GROUP BY person
    HAVING toDate(every[1], {tz:String}) BETWEEN {from:Date} AND {to:Date}
)
SELECT
    if(grouping(start) = 1, 'all', toString(start)) AS cohort,
    count() AS buyers,
    countIf(length(times) > 1) AS repeat_buyers,
    round(repeat_buyers / buyers, 4) AS repurchase_rate,
    sum(length(times)) AS orders,
    round(orders / buyers, 4) AS orders_per_buyer,
    if(orders = buyers, NULL, round(avgArray(intervals), 4)) AS mean_interval_days,
    if(orders = buyers, NULL, round(quantileExactInclusiveArray(0.5)(intervals), 4)) AS median_interval_days
FROM buyers
GROUP BY GROUPING SETS ((start), ())
HAVING buyers > 0
ORDER BY cohort
