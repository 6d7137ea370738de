"""Where results go: ClickHouse and the touch channels."""
