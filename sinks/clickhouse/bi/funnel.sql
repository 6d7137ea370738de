-- Conversion funnel: how many users went through any list of events, each step in order and
-- all within a time of the first. A user counts at the furthest step reached.
-- :param steps String = product_viewed,cart_added,order_paid -- events in order, by comma, at most 10
-- :param within_s UInt32 = 86400 -- seconds from the first step to the last
-- :param source String = -- only this source; empty: all
-- :param from Date = 2000-01-01 -- first day, by event time
-- :param to Date = 2100-01-01 -- last day
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column step -- place in the funnel, from 1
-- :column event -- event of the step
-- :column users -- users that reached it
-- :column share_of_first -- users over the users of the first step
-- :column share_of_previous -- users over the users of the step before
-- :example funnel --param steps=share_opened,user_registered,order_paid --param within_s=604800
-- :plot bar event users
WITH
    arrayMap(name -> trim(BOTH ' ' FROM name), splitByChar(',', {steps:String})) AS list,
    levels AS
    (
        SELECT
            windowFunnel({within_s:UInt32} * 1000)(
                toUInt64(greatest(toUnixTimestamp64Milli(timestamp), 0)),
                event = list[1], event = list[2], event = list[3], event = list[4], event = list[5],
                event = list[6], event = list[7], event = list[8], event = list[9], event = list[10]
            ) AS level
        FROM journeys
        WHERE has(list, event)
            AND timestamp >= toDateTime64(toString({from:Date}), 3, {tz:String})
            AND timestamp < toDateTime64(toString({to:Date} + 1), 3, {tz:String})
            AND ({source:String} = '' OR source = {source:String})
        GROUP BY person
    ),
    reached AS
    (
        -- Of no users at all the sums are of no length: each step has its zero all the same.
        SELECT arrayResize(sumForEach(arrayMap(place -> if(level >= place, users, 0), range(1, 11))), length(list)) AS counts
        FROM (SELECT level, count() AS users FROM levels GROUP BY level)
    )
SELECT
    step,
    event,
    users,
    round(if(counts[1] = 0, 0, users / counts[1]), 4) AS share_of_first,
    round(if(before = 0, 0, users / before), 4) AS share_of_previous
FROM reached
ARRAY JOIN
    arrayEnumerate(list) AS step,
    list AS event,
    counts AS users,
    arrayPushFront(arrayPopBack(counts), counts[1]) AS before
WHERE throwIf(length(list) > 10, 'steps: a funnel has at most 10 events') = 0
ORDER BY step
