-- What the channels cost, put in by people or by exports of the ad platforms. A correction is a
-- new row of the same day, channel and campaign: readers take the latest by updated_at.
CREATE TABLE IF NOT EXISTS channel_costs
(
    day        Date                    COMMENT 'day that was paid for, in Asia/Shanghai'  CODEC(DoubleDelta, ZSTD(1)),
    channel    LowCardinality(String)  COMMENT 'marketing channel, as in events.channel',
    campaign   String DEFAULT ''       COMMENT 'campaign, empty if the cost is of the whole channel'  CODEC(ZSTD(1)),
    cost       Decimal(18, 4)          COMMENT 'money, in the unit of events.amount',
    updated_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'when this row was put in; the latest counts'  CODEC(DoubleDelta, ZSTD(1))
)
ENGINE = MergeTree
ORDER BY (channel, day, campaign, updated_at)
COMMENT 'Cost of each channel by day and campaign';
