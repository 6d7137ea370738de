-- Retention by day cohort: of the users first seen on a day, how many came back n days later.
-- :param event String = -- only this event counts as coming back; empty: any
-- :param days UInt16 = 30 -- how many days after the first to follow
-- :param from Date = 2000-01-01 -- first cohort
-- :param to Date = 2100-01-01 -- last cohort
-- :param tz String = Asia/Shanghai -- time zone of the days
WITH firsts AS
(
    SELECT user, min(toDate(timestamp, {tz:String})) AS cohort
    FROM events
    GROUP BY user
    HAVING cohort BETWEEN {from:Date} AND {to:Date}
),
sizes AS
(
    SELECT cohort, count() AS size
    FROM firsts
    GROUP BY cohort
),
visits AS
(
    SELECT DISTINCT user, toDate(timestamp, {tz:String}) AS day
    FROM events
    WHERE {event:String} = '' OR event = {event:String}
)
SELECT
    firsts.cohort AS cohort,
    dateDiff('day', firsts.cohort, visits.day) AS day_n,
    any(sizes.size) AS cohort_size,
    count() AS users,
    round(users / cohort_size, 4) AS share
FROM visits
INNER JOIN firsts ON firsts.user = visits.user
INNER JOIN sizes ON sizes.cohort = firsts.cohort
WHERE day_n <= {days:UInt16}
GROUP BY cohort, day_n
ORDER BY cohort, day_n
