"""The flow that the SDKs send to, and the SDKs that come from npm."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import node as local_node
from deploy.local.fetch import cached, run
from deploy.local.stack import StackInfo
from deploy.progress import QUIET
from tests.contract.flow import Flow, running

HERE = Path(__file__).parent
CI = ("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")


# By module, not by package: without __init__ files that is the whole session, and a worker that
# lives on would take what other tests put on the shared topics.
@pytest.fixture(scope="module")
def flow(stack: StackInfo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flow]:
    """The flow on the session's stack."""
    assert stack.kafka_transactions, "exactly once needs Apache Kafka"
    with running(tmp_path_factory.mktemp("flow")) as started:
        yield started


@pytest.fixture(scope="session")
def node() -> Callable[..., None]:
    """``node(script, *arguments)`` runs a script of this folder with the packages of its lock."""
    lock = HERE / "package-lock.json"

    def install(folder: Path) -> None:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder / name)
        argv = [*local_node.npm(QUIET), *CI]
        run("npm packages", argv, cwd=folder, remedy="check the network and npm's settings")

    digest = hashlib.sha256(lock.read_bytes()).hexdigest()[:12]
    packages = cached(f"contract-node-{digest}", install)

    program = local_node.node(QUIET)

    def start(script: str, *arguments: str) -> None:
        done = subprocess.run(
            [program, str(HERE / script), *arguments],
            env={**os.environ, "SIYU_NODE_PACKAGES": str(packages)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]

    return start
