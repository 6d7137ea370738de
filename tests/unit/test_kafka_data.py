import re
from pathlib import Path

import pytest

from deploy.local.jars import VERSION
from deploy.local.kafka import assert_readable
from schemas.errors import PartMissing

# The first record of what `StorageTool format` wrote to bootstrap.checkpoint, by release.
CHECKPOINTS = {
    "4.2.0": "3a0000 00012e 010c 0011 6d657461646174612e76657273696f6e 001d 00 00",
    "4.3.0": "3a0000 00012e 010c 0011 6d657461646174612e76657273696f6e 001e 00 00",
}


def data_of(folder: Path, release: str) -> Path:
    data = folder / "kafka/data"
    data.mkdir(parents=True)
    (data / "bootstrap.checkpoint").write_bytes(bytes.fromhex(CHECKPOINTS[release]))
    return data


def test_data_of_a_newer_kafka_is_told_in_one_line_with_what_to_do(tmp_path: Path) -> None:
    data = data_of(tmp_path, "4.3.0")
    with pytest.raises(PartMissing, match=f"newer Kafka than {re.escape(VERSION)}") as told:
        assert_readable(data)
    line = str(told.value)
    assert str(data) in line
    assert "move that folder away, or remove it" in line
    assert "\n" not in line
    assert told.value.exit_status == 3


def test_data_of_this_kafka_or_without_a_checkpoint_is_left_to_the_broker(tmp_path: Path) -> None:
    assert_readable(data_of(tmp_path, "4.2.0"))
    (tmp_path / "kafka/data/bootstrap.checkpoint").write_bytes(b"")
    assert_readable(tmp_path / "kafka/data")
    assert_readable(tmp_path / "nothing")
