"""The landing of events, tags, decisions and receipts in ClickHouse."""
