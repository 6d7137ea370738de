"""The command line of the benches; what they do stands in benchmarks/."""
