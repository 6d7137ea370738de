-- DAU, WAU, MAU and stickiness for each day, over trailing 7 and 30 days. A user of several
-- sources or days counts once.
-- :param from Date = 2000-01-01 -- first day, by event time
-- :param to Date = 2100-01-01 -- last day
-- :param source String = -- only this source; empty: all
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column day -- day
-- :column dau -- users of the day
-- :column wau -- users of the 7 days that end with it
-- :column mau -- users of the 30 days that end with it
-- :column stickiness -- dau over mau
-- :example stickiness --param from=2026-11-01 --param source=mini_program
-- :plot line day dau,wau,mau
WITH
    visits AS
    (
        SELECT
            arraySort(groupUniqArray(toDate(quarter, {tz:String}))) AS days,
            arrayPushBack(arrayPopFront(days), toDate('2149-06-06')) AS followers
        FROM activity
        WHERE toDate(quarter, {tz:String}) BETWEEN {from:Date} - 29 AND {to:Date} AND ({source:String} = '' OR source = {source:String})
        GROUP BY person
    ),
    -- A visit holds its user in the window until 7 or 30 days later, or until the next one.
    turns AS
    (
        SELECT
            shift.1 AS at,
            sum(shift.2) AS dau,
            sum(shift.3) AS wau,
            sum(shift.4) AS mau
        FROM
        (
            SELECT day, follower, count() AS users
            FROM visits
            ARRAY JOIN days AS day, followers AS follower
            GROUP BY day, follower
        )
        ARRAY JOIN [
            (day, toInt64(users), toInt64(users), toInt64(users)),
            (day + 1, -toInt64(users), 0, 0),
            (least(day + 7, follower), 0, -toInt64(users), 0),
            (least(day + 30, follower), 0, 0, -toInt64(users))
        ] AS shift
        GROUP BY at
    ),
    (
        SELECT (min(toDate(quarter, {tz:String})), max(toDate(quarter, {tz:String})))
        FROM activity
        WHERE toDate(quarter, {tz:String}) BETWEEN {from:Date} - 29 AND {to:Date} AND ({source:String} = '' OR source = {source:String})
    ) AS ends
SELECT day, dau, wau, mau, round(dau / mau, 4) AS stickiness
FROM
(
    SELECT
        day,
        sum(sum(shifts.dau)) OVER (ORDER BY day) AS dau,
        sum(sum(shifts.wau)) OVER (ORDER BY day) AS wau,
        sum(sum(shifts.mau)) OVER (ORDER BY day) AS mau
    FROM
    (
        SELECT at AS day, turns.dau AS dau, turns.wau AS wau, turns.mau AS mau
        FROM turns
        UNION ALL
        SELECT arrayJoin(arrayMap(n -> ends.1 + n, range(toUInt64(greatest(0, ends.2 - ends.1 + 1))))) AS day, 0 AS dau, 0 AS wau, 0 AS mau
    ) AS shifts
    GROUP BY day
)
WHERE day BETWEEN greatest({from:Date}, ends.1) AND least({to:Date}, ends.2) AND mau > 0
ORDER BY day
