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
-- :plot line start active,new,returned,lost
WITH
    (SELECT toDate(dateTrunc({period:String}, toDate(max(quarter), {tz:String}))) FROM activity) AS latest,
    visits AS
    (
        SELECT arraySort(groupUniqArray(toDate(dateTrunc({period:String}, toDate(quarter, {tz:String}))))) AS starts
        FROM activity
        GROUP BY person
    ),
    stays AS
    (
        SELECT
            start,
            before,
            following,
            count() AS users,
            start + toIntervalDay(if({period:String} = 'day', 1, if({period:String} = 'week', 7, toDayOfMonth(toLastDayOfMonth(start))))) AS next
        FROM visits
        ARRAY JOIN
            starts AS start,
            arrayPushFront(arrayPopBack(starts), toDate(0)) AS before,
            arrayPushBack(arrayPopFront(starts), toDate(0)) AS following
        GROUP BY start, before, following
    ),
    moves AS
    (
        -- Each period of a user says how it was come by; the period after it, whether it was lost.
        SELECT start AS at, users AS active, if(before = toDate(0), users, 0) AS new, if(before != toDate(0) AND dateDiff({period:String}, before, start) = 1, users, 0) AS kept, 0 AS lost
        FROM stays
        UNION ALL
        SELECT next AS at, 0 AS active, 0 AS new, 0 AS kept, users AS lost
        FROM stays
        WHERE following != next AND next <= latest
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
