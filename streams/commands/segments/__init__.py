"""Segments from outside the engine: defined in the rulebook, counted and listed in ClickHouse."""
