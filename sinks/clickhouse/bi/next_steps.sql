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
-- :plot heat event next times
WITH
    (SELECT groupArray(toString(event)) FROM (SELECT event FROM journeys GROUP BY event)) AS names,
    happened AS
    (
        -- One number an event, for sorting: its time, its place on the log, its name's place.
        SELECT
            arraySort(groupArray(
                bitShiftLeft(toUInt128(toUnixTimestamp64Milli(timestamp) + 2208988800000), 80)
                + bitShiftLeft(toUInt128(_offset), 16)
                + transform(event, names, arrayMap(place -> toUInt16(place), arrayEnumerate(names)), toUInt16(0))
            )) AS list
        FROM journeys
        WHERE timestamp >= toDateTime64(toString({from:Date}), 3, {tz:String})
            AND timestamp < toDateTime64(toString({to:Date} + 1), 3, {tz:String})
            AND ({source:String} = '' OR source = {source:String})
            AND (NOT silent OR event = {after:String})
        GROUP BY person
    ),
    pairs AS
    (
        SELECT
            arrayMap(
                (one, two) -> toUInt32(toUInt16(one)) * 65536 + if(bitShiftRight(two, 80) <= bitShiftRight(one, 80) + {gap_s:UInt32} * 1000, toUInt16(two), 0),
                list, arrayPushBack(arrayPopFront(list), bitNot(toUInt128(0)))
            ) AS all_of_user,
            arrayFilter(one -> {after:String} = '' OR intDiv(one, 65536) = indexOf(names, {after:String}), all_of_user) AS of_user
        FROM happened
    )
SELECT
    names[intDiv(pair, 65536)] AS event,
    if(pair % 65536 = 0, '(end)', names[pair % 65536]) AS next,
    count() AS times,
    countIf(nth = 1) AS users,
    round(times / sum(times) OVER (PARTITION BY event), 4) AS share
FROM pairs
ARRAY JOIN of_user AS pair, arrayEnumerateUniq(of_user) AS nth
GROUP BY pair
ORDER BY times DESC, event, next
LIMIT {top:UInt16}
