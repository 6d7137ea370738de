"""The embedded stack: a real broker and a real ClickHouse without containers."""
