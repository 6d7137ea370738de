-- Growth by day, week or month: new users, those that came back after a period away, those
-- that were lost, and the quick ratio (new and returned over lost).
-- :param period String = day -- day, week (from Monday) or month
-- :param from Date = 2000-01-01 -- first day shown; the history before it counts too
-- :param to Date = 2100-01-01 -- last day shown
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column start -- first day of the period
-- :column active -- users with an event in it
-- :column new -- of them, never seen before
-- :column kept -- of them, also there in the period before
-- :column returned -- of them, seen before, but not in the period before
-- :column lost -- users of the period before that are not in this one
-- :column total -- users ever seen up to its end
-- :column quick_ratio -- (new + returned) / lost; empty where none was lost
-- :example growth --param period=week
WITH
    visits AS
    (
        SELECT
            user,
            arraySort(groupUniqArray(toDate(dateTrunc({period:String}, toDate(timestamp, {tz:String}))))) AS starts,
            arrayPushFront(arrayPopBack(starts), starts[1]) AS befores
        FROM events
        GROUP BY user
    ),
    ends AS
    (
        SELECT max(toDate(dateTrunc({period:String}, toDate(timestamp, {tz:String})))) AS last
        FROM events
    ),
    moves AS
    (
        -- Each period of a user says how it was come by; the period after it, whether it was lost.
        SELECT at, active, new, kept, lost
        FROM visits
        ARRAY JOIN
            arrayConcat(starts, arrayMap(start -> start + toIntervalDay(if({period:String} = 'day', 1, if({period:String} = 'week', 7, toDayOfMonth(toLastDayOfMonth(start))))), starts)) AS at,
            arrayConcat(arrayMap(start -> 1, starts), arrayMap(start -> 0, starts)) AS active,
            arrayConcat(arrayMap((start, place) -> place = 1, starts, arrayEnumerate(starts)), arrayMap(start -> 0, starts)) AS new,
            arrayConcat(arrayMap((start, before) -> dateDiff({period:String}, before, start) = 1, starts, befores), arrayMap(start -> 0, starts)) AS kept,
            arrayConcat(arrayMap(start -> 0, starts), arrayMap((start, following) -> dateDiff({period:String}, start, following) != 1, starts, arrayPushBack(arrayPopFront(starts), starts[-1]))) AS lost
        WHERE at <= (SELECT last FROM ends)
    ),
    by_period AS
    (
        SELECT
            at AS start,
            sum(moves.active) AS active,
            sum(moves.new) AS new,
            sum(moves.kept) AS kept,
            active - new - kept AS returned,
            sum(moves.lost) AS lost
        FROM moves
        GROUP BY start
    )
SELECT *
FROM
(
    SELECT
        start, active, new, kept, returned, lost,
        sum(new) OVER (ORDER BY start) AS total,
        if(lost = 0, NULL, round((new + returned) / lost, 4)) AS quick_ratio
    FROM by_period
)
WHERE start BETWEEN {from:Date} AND {to:Date}
ORDER BY start
