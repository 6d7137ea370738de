"""The worker process: a Faust app whose agents run on lanes."""
