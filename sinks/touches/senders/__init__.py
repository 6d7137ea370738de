"""Senders: a module for each that a row of ``schemas.channels`` names, with ``open_sender``."""
