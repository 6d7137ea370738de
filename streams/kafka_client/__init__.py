"""The one room that touches the inside of aiokafka (0.14): what its public forms cannot do.

Each module names the private part that it uses, what the public form lacks, and so what a new
version of aiokafka has to be looked at for (`tests/unit/test_kafka_client.py` asks the installed
one). Everybody else uses aiokafka's public names and these functions.
"""
