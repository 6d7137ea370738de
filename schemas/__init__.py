"""Contracts: what crosses a process boundary, each defined once."""
