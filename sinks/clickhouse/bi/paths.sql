-- Path analysis: the most common paths of visits from an event on, up to a depth. A pause
-- longer than the gap begins a new visit; repeats of one event in a row count as one step.
-- :param start String = -- the path begins at this event; empty: at the visit's first
-- :param depth UInt8 = 4 -- at most so many steps
-- :param gap_s UInt32 = 1800 -- a longer pause begins a new visit
-- :param top UInt16 = 20 -- at most so many rows
-- :param source String = -- only this source; empty: all
-- :param from Date = 2000-01-01 -- first day, by event time
-- :param to Date = 2100-01-01 -- last day
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column path -- events in order, by " > "
-- :column visits -- visits that went so
-- :column users -- users that did
-- :column share -- visits over all visits with the start
-- :example paths --param start=product_viewed --param depth=3
WITH
    happened AS
    (
        SELECT user, arraySort(groupArray((timestamp, _partition, _offset, toString(event)))) AS list
        FROM events
        WHERE toDate(timestamp, {tz:String}) BETWEEN {from:Date} AND {to:Date}
            AND ({source:String} = '' OR source = {source:String})
        GROUP BY user
    ),
    visits AS
    (
        SELECT user, arrayCompact(arrayMap(item -> item.4, visit)) AS steps
        FROM happened
        ARRAY JOIN arraySplit(
            (item, before) -> dateDiff('millisecond', before.1, item.1) > {gap_s:UInt32} * 1000,
            list, arrayPushFront(arrayPopBack(list), list[1])
        ) AS visit
    )
SELECT
    arrayStringConcat(arraySlice(steps, if({start:String} = '', 1, indexOf(steps, {start:String})), {depth:UInt8}), ' > ') AS path,
    count() AS visits,
    uniqExact(user) AS users,
    round(visits / sum(visits) OVER (), 4) AS share
FROM visits
WHERE {start:String} = '' OR has(steps, {start:String})
GROUP BY path
ORDER BY visits DESC, path
LIMIT {top:UInt16}
