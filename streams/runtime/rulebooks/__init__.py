"""Which rulebook each partition runs: published, followed, switched."""
