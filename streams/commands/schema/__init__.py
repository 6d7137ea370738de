"""The tracking plan on the command line."""
