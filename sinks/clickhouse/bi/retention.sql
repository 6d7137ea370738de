-- Cohort retention by day, week or month: of the users first seen in a period, how many came
-- back n periods later.
-- :param period String = day -- day, week (from Monday) or month
-- :param event String = -- only this event counts as coming back; empty: any
-- :param first String = -- event that puts a user into a cohort; empty: any
-- :param periods UInt16 = 30 -- how many periods after the first to follow
-- :param from Date = 2000-01-01 -- first day of the cohorts
-- :param to Date = 2100-01-01 -- last day of the cohorts
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column cohort -- first day of the period in which the user was first seen
-- :column n -- periods later; 0 is the cohort's own
-- :column cohort_size -- users of the cohort
-- :column users -- of them, those that came back
-- :column share -- users over cohort_size
-- :example retention --param period=week --param first=order_paid --param event=order_paid
WITH
    firsts AS
    (
        SELECT user, min(toDate(timestamp, {tz:String})) AS first_day, toDate(dateTrunc({period:String}, first_day)) AS cohort
        FROM events
        WHERE {first:String} = '' OR event = {first:String}
        GROUP BY user
        HAVING first_day BETWEEN {from:Date} AND {to:Date}
    ),
    sizes AS
    (
        SELECT cohort, count() AS size
        FROM firsts
        GROUP BY cohort
    ),
    visits AS
    (
        SELECT DISTINCT user, toDate(dateTrunc({period:String}, toDate(timestamp, {tz:String}))) AS visited
        FROM events
        WHERE {event:String} = '' OR event = {event:String}
    )
SELECT
    firsts.cohort AS cohort,
    dateDiff({period:String}, firsts.cohort, visits.visited) AS n,
    any(sizes.size) AS cohort_size,
    count() AS users,
    round(users / cohort_size, 4) AS share
FROM visits
INNER JOIN firsts ON firsts.user = visits.user
INNER JOIN sizes ON sizes.cohort = firsts.cohort
WHERE n BETWEEN 0 AND {periods:UInt16}
GROUP BY cohort, n
ORDER BY cohort, n
