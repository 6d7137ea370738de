"""The demo: a seeded day of a shop through the real front doors, counted to the last item."""
