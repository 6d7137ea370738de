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
WITH RECURSIVE
    opens AS
    (
        SELECT
            user,
            min(timestamp) AS time,
            splitByChar(':', argMin(JSONExtractString(properties, 'sharer'), (timestamp, _partition, _offset)))[-1] AS sharer
        FROM events
        WHERE event = {opened:String} AND JSONExtractString(properties, 'sharer') != ''
        GROUP BY user
        HAVING toDate(time, {tz:String}) BETWEEN {from:Date} AND {to:Date}
    ),
    named AS
    (
        SELECT splitByChar(':', identifier)[-1] AS name, argMin(user, timestamp) AS user
        FROM events
        ARRAY JOIN mapValues(identities) AS identifier
        WHERE name IN (SELECT sharer FROM opens)
        GROUP BY name
    ),
    seen AS
    (
        SELECT user, min(timestamp) AS first
        FROM events
        WHERE user IN (SELECT user FROM opens)
        GROUP BY user
    ),
    new_ones AS
    (
        SELECT opens.user AS user, opens.time AS time, if(named.user = '', opens.sharer, named.user) AS parent
        FROM opens
        INNER JOIN seen ON seen.user = opens.user
        LEFT JOIN named ON named.name = opens.sharer
        WHERE parent != opens.user AND opens.time <= seen.first + toIntervalSecond({new_within_s:UInt32})
    ),
    edges AS
    (
        -- A sharer that was itself brought was so before: no circles.
        SELECT new_ones.user AS user, new_ones.parent AS parent
        FROM new_ones
        LEFT JOIN new_ones AS above ON above.user = new_ones.parent
        WHERE above.user = '' OR above.time < new_ones.time
    ),
    tree AS
    (
        SELECT DISTINCT parent AS user, toUInt32(0) AS generation
        FROM edges
        WHERE parent NOT IN (SELECT user FROM edges)
        UNION ALL
        SELECT edges.user AS user, tree.generation + 1 AS generation
        FROM edges
        INNER JOIN tree ON tree.user = edges.parent
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
LEFT JOIN counts ON counts.parent = tree.user
GROUP BY generation
ORDER BY generation
