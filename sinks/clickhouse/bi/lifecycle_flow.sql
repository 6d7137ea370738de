-- Lifecycle flow: which state users were in on a day, and in which some days later: who moved
-- from active to dormant, who came back. A state is by the days since the user's last event.
-- :param asof Date = 2100-01-01 -- day of the second look; later than the last event: its day
-- :param days UInt16 = 30 -- the first look is so many days before
-- :param active_days UInt16 = 14 -- fewer days since the last event: active
-- :param dormant_days UInt16 = 30 -- so many days or more: dormant; between the two: cooling
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column before -- state at the first look; "(unseen)": not yet a user
-- :column after -- state at the second look
-- :column users -- users that went so
-- :column share -- users over all that were in the state before
-- :example lifecycle_flow --param asof=2026-11-30 --param days=30
-- :plot heat before after users
WITH
    (SELECT least({asof:Date}, toDate(max(quarter), {tz:String})) FROM activity) AS second,
    second - {days:UInt16} AS first,
    seen AS
    (
        SELECT
            countIf(day <= first) AS early,
            dateDiff('day', maxIf(day, day <= first), first) AS since_first,
            dateDiff('day', max(day), second) AS since_second
        FROM (SELECT person, toDate(quarter, {tz:String}) AS day FROM activity)
        WHERE day <= second
        GROUP BY person
    )
SELECT
    multiIf(early = 0, '(unseen)', since_first < {active_days:UInt16}, 'active', since_first < {dormant_days:UInt16}, 'cooling', 'dormant') AS before,
    multiIf(since_second < {active_days:UInt16}, 'active', since_second < {dormant_days:UInt16}, 'cooling', 'dormant') AS after,
    count() AS users,
    round(users / sum(users) OVER (PARTITION BY before), 4) AS share
FROM seen
GROUP BY before, after
ORDER BY before, after
