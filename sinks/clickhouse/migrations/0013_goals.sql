-- Conversions are decisions, of treated and held-out users alike; value is what one is worth.
ALTER TABLE decisions
    ADD COLUMN IF NOT EXISTS value Nullable(Float64) COMMENT 'worth of a conversion, in the unit of its event' CODEC(ZSTD(1)) AFTER trace,
    COMMENT COLUMN outcome 'sent, held, suppressed, exited, holdout or converted',
    COMMENT COLUMN variant 'variant of the experiment from the draw of the holdout on, empty if none';
