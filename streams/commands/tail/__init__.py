"""What arrives, live, and what became of it."""
