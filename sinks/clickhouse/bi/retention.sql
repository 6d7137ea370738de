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
-- :plot heat cohort n share
WITH
    -- Without names of events the quarters of an hour say all; with them, the events themselves.
    moments AS
    (
        SELECT person, toDate(quarter, {tz:String}) AS day, 1 AS begins, 1 AS comes
        FROM activity
        WHERE {first:String} = '' AND {event:String} = ''
        UNION ALL
        SELECT person, toDate(timestamp, {tz:String}) AS day, if({first:String} = '', NOT silent, event = {first:String}) AS begins, if({event:String} = '', NOT silent, event = {event:String}) AS comes
        FROM journeys
        WHERE ({first:String} != '' OR {event:String} != '')
            AND ({first:String} = '' OR {event:String} = '' OR event IN ({first:String}, {event:String}))
    ),
    users AS
    (
        SELECT
            minIf(day, begins) AS since,
            toDate(dateTrunc({period:String}, since)) AS cohort,
            groupUniqArrayIf(toDate(dateTrunc({period:String}, day)), comes) AS visited
        FROM moments
        GROUP BY person
        HAVING countIf(begins) > 0 AND since BETWEEN {from:Date} AND {to:Date}
    ),
    counts AS
    (
        -- The day 0 stands for the cohort as a whole.
        SELECT cohort, start, count() AS users
        FROM users
        ARRAY JOIN arrayPushFront(visited, toDate(0)) AS start
        GROUP BY cohort, start
    )
SELECT
    cohort,
    n,
    cohort_size,
    came AS users,
    round(came / cohort_size, 4) AS share
FROM
(
    SELECT
        cohort,
        start,
        dateDiff({period:String}, cohort, start) AS n,
        counts.users AS came,
        sumIf(came, start = toDate(0)) OVER (PARTITION BY cohort) AS cohort_size
    FROM counts
)
WHERE start != toDate(0) AND n BETWEEN 0 AND {periods:UInt16}
ORDER BY cohort, n
