"""Thin Faust shells around the core."""
