"""The composition root: application, transport, command line."""
