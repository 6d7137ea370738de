"""The one room that touches the inside of aiokafka."""
