import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.errors import ConfigInvalid
from streams.sources.producer.spool import Full, Spool

ROOT = Path(__file__).resolve().parents[2]
STEPS = st.lists(
    st.one_of(
        st.binary(max_size=60),
        st.tuples(st.just("take"), st.integers(1, 5)),
        st.just("look"),
        st.just("reopen"),
        st.just("tear"),
    ),
    max_size=40,
)


def opened(folder: Path, max_bytes: int = 10_000) -> Spool:
    return Spool(folder, max_bytes=max_bytes, segment_bytes=100)


@settings(deadline=None, max_examples=80)
@given(STEPS)
def test_a_spool_is_a_queue_whatever_is_closed_torn_or_opened_again(
    steps: list[bytes | tuple[str, int] | str],
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, expected = Path(name), deque[bytes]()
        spool = opened(folder)
        for step in steps:
            if isinstance(step, bytes):
                spool.put(step)
                expected.append(step)
            elif isinstance(step, tuple):
                found = spool.peek(step[1])
                assert found == list(expected)[: step[1]]
                spool.drop()
                for _ in found:
                    expected.popleft()
            elif step == "look":
                assert spool.peek(3) == list(expected)[:3]
            else:
                spool.close()
                if step == "tear":
                    newest = max(folder.glob("*.log"))
                    newest.write_bytes(newest.read_bytes() + b"\x00\x00\x00\x09\x01")
                spool = opened(folder)
        assert spool.peek(1000) == list(expected)
        spool.drop()
        assert spool.pending_bytes == 0
        spool.close()


def test_a_full_spool_takes_nothing_until_something_was_taken_out(tmp_path: Path) -> None:
    with opened(tmp_path, max_bytes=100) as spool:
        for _ in range(5):
            spool.put(b"x" * 12)
        with pytest.raises(Full):
            spool.put(b"y")
        assert spool.peek(1) == [b"x" * 12]
        spool.drop()
        spool.put(b"y")
        assert spool.peek(9) == [b"x" * 12] * 4 + [b"y"]


def test_one_process_at_a_time_has_a_folder(tmp_path: Path) -> None:
    with opened(tmp_path), pytest.raises(ConfigInvalid, match="another process"):
        opened(tmp_path)
    opened(tmp_path).close()


def test_damaged_bytes_are_kept_for_a_look(tmp_path: Path) -> None:
    with opened(tmp_path) as spool:
        spool.put(b"first")
        spool.put(b"second")
    [old] = tmp_path.glob("*.log")
    old.write_bytes(old.read_bytes()[:-1] + b"?")
    with opened(tmp_path) as spool:
        spool.put(b"third")
        assert spool.peek(9) == [b"first", b"third"]
        spool.drop()
        assert spool.pending_bytes == 0
    assert [path.stem for path in tmp_path.glob("*.torn")] == [old.stem]


KILLED = """
import os, signal, sys
from pathlib import Path
from streams.sources.producer.spool import Spool
spool = Spool(Path(sys.argv[1]), max_bytes=10**9, segment_bytes=4000)
for number in range(10**9):
    spool.put(b"%d" % number)
    os.write(1, b"%d\\n" % number)
"""


def test_kill_9_loses_nothing_that_was_put(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert child.stdout is not None
    told = [child.stdout.readline() for _ in range(3000)]
    os.kill(child.pid, signal.SIGKILL)
    told += child.stdout.readlines()
    child.wait()
    child.stdout.close()
    last = int([line for line in told if line.endswith(b"\n")][-1])
    with opened(tmp_path, max_bytes=10**9) as spool:
        found = [int(payload) for payload in spool.peek(10**9)]
    assert found[: last + 1] == list(range(last + 1))
    assert len(found) <= last + 2
