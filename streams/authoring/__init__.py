"""What authors write in YAML, read: rulebooks, tracking plans and their tests; never compiled."""
