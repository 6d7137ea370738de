"""Rules over time: explained, replayed over history, compared, published, watched."""
