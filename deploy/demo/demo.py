"""`siyu demo`: a day of three sources through the real parts, counted to the last item.

It has a home, a broker and a ClickHouse of its own (``$SIYU_HOME/demo``), emptied at each
start, so its figures are of this run alone and nobody's data is touched.
"""

import contextlib
import fcntl
import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, Final
from urllib.request import urlopen

from rich.console import Console

from deploy.demo import check, report
from deploy.demo.crew import PROVIDER, SIYU, Crew, wipe
from deploy.demo.messages import Message, messages
from deploy.demo.senders import Tally, send_day
from deploy.demo.shoppers import FEWEST_SHOPPERS
from deploy.local import ports
from deploy.local.process import Process
from schemas import clock
from schemas.errors import ConfigInvalid, PartMissing, SiyuError
from schemas.settings import DemoSettings, Settings, home
from schemas.sources import load_sources
from sinks.clickhouse.audit import audit
from sinks.clickhouse.client import connect

# What the demo decides itself, whatever the shell says: it must not write to others' parts.
_OWN: Final = (
    "SIYU_KAFKA",
    "SIYU_CLICKHOUSE",
    "SIYU_COLLECT_HOST",
    "SIYU_COLLECT_PORT",
    "SIYU_SOURCES",
    "SIYU_RULEBOOK",
    "SIYU_WEBHOOK_URL",
    "SIYU_WEBHOOK_SECRET",
    "SIYU_PII_KEY",
)
_READY_WITHIN_S: Final = 60.0
_SETTLE_WITHIN_S: Final = 120.0
# What a kill amid sending may hold up: a payment that a sender holds back so long still comes in
# time for the wait of its cart.
_OUTAGE_MS: Final = 45_000
# Nothing may change for this long before the day counts as over.
_QUIET_S: Final = 1.0
_POLL_S: Final = 0.2


def run(
    settings: Settings,  # noqa: ARG001 - as every command's; the demo makes its own
    *,
    users: int = 200,
    seed: int = 7,
    json_out: bool = False,
    keep: bool = False,
) -> int:
    """Run the demo and print its report; 0 if every check holds, else 1."""
    if users < FEWEST_SHOPPERS:
        raise ConfigInvalid("--users", f"{users} is too few", hint=f"{FEWEST_SHOPPERS} or more")
    console = Console(stderr=True, highlight=False)
    with _own_home() as folder:
        demo = Demo(folder, console)
        try:
            outcome = demo.play(users, seed, keep=keep)
        except BaseException:
            demo.stop()
            raise
        if not keep:
            with demo.phase("stop"):
                demo.stop()
        demo.crew.release()
        outcome["seconds"] = demo.seconds | {"total": round(sum(demo.seconds.values()), 2)}
        if json_out:
            sys.stdout.write(report.as_json(outcome) + "\n")
        else:
            report.show(outcome)
        if keep:
            report.show_hints(console, folder, demo.url, demo.sources)
    return 0 if outcome["ok"] else 1


