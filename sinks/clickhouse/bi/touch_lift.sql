-- Lift of touches: how many more of the treated users than of the holdout reached the goal, by
-- rule and variant, with a 95 % confidence interval (Newcombe's, of two Wilson intervals). A
-- user counts once for a rule, from the first decision in the days asked for. Variant "all"
-- are all. Treated is who was to be: also whom a cap, quiet hours or another rule of the group
-- kept from being sent to, as the holdout has such users too.
-- :param goal String = -- event that is the goal, its amount the revenue; empty: each rule's own goal
-- :param within_s UInt32 = 259200 -- seconds from the decision to the event; a rule's own goal has its own
-- :param rule String = -- only this rule; empty: all
-- :param from Date = 2000-01-01 -- first day of decisions
-- :param to Date = 2100-01-01 -- last day
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column rule -- id of the rule
-- :column variant -- the variant that was drawn, or "all"
-- :column treated -- users treated
-- :column treated_reached -- of them, that reached the goal in time
-- :column treated_rate -- treated_reached over treated
-- :column holdout -- users of the rule's holdout
-- :column holdout_reached -- of them, that reached the goal in time
-- :column holdout_rate -- holdout_reached over holdout
-- :column lift -- treated_rate less holdout_rate; empty without a holdout
-- :column lift_low -- lower end of its interval
-- :column lift_high -- upper end: the touch works for sure only if both ends are above 0
-- :column relative_lift -- lift over holdout_rate
-- :column extra_reached -- lift times treated: goals that the touch brought
-- :column extra_revenue -- revenue of a treated user less that of a holdout user, times treated
-- :example touch_lift --param rule=cart_30m --param within_s=86400
-- :plot bar rule lift by variant
WITH
    entered AS
    (
        -- What is refused before the holdout is drawn (audience, cooldown, late) is in neither group,
        -- nor what a rule in shadow would have done. The first decision says in which one is.
        SELECT
            rule,
            person,
            min(time) AS since,
            argMin(outcome = 'holdout', bitShiftLeft(toUInt128(toUnixTimestamp64Milli(decisions.time) + 2208988800000), 64) + _offset) AS held,
            argMin(variant, bitShiftLeft(toUInt128(toUnixTimestamp64Milli(decisions.time) + 2208988800000), 64) + _offset) AS arm
        FROM decisions
        WHERE (outcome IN ('sent', 'held', 'holdout') OR (outcome = 'suppressed' AND (match(reason, '^(cap|quiet):') OR reason IN ('exclusive', 'max_hold'))))
            AND ({rule:String} = '' OR rule = {rule:String})
            AND toDate(time, {tz:String}) BETWEEN {from:Date} AND {to:Date}
        GROUP BY rule, person
    ),
    goals AS
    (
        SELECT '*' AS of_rule, person, groupArray((timestamp, toFloat64(ifNull(amount, 0)))) AS every
        FROM events
        WHERE {goal:String} != '' AND event = {goal:String}
        GROUP BY person
        UNION ALL
        SELECT toString(rule) AS of_rule, person, groupArray((time, ifNull(value, 0.))) AS every
        FROM decisions
        WHERE {goal:String} = '' AND outcome = 'converted'
        GROUP BY rule, person
    ),
    ends AS
    (
        SELECT
            toString(entered.rule) AS rule,
            entered.held AS held,
            toString(entered.arm) AS arm,
            arrayFilter(
                one -> one.1 >= entered.since AND ({goal:String} = '' OR one.1 <= entered.since + toIntervalSecond({within_s:UInt32})),
                goals.every
            ) AS reached
        FROM entered
        LEFT JOIN goals ON goals.person = entered.person AND goals.of_rule = if({goal:String} = '', toString(entered.rule), '*')
    ),
    groups AS
    (
        SELECT
            rule,
            variant,
            sum(users) AS n,
            sum(reachers) AS k,
            sum(money) AS worth
        FROM
        (
            SELECT rule, held, arm, count() AS users, countIf(notEmpty(reached)) AS reachers, sum(arraySum(arrayMap(one -> one.2, reached))) AS money
            FROM ends
            GROUP BY rule, held, arm
        )
        ARRAY JOIN if(held, ['(holdout)'], if(arm = '', ['all'], ['all', arm])) AS variant
        GROUP BY rule, variant
    ),
    1.959963984540054 AS z,
    (k, n) -> (k / n + z * z / (2 * n)) / (1 + z * z / n) AS middle,
    (k, n) -> z * sqrt(k / n * (1 - k / n) / n + z * z / (4 * n * n)) / (1 + z * z / n) AS half,
    pow(k1 / n1 - (middle(k1, n1) - half(k1, n1)), 2) AS below_1,
    pow(middle(k1, n1) + half(k1, n1) - k1 / n1, 2) AS above_1,
    pow(k0 / n0 - (middle(k0, n0) - half(k0, n0)), 2) AS below_0,
    pow(middle(k0, n0) + half(k0, n0) - k0 / n0, 2) AS above_0
SELECT
    rule,
    variant,
    n1 AS treated,
    k1 AS treated_reached,
    round(k1 / n1, 4) AS treated_rate,
    n0 AS holdout,
    k0 AS holdout_reached,
    if(n0 = 0, NULL, round(k0 / n0, 4)) AS holdout_rate,
    if(n0 = 0, NULL, round(k1 / n1 - k0 / n0, 4)) AS lift,
    if(n0 = 0, NULL, round(k1 / n1 - k0 / n0 - sqrt(below_1 + above_0), 4)) AS lift_low,
    if(n0 = 0, NULL, round(k1 / n1 - k0 / n0 + sqrt(above_1 + below_0), 4)) AS lift_high,
    if(k0 = 0, NULL, round((k1 / n1) / (k0 / n0) - 1, 4)) AS relative_lift,
    if(n0 = 0, NULL, round(k1 - n1 * k0 / n0, 4)) AS extra_reached,
    if(n0 = 0, NULL, round(worth1 - n1 * worth0 / n0, 4)) AS extra_revenue
FROM
(
    SELECT
        rule, variant, n AS n1, k AS k1, worth AS worth1,
        sumIf(n, variant = '(holdout)') OVER (PARTITION BY rule) AS n0,
        sumIf(k, variant = '(holdout)') OVER (PARTITION BY rule) AS k0,
        sumIf(worth, variant = '(holdout)') OVER (PARTITION BY rule) AS worth0
    FROM groups
)
WHERE variant != '(holdout)'
ORDER BY rule, variant != 'all', variant
