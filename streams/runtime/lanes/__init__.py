"""Lanes: one for each input partition, and the transactions that they commit together."""
