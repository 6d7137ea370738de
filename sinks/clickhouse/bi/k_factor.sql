-- K-factor by day, week or month: shares for each active user, times the new users for each
-- share. A user is brought by the first share opened, if it is somebody else's and the user is new.
-- :param period String = week -- day, week (from Monday) or month
-- :param shared String = content_shared -- event of who shares
-- :param opened String = share_opened -- event of who came by a share; properties.sharer names whose
-- :param new_within_s UInt32 = 1800 -- new: first seen at most so long before the share was opened
-- :param from Date = 2000-01-01 -- first day, by event time
-- :param to Date = 2100-01-01 -- last day
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column start -- first day of the period
-- :column active -- users with any event in it
-- :column sharers -- of them, that shared
-- :column shares -- how often they shared
-- :column new_by_share -- users whom a share brought in the period
-- :column shares_per_user -- shares over active
-- :column new_per_share -- new_by_share over shares; empty without shares
-- :column k -- new_by_share over active, the product of the two
-- :example k_factor --param period=month
-- :plot line start k
WITH
    opens AS
    (
        SELECT person, min(timestamp) AS time, argMin(sharer_key, (timestamp, _partition, _offset)) AS sharer
        FROM events
        WHERE event = {opened:String} AND sharer_key != 0
        GROUP BY person
    ),
    named AS
    (
        SELECT name_key, argMin(identifiers.person, first) AS parent
        FROM identifiers
        WHERE name_key IN (SELECT sharer FROM opens)
        GROUP BY name_key
    ),
    brought AS
    (
        SELECT opens.person AS person, any(opens.time) AS time
        FROM users
        INNER JOIN opens ON opens.person = users.person
        LEFT JOIN named ON named.name_key = opens.sharer
        WHERE named.parent != opens.person
        GROUP BY person
        HAVING time <= min(users.first) + toIntervalSecond({new_within_s:UInt32})
    ),
    by_period AS
    (
        SELECT start, sum(actives) AS active, sum(sharing) AS sharers, sum(shared) AS shares
        FROM
        (
            SELECT toDate(dateTrunc({period:String}, toDate(quarter, {tz:String}))) AS start, uniqExact(person) AS actives, 0 AS sharing, 0 AS shared
            FROM activity
            WHERE toDate(quarter, {tz:String}) BETWEEN {from:Date} AND {to:Date}
            GROUP BY start
            UNION ALL
            SELECT toDate(dateTrunc({period:String}, toDate(timestamp, {tz:String}))) AS start, 0 AS actives, uniqExact(person) AS sharing, count() AS shared
            FROM events
            WHERE event = {shared:String} AND toDate(timestamp, {tz:String}) BETWEEN {from:Date} AND {to:Date}
            GROUP BY start
        )
        GROUP BY start
    ),
    news AS
    (
        SELECT toDate(dateTrunc({period:String}, toDate(time, {tz:String}))) AS start, count() AS users
        FROM brought
        WHERE toDate(time, {tz:String}) BETWEEN {from:Date} AND {to:Date}
        GROUP BY start
    )
SELECT
    by_period.start AS start,
    by_period.active AS active,
    by_period.sharers AS sharers,
    by_period.shares AS shares,
    news.users AS new_by_share,
    round(shares / active, 4) AS shares_per_user,
    if(shares = 0, NULL, round(new_by_share / shares, 4)) AS new_per_share,
    round(new_by_share / active, 4) AS k
FROM by_period
LEFT JOIN news ON news.start = by_period.start
ORDER BY start
