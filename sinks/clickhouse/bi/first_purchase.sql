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
-- :plot bar cohort share,share_7d,share_1d
WITH
    moments AS
    (
        SELECT person, first AS began, [] AS bought
        FROM users
        WHERE {first:String} = ''
        UNION ALL
        SELECT person, min(timestamp) AS began, [] AS bought
        FROM events
        WHERE {first:String} != '' AND event = {first:String}
        GROUP BY person
        UNION ALL
        SELECT person, toDateTime64('2299-12-31 00:00:00', 3, 'UTC') AS began, groupArray(timestamp) AS bought
        FROM events
        WHERE event = {pay:String}
        GROUP BY person
    ),
    buyers AS
    (
        SELECT
            min(began) AS since,
            arrayFilter(time -> time >= since, groupArrayArray(bought)) AS orders,
            notEmpty(orders) AS has_bought,
            dateDiff('millisecond', since, arrayMin(orders)) / 3600000 AS hours
        FROM moments
        GROUP BY person
        HAVING since < toDateTime64('2299-12-31 00:00:00', 3, 'UTC') AND toDate(since, {tz:String}) BETWEEN {from:Date} AND {to:Date}
    )
SELECT
    toDate(dateTrunc({period:String}, toDate(since, {tz:String}))) AS cohort,
    count() AS users,
    countIf(has_bought) AS buyers,
    round(buyers / users, 4) AS share,
    round(countIf(has_bought AND hours <= 24) / users, 4) AS share_1d,
    round(countIf(has_bought AND hours <= 168) / users, 4) AS share_7d,
    round(countIf(has_bought AND hours <= 720) / users, 4) AS share_30d,
    if(buyers = 0, NULL, round(quantileExactInclusiveIf(0.5)(hours, has_bought), 4)) AS median_hours,
    if(buyers = 0, NULL, round(quantileExactInclusiveIf(0.9)(hours, has_bought), 4)) AS p90_hours
FROM buyers
GROUP BY cohort
ORDER BY cohort
