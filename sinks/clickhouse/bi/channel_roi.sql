-- Channel ROI: what the users cost whom a channel brought, and what they paid since. A user
-- belongs to the channel that came first, and to the day of the first event; costs are those
-- of the table channel_costs in the same days (the latest row of a day, channel and campaign).
-- :param pay String = order_paid -- event that carries the revenue in its amount
-- :param refund String = order_refunded -- event that carries the refund in its amount
-- :param within_days UInt32 = 0 -- count only money so many days after a user's first event; 0: any
-- :param from Date = 2000-01-01 -- first day on which users were first seen, and of costs
-- :param to Date = 2100-01-01 -- last day
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column channel -- the channel, or "unknown"
-- :column new_users -- users it brought
-- :column buyers -- of them, that paid
-- :column revenue -- what they paid, less refunds
-- :column cost -- what the channel cost
-- :column cost_per_user -- cost over new_users
-- :column cost_per_buyer -- cost over buyers
-- :column roas -- revenue over cost; empty without a cost
-- :column roi -- (revenue - cost) over cost; empty without a cost
-- :example channel_roi --param from=2026-11-01 --param to=2026-11-30 --param within_days=30
-- :plot bar channel revenue,cost
WITH
    comers AS
    (
        SELECT person, min(users.first) AS first, argMinIfMerge(users.channel) AS brought_by
        FROM users
        GROUP BY person
        HAVING toDate(first, {tz:String}) BETWEEN {from:Date} AND {to:Date}
    ),
    money AS
    (
        SELECT
            comers.person AS person,
            countIf(events.event = {pay:String}) > 0 AS paid,
            sum(if(events.event = {pay:String}, 1, -1) * ifNull(events.amount, 0)) AS net
        FROM events
        INNER JOIN comers ON comers.person = events.person
        WHERE events.event IN ({pay:String}, {refund:String})
            AND ({within_days:UInt32} = 0 OR dateDiff('millisecond', comers.first, events.timestamp) <= {within_days:UInt32} * 86400000)
        GROUP BY person
    ),
    both AS
    (
        SELECT if(comers.brought_by = '', 'unknown', comers.brought_by) AS channel, 1 AS new, toUInt64(money.paid) AS paid, money.net AS net, toDecimal128(0, 4) AS cost
        FROM comers
        LEFT JOIN money ON money.person = comers.person
        UNION ALL
        SELECT toString(channel) AS channel, 0 AS new, 0 AS paid, toDecimal128(0, 4) AS net, toDecimal128(argMax(cost, updated_at), 4) AS cost
        FROM channel_costs
        WHERE day BETWEEN {from:Date} AND {to:Date}
        GROUP BY day, channel, campaign
    )
SELECT
    channel,
    sum(new) AS new_users,
    sum(paid) AS buyers,
    sum(net) AS revenue,
    sum(both.cost) AS cost,
    if(new_users = 0, NULL, round(toFloat64(cost) / new_users, 4)) AS cost_per_user,
    if(buyers = 0, NULL, round(toFloat64(cost) / buyers, 4)) AS cost_per_buyer,
    if(cost = 0, NULL, round(toFloat64(revenue) / toFloat64(cost), 4)) AS roas,
    if(cost = 0, NULL, round(toFloat64(revenue - cost) / toFloat64(cost), 4)) AS roi
FROM both
GROUP BY channel
ORDER BY revenue DESC, channel
