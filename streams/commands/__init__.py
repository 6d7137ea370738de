"""What people type: the command line, one folder for each group of commands."""
