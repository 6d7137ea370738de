"""The HTTP edge: every front door that events come through."""
