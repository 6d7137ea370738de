"""Superset from PyPI, in an environment of its own, on a database that it has made ready once."""

import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import ClientSession, FormData

from deploy.local.fetch import cached, run

HERE = Path(__file__).parent
LOCK = HERE / "superset.lock"
DATABASE = "superset.db"
_MAIN = "from superset.cli.main import superset; superset()"
_ADMIN = [
    "--username",
    "admin",
    "--password",
    "admin",
    "--email",
    "a@b.example",
    "--firstname",
    "A",
    "--lastname",
    "B",
]
_READY_WITHIN_S = 180


def environment() -> Path:
    """Return a folder with Superset installed and its empty database; made once for a lock."""
    config = (HERE / "superset_config.py").read_bytes()
    digest = hashlib.sha256(LOCK.read_bytes() + config).hexdigest()[:12]
    return cached(f"superset-{digest}", _install)


def _install(work: Path) -> None:
    remedy = "check the network and pip's settings, then try again"
    run("Superset", [sys.executable, "-m", "venv", "env"], cwd=work, remedy=remedy)
    pip = ["env/bin/python", "-m", "pip", "install", "-q", "--require-hashes", "-r", str(LOCK)]
    run("Superset", pip, cwd=work, remedy=remedy)
    for step in (["db", "upgrade"], ["fab", "create-admin", *_ADMIN], ["init"]):
        subprocess.run(
            _command(work, *step),
            cwd=work,
            env=_env(work / DATABASE),
            check=True,
            timeout=900,
            capture_output=True,
        )


def _command(home: Path, *step: str) -> list[str]:
    # The environment was moved to its place since: its scripts name another.
    return [str(home / "env/bin/python"), "-c", _MAIN, *step]


def _env(database: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | {
        "SUPERSET_CONFIG_PATH": str(HERE / "superset_config.py"),
        "SIYU_TEST_SUPERSET_DB": str(database),
        "FLASK_APP": "superset",
    }


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Yield the address of a Superset that has nothing yet."""
    home = environment()
    database = folder / DATABASE
    shutil.copy(home / DATABASE, database)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with (folder / "superset.log").open("wb") as log:
        process = subprocess.Popen(
            _command(home, "run", "-p", str(port), "--no-reload"),
            cwd=folder,
            env=_env(database),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait(process, port, folder / "superset.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(20)


def _wait(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline_s = time.monotonic() + _READY_WITHIN_S
    while True:
        assert process.poll() is None, log.read_text("utf-8", "replace")[-4000:]
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert time.monotonic() < deadline_s, log.read_text("utf-8", "replace")[-4000:]
            time.sleep(0.5)
        else:
            return


async def login(session: ClientSession, address: str) -> None:
    """Log in over the REST API; the session carries the token from then on."""
    who = {"username": "admin", "password": "admin", "provider": "db"}
    async with session.post(f"{address}/api/v1/security/login", json=who) as answer:
        token = (await answer.json())["access_token"]
    session.headers["Authorization"] = f"Bearer {token}"
    # Changes need this one as well, and the cookie that comes with it.
    async with session.get(f"{address}/api/v1/security/csrf_token/") as answer:
        session.headers["X-CSRFToken"] = (await answer.json())["result"]
    session.headers["Referer"] = address


async def load(session: ClientSession, address: str, bundle: bytes) -> tuple[int, str]:
    """Import a bundle as `curl -F bundle=@superset.zip` does; return status and answer."""
    form = FormData()
    form.add_field("bundle", bundle, filename="superset.zip")
    async with session.post(f"{address}/api/v1/assets/import/", data=form) as answer:
        return answer.status, await answer.text()
