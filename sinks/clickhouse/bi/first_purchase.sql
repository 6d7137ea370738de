-- Time to first purchase: of the users first seen in a period, how many have bought, and how
-- long after their first event.
-- :param period String = month -- day, week (from Monday) or month
-- :param first String = -- event from which the time counts; empty: any
-- :param pay String = order_paid -- event that is a purchase
-- :param from Date = 2000-01-01 -- first day on which users were first seen
-- :param to Date = 2100-01-01 -- last day
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column cohort -- first day of the period in which users were first seen
-- :column users -- users of the cohort
-- :column buyers -- of them, that have bought since
-- :column share -- buyers over users
-- :column share_1d -- that bought within 24 hours, over users
-- :column share_7d -- within 7 days
-- :column share_30d -- within 30 days
-- :column median_hours -- half of the buyers took less
-- :column p90_hours -- nine in ten buyers took less
-- :example first_purchase --param first=user_registered
WITH users AS
(
    SELECT
        user,
        minIf(timestamp, {first:String} = '' OR event = {first:String}) AS since,
        arrayMin(arrayFilter(time -> time >= since, groupArrayIf(timestamp, event = {pay:String})) AS orders) AS bought_at,
        notEmpty(orders) AS bought,
        dateDiff('millisecond', since, bought_at) / 3600000 AS hours
    FROM events
    GROUP BY user
    HAVING countIf({first:String} = '' OR event = {first:String}) > 0 AND toDate(since, {tz:String}) BETWEEN {from:Date} AND {to:Date}
)
SELECT
    toDate(dateTrunc({period:String}, toDate(since, {tz:String}))) AS cohort,
    count() AS users,
    countIf(bought) AS buyers,
    round(buyers / users, 4) AS share,
    round(countIf(bought AND hours <= 24) / users, 4) AS share_1d,
    round(countIf(bought AND hours <= 168) / users, 4) AS share_7d,
    round(countIf(bought AND hours <= 720) / users, 4) AS share_30d,
    if(buyers = 0, NULL, round(quantileExactInclusiveIf(0.5)(hours, bought), 4)) AS median_hours,
    if(buyers = 0, NULL, round(quantileExactInclusiveIf(0.9)(hours, bought), 4)) AS p90_hours
FROM users
GROUP BY cohort
ORDER BY cohort
