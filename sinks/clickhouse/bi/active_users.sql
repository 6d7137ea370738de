-- Active users and events by day and source; source "all" counts a user of several sources once.
-- :param from Date = 2000-01-01 -- first day, by event time
-- :param to Date = 2100-01-01 -- last day
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column day -- day
-- :column source -- the source, or "all"
-- :column users -- users with an event
-- :column events -- their events
-- :example active_users --param from=2026-11-01
-- :plot line day users by source
SELECT
    day,
    if(of_all, 'all', toString(by_source)) AS source,
    active AS users,
    happened AS events
FROM
(
    SELECT
        toDate(quarter, {tz:String}) AS day,
        source AS by_source,
        grouping(source) = 1 AS of_all,
        uniqExact(person) AS active,
        sum(events) AS happened
    FROM activity
    WHERE day BETWEEN {from:Date} AND {to:Date}
    GROUP BY GROUPING SETS ((day, source), (day))
)
ORDER BY day, of_all, source
