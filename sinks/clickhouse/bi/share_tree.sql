-- Share tree: how many users each generation of sharing brought. Generation 0 are users that
-- came by themselves and brought somebody; a user is brought by the first share
-- opened, if it is somebody else's and the user is new. The sharer may be named by
-- any identifier; an appid in front of an openid does not matter.
-- :param opened String = share_opened -- event of who came by a share; properties.sharer names whose
-- :param new_within_s UInt32 = 1800 -- new: first seen at most so long before the share was opened
-- :param from Date = 2000-01-01 -- first day on which shares were opened
-- :param to Date = 2100-01-01 -- last day
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column generation -- 0: came by themselves
-- :column users -- users of the generation
-- :column inviters -- of them, that brought somebody
-- :column brought -- users that they brought
-- :column per_inviter -- brought over inviters
-- :column k -- brought over users: above 1 the tree grows by itself
-- :example share_tree --param from=2026-11-01
-- :plot bar generation users,brought
WITH RECURSIVE
    opens AS
    (
        SELECT
            person,
            min(timestamp) AS time,
            argMin(sharer_key, (timestamp, _partition, _offset)) AS sharer
        FROM events
        WHERE event = {opened:String} AND sharer_key != 0
        GROUP BY person
        HAVING toDate(time, {tz:String}) BETWEEN {from:Date} AND {to:Date}
    ),
    named AS
    (
        SELECT name_key, argMin(identifiers.person, first) AS parent
        FROM identifiers
        WHERE name_key IN (SELECT sharer FROM opens)
        GROUP BY name_key
    ),
    seen AS
    (
        SELECT person, min(users.first) AS first
        FROM users
        WHERE person IN (SELECT person FROM opens)
        GROUP BY person
    ),
    new_ones AS
    (
        -- A sharer that never sent an event is known by the name alone.
        SELECT opens.person AS person, opens.time AS time, if(named.parent = 0, opens.sharer, named.parent) AS parent
        FROM opens
        INNER JOIN seen ON seen.person = opens.person
        LEFT JOIN named ON named.name_key = opens.sharer
        WHERE parent != opens.person AND opens.time <= seen.first + toIntervalSecond({new_within_s:UInt32})
    ),
    (
        -- Once, as arrays: the tree below asks for the edges again for each generation. A sharer
        -- that was itself brought was so before: no circles.
        SELECT (groupArray(new_ones.person), groupArray(new_ones.parent))
        FROM new_ones
        LEFT JOIN new_ones AS above ON above.person = new_ones.parent
        WHERE above.person = 0 OR above.time < new_ones.time
    ) AS brought_by,
    edges AS
    (
        SELECT edge.1 AS person, edge.2 AS parent
        FROM (SELECT arrayJoin(arrayZip(brought_by.1, brought_by.2)) AS edge)
    ),
    tree AS
    (
        SELECT DISTINCT parent AS person, toUInt32(0) AS generation
        FROM edges
        WHERE parent NOT IN (SELECT person FROM edges)
        UNION ALL
        SELECT edges.person AS person, tree.generation + 1 AS generation
        FROM edges
        INNER JOIN tree ON tree.person = edges.parent
    ),
    counts AS
    (
        SELECT parent, count() AS children
        FROM edges
        GROUP BY parent
    )
SELECT
    tree.generation AS generation,
    count() AS users,
    countIf(counts.children > 0) AS inviters,
    sum(counts.children) AS brought,
    if(inviters = 0, 0, round(brought / inviters, 4)) AS per_inviter,
    round(brought / users, 4) AS k
FROM tree
LEFT JOIN counts ON counts.parent = tree.person
GROUP BY generation
ORDER BY generation
