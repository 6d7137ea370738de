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
WITH users AS
(
    -- One pass: a join of visits to cohorts would hold the history twice.
    SELECT
        user,
        toDate(dateTrunc({period:String}, minIf(toDate(timestamp, {tz:String}), {first:String} = '' OR event = {first:String}))) AS cohort,
        groupUniqArrayIf(toDate(dateTrunc({period:String}, toDate(timestamp, {tz:String}))), {event:String} = '' OR event = {event:String}) AS visited
    FROM events
    WHERE {first:String} = '' OR {event:String} = '' OR event IN ({first:String}, {event:String})
    GROUP BY user
    HAVING countIf({first:String} = '' OR event = {first:String}) > 0
        AND minIf(toDate(timestamp, {tz:String}), {first:String} = '' OR event = {first:String}) BETWEEN {from:Date} AND {to:Date}
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
        count() AS cohort_size,
        sumMap(arrayMap(start -> dateDiff({period:String}, cohort, start), visited), arrayMap(start -> toUInt64(1), visited)) AS counts
    FROM users
    GROUP BY cohort
)
ARRAY JOIN counts.1 AS n, counts.2 AS came
WHERE n BETWEEN 0 AND {periods:UInt16}
ORDER BY cohort, n
