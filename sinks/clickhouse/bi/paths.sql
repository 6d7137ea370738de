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
-- :plot bar path visits
WITH
    (SELECT groupArray(toString(event)) FROM (SELECT event FROM journeys GROUP BY event)) AS names,
    indexOf(names, {start:String}) AS beginning,
    happened AS
    (
        -- One number an event, for sorting: its time, its place on the log, its name's place.
        SELECT
            person,
            arraySort(groupArray(
                bitShiftLeft(toUInt128(toUnixTimestamp64Milli(timestamp) + 2208988800000), 80)
                + bitShiftLeft(toUInt128(_offset), 16)
                + transform(event, names, arrayMap(place -> toUInt16(place), arrayEnumerate(names)), toUInt16(0))
            )) AS list
        FROM journeys
        WHERE timestamp >= toDateTime64(toString({from:Date}), 3, {tz:String})
            AND timestamp < toDateTime64(toString({to:Date} + 1), 3, {tz:String})
            AND ({source:String} = '' OR source = {source:String})
            AND (NOT silent OR event = {start:String})
        GROUP BY person
    ),
    visits AS
    (
        SELECT person, arrayCompact(arrayMap(item -> toUInt16(item), visit)) AS steps
        FROM happened
        ARRAY JOIN arraySplit(
            (item, before) -> bitShiftRight(item, 80) > bitShiftRight(before, 80) + {gap_s:UInt32} * 1000,
            list, arrayPushFront(arrayPopBack(list), list[1])
        ) AS visit
    )
SELECT
    arrayStringConcat(arrayMap(step -> names[step], any(steps_taken)), ' > ') AS path,
    count() AS visits,
    uniqExact(person) AS users,
    round(visits / sum(visits) OVER (), 4) AS share
FROM
(
    SELECT person, arraySlice(steps, if({start:String} = '', 1, indexOf(steps, beginning)), {depth:UInt8}) AS steps_taken
    FROM visits
    WHERE {start:String} = '' OR has(steps, beginning)
)
GROUP BY steps_taken
ORDER BY visits DESC, path
LIMIT {top:UInt16}
