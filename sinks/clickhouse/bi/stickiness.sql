-- DAU, WAU, MAU and stickiness for each day, over trailing 7 and 30 days. A user of several
-- sources or days counts once. Reads the aggregate: fast on any history, days of Asia/Shanghai,
-- and within about 1 % above 65,536 users (exact below).
-- :param from Date = 2000-01-01 -- first day, by event time
-- :param to Date = 2100-01-01 -- last day
-- :param source String = -- only this source; empty: all
-- :column day -- day in Asia/Shanghai
-- :column dau -- users of the day
-- :column wau -- users of the 7 days that end with it
-- :column mau -- users of the 30 days that end with it
-- :column stickiness -- dau over mau
-- :example stickiness --param from=2026-11-01 --param source=mini_program
SELECT
    of_day + back AS day,
    uniqMergeIf(merged, back = 0) AS dau,
    uniqMergeIf(merged, back < 7) AS wau,
    uniqMerge(merged) AS mau,
    round(dau / mau, 4) AS stickiness
FROM
(
    SELECT day AS of_day, uniqMergeState(users) AS merged, max(of_day) OVER () AS last
    FROM users_per_day
    WHERE day BETWEEN {from:Date} - 29 AND {to:Date} AND ({source:String} = '' OR source = {source:String})
    GROUP BY day
)
ARRAY JOIN range(30) AS back
WHERE day BETWEEN {from:Date} AND least({to:Date}, last)
GROUP BY day
ORDER BY day
