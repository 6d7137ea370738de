-- RFM grid: buyers scored by recency, frequency and money, with the eight segments. A score is
-- 1 + the share of buyers that are worse, cut into bins: equals always share a score.
-- :param asof Date = 2100-01-01 -- orders up to this day; later than the last: the last order's day
-- :param bins UInt8 = 5 -- scores go from 1 to this; above half of it is high
-- :param pay String = order_paid -- event that carries the money in its amount
-- :param from Date = 2000-01-01 -- first day of orders
-- :param tz String = Asia/Shanghai -- time zone of the days
-- :column r -- score of recency, the highest for the latest
-- :column f -- score of frequency
-- :column m -- score of money
-- :column segment -- important (m high) or general; value, develop (f low), keep (r low), win_back (both low)
-- :column users -- buyers of the cell
-- :column recency_days -- their mean days since the last order
-- :column orders -- their mean number of orders
-- :column money -- their mean money
-- :column revenue -- their money in all
-- :example rfm --param asof=2026-11-30 --param bins=3
-- :plot heat r f users
WITH
    buyers AS
    (
        SELECT
            max(toDate(quarter, {tz:String})) AS last,
            sum(orders.orders) AS bought,
            sum(orders.amount) AS spent
        FROM orders
        WHERE event = {pay:String} AND toDate(quarter, {tz:String}) BETWEEN {from:Date} AND {asof:Date}
        GROUP BY person
    ),
    scored AS
    (
        SELECT
            dateDiff('day', last, max(last) OVER ()) + if({asof:Date} < toDate('2100-01-01'), dateDiff('day', max(last) OVER (), {asof:Date}), 0) AS days,
            bought,
            spent,
            count() OVER () AS everyone,
            1 + intDiv({bins:UInt8} * (rank() OVER (ORDER BY last) - 1), everyone) AS r,
            1 + intDiv({bins:UInt8} * (rank() OVER (ORDER BY bought) - 1), everyone) AS f,
            1 + intDiv({bins:UInt8} * (rank() OVER (ORDER BY spent) - 1), everyone) AS m
        FROM buyers
    )
SELECT
    r,
    f,
    m,
    concat(
        if(m * 2 > {bins:UInt8}, 'important ', 'general '),
        multiIf(
            r * 2 > {bins:UInt8} AND f * 2 > {bins:UInt8}, 'value',
            r * 2 > {bins:UInt8}, 'develop',
            f * 2 > {bins:UInt8}, 'keep',
            'win_back'
        )
    ) AS segment,
    count() AS users,
    round(avg(days), 4) AS recency_days,
    round(avg(bought), 4) AS orders,
    round(avg(toFloat64(spent)), 4) AS money,
    sum(spent) AS revenue
FROM scored
GROUP BY r, f, m
ORDER BY r DESC, f DESC, m DESC
