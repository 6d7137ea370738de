-- What was refused, by stage, reason and source, the most frequent first: a reason that grows is
-- a producer that broke its contract. `siyu rejected list` shows the items.
-- :param source String = -- only this source; empty: all
-- :param from Date = 2000-01-01 -- first day on the log
-- :param to Date = 2100-01-01 -- last day
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column stage -- collect, parse, validate, identify, dedupe or land
-- :column reason -- stable code
-- :column source -- source it came from, empty if unknown
-- :column rejects -- how many
-- :column kinds -- fingerprints among them: items that fail alike share one
-- :column first -- when the first was logged, UTC
-- :column last -- when the last was
-- :example rejects_by_reason --param from=2026-11-22
SELECT
    stage,
    reason,
    source,
    count() AS rejects,
    uniqExact(fingerprint) AS kinds,
    min(_logged_at) AS first,
    max(_logged_at) AS last
FROM rejects
WHERE toDate(_logged_at, {tz:String}) BETWEEN {from:Date} AND {to:Date}
    AND ({source:String} = '' OR source = {source:String})
GROUP BY stage, reason, source
ORDER BY rejects DESC, stage, reason, source
