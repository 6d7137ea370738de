-- A redriven item that is rejected again is a row of its own, linked to the reject it was made of.
ALTER TABLE rejects
    ADD COLUMN IF NOT EXISTS redrive_of String DEFAULT '' COMMENT 'reject that this item was redriven from, <_partition>:<_offset>; empty if none' CODEC(ZSTD(1)) AFTER raw_offset;

ALTER TABLE events
    COMMENT COLUMN IF EXISTS marks 'late, future, uncatalogued, off_plan, bot, test, redriven';
