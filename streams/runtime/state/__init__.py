"""State of partitions: shards, where they are stored, and how they are restored."""
