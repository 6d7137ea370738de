"""The Python producer: for services beside Kafka, with a spool on disk if wanted."""

from streams.sources.producer.producer import SiyuProducer

__all__ = ["SiyuProducer"]