class Demo:
    """One run: its phases, in order, and what it knows."""

    def __init__(self, folder: Path, console: Console) -> None:
        self.folder, self.seconds = folder, dict[str, float]()
        self._console = console
        self._calls = folder / "webhook-calls.jsonl"
        wipe(folder)
        self._calls.unlink(missing_ok=True)
        self.crew, self.url = Crew(folder, (), self.say), ""
        self.sources = load_sources(Settings().sources)
        self.appid = next(a for a, account in self.sources.wechat.items() if account.aes_keys)
        planned = [kill.split("@") for kill in DemoSettings().kill.split(",") if kill]
        self._kills = {when: name for name, when in planned}
        if "send" in self._kills:
            os.environ.setdefault("SIYU_TIMER_SETTLE_MS", str(_OUTAGE_MS))

    def say(self, line: str) -> None:
        """Print progress on stderr."""
        self._console.print(line, markup=False)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time a phase."""
        began_s = time.monotonic()
        yield
        self.seconds[name] = round(time.monotonic() - began_s, 2)
        self.say(f"{name:<7} {self.seconds[name]:6.2f} s")

    def play(self, users: int, seed: int, *, keep: bool) -> dict[str, Any]:
        """Go through the phases and return the report."""
        with self.phase("stack"):
            stack = self._up()
        with self.phase("start"):
            self.crew = self._hire(keep=keep)
            self.crew.start()
            self._wait_ready()
        tally = Tally()
        with self.phase("send"):
            day = messages(users=users, seed=seed, now_ms=clock.now_ms())
            self._send(day, tally)
        if self.seconds["send"] * 1000 > (settle_ms := Settings().timer_settle_ms):
            self.say(f"sending took longer than waits settle ({settle_ms / 1000:g} s): they may")
            self.say("have fired without what came late, as on a day with such an outage")
        with self.phase("settle"):
            want = check.expected(day, self.appid)
            counts = self._settle(want, tally)
        with self.phase("report"):
            settings = Settings()
            checks = check.checks(counts, want, tally, delivered=self._delivered())
            audited: dict[str, Any] | None = None
            live: dict[str, Any] | None = None
            # The stand-in broker answers no question about its log, and promises nothing.
            if settings.kafka_transactions:
                audited = audit(settings, settled=True)
                checks["audit_of_the_landing"] = bool(audited["ok"])
                live = self._backtest()
                checks["live_equals_backtest"] = bool(live["equal"]) and live["both"] > 0
            outcome = report.build(settings, counts, tally, checks)
            outcome |= {
                "stack": stack,
                "restarts": dict(self.crew.restarts),
                "audit": audited,
                "live": live,
            }
        return outcome

    def stop(self) -> None:
        """End every process of the demo."""
        self.crew.stop()

    def _hire(self, *, keep: bool) -> Crew:
        """Choose addresses, put what every process must know into the home; return the crew."""
        chosen = ports.keep(self.folder, "collect", PROVIDER)
        # Kept running, it takes the usual port if it can: the README's lines work as they stand.
        if keep and ports.is_free(usual := Settings().collect_port):
            chosen["collect"] = usual
        path = self.folder / "secrets.json"  # made by `siyu up`, for its owner's eyes only
        secret_settings = json.loads(path.read_text()) | {
            "webhook_secret": secrets.token_hex(32),
            "webhook_url": f"http://127.0.0.1:{chosen[PROVIDER]}/touches",
            "collect_port": chosen["collect"],
        }
        path.write_text(json.dumps(secret_settings))
        self.url = f"http://127.0.0.1:{chosen['collect']}"
        module = [sys.executable, "-m", "deploy.local.webhook_receiver"]
        argv = (*module, "--record", str(self._calls), "--port", str(chosen[PROVIDER]))
        return Crew(self.folder, argv, self.say)

    def _up(self) -> dict[str, Any]:
        """Start the stack as a user does: `siyu up`."""
        done = subprocess.run(
            [*SIYU, "up", "--json"], stdout=subprocess.PIPE, text=True, check=False
        )
        if done.returncode:
            raise PartMissing(
                "stack", "`siyu up` failed, see above", remedy="mend it, then try again"
            )
        stack = json.loads(done.stdout)
        return {"broker": stack["broker"], "clickhouse": stack["clickhouse_engine"]}

    def _wait_ready(self) -> None:
        """Return once our collector listens and reaches the broker."""
        collect, deadline_s = Process("collect", self.folder), time.monotonic() + _READY_WITHIN_S
        while time.monotonic() < deadline_s:
            self.crew.check()
            # Its own word that it has the port: another program may answer there.
            if "collect listens" in collect.tail():
                with contextlib.suppress(OSError), urlopen(f"{self.url}/readyz", timeout=2):  # noqa: S310 - our own loopback address
                    return
            time.sleep(0.05)
        raise PartMissing("collect", f"not ready:\n{collect.tail()}\n", remedy="mend what it tells")

    def _send(self, day: list[Message], tally: Tally) -> None:
        """Send the day through the three doors side by side."""
        lock, sent, quarters = Lock(), 0, 0

        def tick(items: int) -> None:
            nonlocal sent, quarters
            self.crew.check()
            with lock:
                sent += items
                victim = self._kills.pop("send", None) if sent * 2 >= len(day) else None
                if sent * 4 // len(day) > quarters:
                    quarters = sent * 4 // len(day)
                    self.say(f"sent {sent:,} of {len(day):,} items")
            if victim:
                self._kill(victim)

        doors = send_day(
            day, url=self.url, sources=self.sources, appid=self.appid, tally=tally, tick=tick
        )
        with ThreadPoolExecutor(len(doors)) as pool:
            for ended in [pool.submit(door) for door in doors]:
                ended.result()

    def _settle(self, want: check.Expected, tally: Tally) -> check.Counts:
        """Wait until all has landed, timers fired, touches went out, and nothing moves."""
        if victim := self._kills.pop("settle", None):
            self._kill(victim)
        counts, quiet_since_s = check.Counts(), time.monotonic()
        deadline_s = time.monotonic() + _SETTLE_WITHIN_S + Settings().timer_settle_ms / 1000
        while time.monotonic() < deadline_s:
            self.crew.check()
            before = counts
            # ClickHouse may be the one that is being started again.
            with contextlib.suppress(Exception):
                counts = self._count(want)
            if counts != before or not check.settled(counts, want, tally):
                quiet_since_s = time.monotonic()
            if time.monotonic() - quiet_since_s > _QUIET_S:
                return counts
            time.sleep(_POLL_S)
        self.say(f"not settled {_SETTLE_WITHIN_S:g} s after the last wait")
        return counts

    def _count(self, want: check.Expected) -> check.Counts:
        client = connect(Settings().clickhouse)
        try:
            return check.count(client, want)
        finally:
            client.disconnect()

    def _backtest(self) -> dict[str, Any]:
        """Replay what landed and compare it with what was decided live."""
        argv = [*SIYU, "rules", "backtest", "--live", "--json"]
        done = subprocess.run(argv, stdout=subprocess.PIPE, text=True, check=False)
        if not done.stdout:
            raise PartMissing("backtest", "it failed, see above", remedy="mend it, then try again")
        live: dict[str, Any] = json.loads(done.stdout)["live"]
        return live

    def _kill(self, name: str) -> None:
        names = ("kafka", "tansu") if name == "broker" else (name,)
        if not any(self.crew.kill(known) for known in names):
            raise SiyuError(f"SIYU_DEMO_KILL: nothing named {name!r} runs")

    def _delivered(self) -> frozenset[str]:
        """Return the keys on which the provider acted, from its own record."""
        with contextlib.suppress(FileNotFoundError), self._calls.open(encoding="utf-8") as lines:
            calls = [json.loads(line) for line in lines]
            return frozenset(call["idempotency_key"] for call in calls if call["effect"])
        return frozenset()


@contextlib.contextmanager
def _own_home() -> Iterator[Path]:
    """Make ``$SIYU_HOME/demo`` the home of this process and its children, one demo at a time."""
    folder = home() / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    before = dict(os.environ)
    with (folder / "demo.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PartMissing(
                "demo", f"another one runs in {folder}", remedy="wait for it, or set SIYU_HOME"
            ) from None
        for name in _OWN:
            os.environ.pop(name, None)
        os.environ["SIYU_HOME"] = str(folder)
        try:
            yield folder
        finally:
            os.environ.clear()
            os.environ.update(before)
