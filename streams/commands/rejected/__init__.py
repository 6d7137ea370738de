"""Rejects by their causes: listed, shown, sent again."""
