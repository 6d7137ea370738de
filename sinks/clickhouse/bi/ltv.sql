-- Lifetime value by cohort: revenue less refunds of a user up to n periods after the first
-- event, and the same as a year's value. A cohort has no rows beyond the last event there is.
-- :param period String = month -- cohorts and steps by day, week (from Monday) or month
-- :param first String = order_paid -- event that puts a user into a cohort; empty: any
-- :param pay String = order_paid -- event that carries the revenue in its amount
-- :param refund String = order_refunded -- event that carries the refund in its amount
-- :param periods UInt16 = 12 -- how many periods after the first to follow
-- :param from Date = 2000-01-01 -- first day of the cohorts
-- :param to Date = 2100-01-01 -- last day of the cohorts
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column cohort -- first day of the period of the user's first event
-- :column n -- periods later; 0 is the cohort's own
-- :column users -- users of the cohort
-- :column revenue -- net revenue of the nth period
-- :column cumulative -- net revenue up to the nth period
-- :column ltv -- cumulative over users
-- :column annualised -- ltv over the (n + 1) periods, times the periods of a year of 365 days
-- :example ltv --param period=month --param first=user_registered
-- :plot line n ltv by cohort
WITH
    firsts AS
    (
        SELECT person, min(toDate(time, {tz:String})) AS first_day, toDate(dateTrunc({period:String}, first_day)) AS cohort
        FROM
        (
            SELECT person, first AS time FROM users WHERE {first:String} = ''
            UNION ALL
            SELECT person, timestamp AS time FROM events WHERE {first:String} != '' AND event = {first:String}
        )
        GROUP BY person
        HAVING first_day BETWEEN {from:Date} AND {to:Date}
    ),
    (SELECT toDate(dateTrunc({period:String}, toDate(max(quarter), {tz:String}))) FROM activity) AS latest,
    money AS
    (
        SELECT
            person,
            toDate(dateTrunc({period:String}, toDate(quarter, {tz:String}))) AS start,
            sum(if(event = {pay:String}, 1, -1) * orders.amount) AS net
        FROM orders
        WHERE event IN ({pay:String}, {refund:String})
        GROUP BY person, start
    ),
    earned AS
    (
        SELECT firsts.cohort AS cohort, dateDiff({period:String}, firsts.cohort, money.start) AS n, sum(money.net) AS net
        FROM money
        INNER JOIN firsts ON firsts.person = money.person
        WHERE n >= 0
        GROUP BY cohort, n
    ),
    grid AS
    (
        SELECT cohort, toInt64(step) AS n, size
        FROM (SELECT cohort, count() AS size FROM firsts GROUP BY cohort) AS sizes
        ARRAY JOIN range(toUInt64(least({periods:UInt16}, dateDiff({period:String}, cohort, latest)) + 1)) AS step
    )
SELECT
    grid.cohort AS cohort,
    grid.n AS n,
    grid.size AS users,
    ifNull(earned.net, 0) AS revenue,
    sum(revenue) OVER (PARTITION BY cohort ORDER BY n) AS cumulative,
    round(toFloat64(cumulative) / users, 4) AS ltv,
    round(toFloat64(cumulative) / users / (n + 1) * multiIf({period:String} = 'day', 365, {period:String} = 'week', 365 / 7, 12), 4) AS annualised
FROM grid
LEFT JOIN earned ON earned.cohort = grid.cohort AND earned.n = grid.n
ORDER BY cohort, n
