-- Sessions by day, week or month: how many visits, how long, how many events, and how many
-- ended with their first. A session counts where it began; its users change doors freely.
-- :param period String = day -- day, week (from Monday) or month
-- :param gap_s UInt32 = 1800 -- a longer pause begins a new session; 900 or more
-- :param source String = -- only this source; empty: all
-- :param from Date = 2000-01-01 -- first day, by event time
-- :param to Date = 2100-01-01 -- last day
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column start -- first day of the period
-- :column sessions -- sessions that began in it
-- :column users -- users of them
-- :column sessions_per_user -- sessions over users
-- :column events_per_session -- their events over sessions
-- :column mean_minutes -- mean of the minutes from the first event to the last
-- :column median_minutes -- half of the sessions were shorter
-- :column bounce_rate -- sessions of a single event over sessions
-- :example sessions --param period=week --param source=mini_program
-- :plot line start sessions,users
WITH
    present AS
    (
        -- What a user did in a quarter of an hour is one stay, whatever the source.
        SELECT person, min(activity.first) AS first, max(activity.last) AS last, sum(activity.events) AS happened
        FROM activity
        WHERE toDate(quarter, {tz:String}) BETWEEN {from:Date} AND {to:Date}
            AND ({source:String} = '' OR source = {source:String})
            AND throwIf({gap_s:UInt32} < 900, 'gap_s: 900 or more') = 0
        GROUP BY person, quarter
    ),
    histories AS
    (
        -- One number a stay, for sorting: its first event, its length, its events.
        SELECT
            person,
            arraySort(groupArray(
                bitShiftLeft(toUInt128(toUnixTimestamp64Milli(first) + 2208988800000), 80)
                + bitShiftLeft(toUInt128(dateDiff('millisecond', first, last)), 40)
                + happened
            )) AS stays
        FROM present
        GROUP BY person
    ),
    visits AS
    (
        SELECT
            person,
            toInt64(bitShiftRight(visit[1], 80)) AS began,
            toInt64(bitShiftRight(visit[-1], 80)) + toUInt32(bitAnd(bitShiftRight(visit[-1], 40), 4294967295)) - began AS took_ms,
            arraySum(arrayMap(stay -> toUInt64(bitAnd(stay, 1099511627775)), visit)) AS happened
        FROM histories
        ARRAY JOIN arraySplit(
            (stay, before) -> bitShiftRight(stay, 80) > bitShiftRight(before, 80) + bitAnd(bitShiftRight(before, 40), 4294967295) + {gap_s:UInt32} * 1000,
            stays, arrayPushFront(arrayPopBack(stays), stays[1])
        ) AS visit
    )
SELECT
    toDate(dateTrunc({period:String}, toDate(fromUnixTimestamp64Milli(began - 2208988800000, 'UTC'), {tz:String}))) AS start,
    count() AS sessions,
    uniqExact(person) AS users,
    round(sessions / users, 4) AS sessions_per_user,
    round(sum(happened) / sessions, 4) AS events_per_session,
    round(avg(took_ms) / 60000, 4) AS mean_minutes,
    round(quantileExactInclusive(0.5)(took_ms) / 60000, 4) AS median_minutes,
    round(countIf(happened = 1) / sessions, 4) AS bounce_rate
FROM visits
GROUP BY start
ORDER BY start
