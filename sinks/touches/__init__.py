"""The delivery of touches, with a ledger that sends each at most once."""
