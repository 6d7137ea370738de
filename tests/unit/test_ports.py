import socket
from pathlib import Path

from deploy.local import ports


def test_a_port_is_kept_for_the_next_start(tmp_path: Path) -> None:
    first = ports.keep(tmp_path, "kafka", "clickhouse")
    assert len(set(first.values())) == 2
    assert ports.keep(tmp_path, "clickhouse", "kafka") == first
    assert ports.kept(tmp_path) == first


def test_a_taken_port_is_replaced_and_the_others_kept(tmp_path: Path) -> None:
    first = ports.keep(tmp_path, "kafka", "clickhouse")
    with socket.create_server(("127.0.0.1", first["kafka"])):
        second = ports.keep(tmp_path, "kafka", "clickhouse")
    assert second["kafka"] != first["kafka"]
    assert second["clickhouse"] == first["clickhouse"]
