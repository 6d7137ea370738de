"""Faust, made to hand over batches: its transport and its assignor."""
