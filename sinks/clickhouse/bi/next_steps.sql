-- Path analysis: what users do next after an event, the most common first; ready for a Sankey.
-- :param after String = -- only what follows this event; empty: every event
-- :param gap_s UInt32 = 1800 -- a longer pause ends the path: the next step is then "(end)"
-- :param top UInt16 = 50 -- at most so many rows
-- :param source String = -- only this source; empty: all
-- :param from Date = 2000-01-01 -- first day, by event time
-- :param to Date = 2100-01-01 -- last day
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column event -- the event
-- :column next -- what came after it, or "(end)"
-- :column times -- how often
-- :column users -- by how many users
-- :column share -- times over all that followed the event
-- :example next_steps --param after=product_viewed --param top=10
WITH
    happened AS
    (
        SELECT user, arraySort(groupArray((timestamp, _partition, _offset, toString(event)))) AS list
        FROM events
        WHERE toDate(timestamp, {tz:String}) BETWEEN {from:Date} AND {to:Date}
            AND ({source:String} = '' OR source = {source:String})
        GROUP BY user
    ),
    pairs AS
    (
        SELECT
            user,
            one.4 AS event,
            if(place = length(list) OR dateDiff('millisecond', one.1, two.1) > {gap_s:UInt32} * 1000, '(end)', two.4) AS next
        FROM happened
        ARRAY JOIN list AS one, arrayPushBack(arrayPopFront(list), list[1]) AS two, arrayEnumerate(list) AS place
    )
SELECT
    event,
    next,
    count() AS times,
    uniqExact(user) AS users,
    round(times / sum(times) OVER (PARTITION BY event), 4) AS share
FROM pairs
WHERE {after:String} = '' OR event = {after:String}
GROUP BY event, next
ORDER BY times DESC, event, next
LIMIT {top:UInt16}
