-- Health of the pipeline: accepted events by the time of their receipt, how late they came from
-- the clients, and how long it took from the collector to the canonical log.
-- :param step_s UInt32 = 3600 -- seconds of a row, from midnight in tz on: 300, 3600, 86400...
-- :param source String = -- only this source; empty: all
-- :param from Date = 2000-01-01 -- first day of receipt
-- :param to Date = 2100-01-01 -- last day
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column time -- start of the step, UTC
-- :column source -- app, mini_program, official_account, web or server
-- :column events -- events received in it
-- :column late -- of them, marked late
-- :column future -- of them, marked as from the future
-- :column uplink_p50_s -- half of them were received within so many seconds of happening
-- :column pipe_p50_ms -- half of them were on the log within so many milliseconds of receipt
-- :column pipe_p99_ms -- 99 in 100 were
-- :example pipeline_delay --param from=2026-11-22 --param step_s=60
SELECT
    toStartOfInterval(received_at, toIntervalSecond({step_s:UInt32}), toDateTime64('1970-01-02', 3, {tz:String})) AS time,
    source,
    count() AS events,
    countIf(has(marks, 'late')) AS late,
    countIf(has(marks, 'future')) AS future,
    round(quantile(0.5)(dateDiff('millisecond', timestamp, received_at)) / 1000, 3) AS uplink_p50_s,
    quantile(0.5)(dateDiff('millisecond', received_at, _logged_at)) AS pipe_p50_ms,
    quantile(0.99)(dateDiff('millisecond', received_at, _logged_at)) AS pipe_p99_ms
FROM events
WHERE toDate(received_at, {tz:String}) BETWEEN {from:Date} AND {to:Date}
    AND ({source:String} = '' OR source = {source:String})
GROUP BY time, source
ORDER BY time, source
