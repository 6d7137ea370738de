"""Kills of the lander, until so many are proven to have cut an insert that was sent again."""

import random
import signal
import subprocess
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from deploy.local.process import Process
from tests.land_harness import BASE_MS, PATIENCE_S, Bench, mixed
from tests.land_proxy import Proxy

pytestmark = [pytest.mark.integration, pytest.mark.faults]

POINTS = (
    "land.before_plan",
    "land.after_plan",
    "land.between_parts",
    "land.after_insert",
    "land.after_commit",
)
BLOCK_ROWS = 60
FEED = 300
AUDIT_EVERY = 50
MONTH_MS = 35 * 86_400_000


@dataclass
class Campaign:
    """Kills one lander after the other, each of them amid work."""

    landing: Bench
    proxy: Proxy
    chance: random.Random
    killed: Counter[str] = field(default_factory=Counter)
    fed: int = 0

    def feed(self) -> None:
        """Log some more; the records of a block may be of two months.

        Not those of tags: of a clock that went back the audit says that the latest are wrong.
        """
        old = self.fed % 3 == 0
        messages = [
            (topic, value, BASE_MS - (n % 2) * MONTH_MS if old and topic != "tags" else None)
            for n, (topic, value, _) in enumerate(mixed(FEED, self.fed * FEED))
        ]
        self.landing.produce(messages, abort_share=0.1)
        self.fed += 1

    def behind(self) -> int:
        """Return about how many records have not landed: those beyond the inserts seen."""
        ends: dict[tuple[str, ...], int] = {}
        for token in self.proxy.eras_by_token():
            topic, partition, span = token.split("/")[0].split(":")[:3]
            key = topic, partition
            ends[key] = max(ends.get(key, 0), int(span.split("-")[1]))
        return sum(self.landing.sent.values()) - sum(ends.values())

    def kill_one(self) -> None:
        """Run a lander to its kill: at a named point, or at any moment of its life."""
        self.proxy.era += 1
        # More than a lander's life lands would only pile up.
        if self.behind() < 2 * FEED:
            self.feed()
        if self.chance.random() < 0.5:
            point = self.chance.choice(POINTS)
            lander = self.landing.lander(
                crash_at=f"{point}:{self.chance.randint(1, 30)}", url=self.proxy.url
            )
            self._run_out(lander, point)
        else:
            lander = self.landing.lander(url=self.proxy.url)
            if self.chance.random() < 0.8:
                self._begun(lander)
            time.sleep(self.chance.random() * 1.5)
            lander.kill()
            lander.wait()
            self.killed["at random"] += 1
        self.landing.expel()

    def _run_out(self, lander: subprocess.Popen[bytes], point: str) -> None:
        """Wait for the crash; a lander that ran out of records before its Nth point is killed."""
        deadline_s = time.monotonic() + 5
        while lander.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.02)
        crashed = lander.poll() is not None
        lander.kill()
        assert lander.wait(PATIENCE_S) == -signal.SIGKILL, self.landing.log()
        self.killed[point if crashed else "at random"] += 1

    def _begun(self, lander: subprocess.Popen[bytes]) -> None:
        era = self.proxy.era
        self.landing.until(
            lambda: (
                lander.poll() is not None
                or any(insert.era == era for insert in self.proxy.inserts[-20:])
            )
        )
        assert lander.poll() is None, self.landing.log()

    def proven(self) -> set[int]:
        """Return the kills after which a token of the killed lander was sent again."""
        return {
            before
            for eras in self.proxy.eras_by_token().values()
            for before, after in pairwise(eras)
            if before < after
        }


def test_kill_9_of_one_lander_after_the_other(
    landing: Bench,
    pytestconfig: pytest.Config,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    wanted = int(pytestconfig.getoption("--kills"))
    small = landing.settings.model_copy(update={"land_max_rows": BLOCK_ROWS})
    large = landing.settings
    monkeypatch.setattr(landing, "settings", small)
    with landing.proxy() as proxy:
        campaign = Campaign(landing, proxy, random.Random(wanted))
        while len(campaign.proven()) < wanted:
            campaign.kill_one()
            kills = sum(campaign.killed.values())
            assert kills <= 4 * wanted + 10, (campaign.killed, len(campaign.proven()))
            if kills % AUDIT_EVERY == 0:
                landing.assert_no_fault()
        proxy.era += 1
        monkeypatch.setattr(landing, "settings", large)  # what is left, in a few blocks
        landing.land_all(url=proxy.url)
        figures = landing.assert_exact()
    engine_log = Process("clickhouse", landing.home).log_path.read_text("utf-8", "replace")
    told = pytestconfig.pluginmanager.get_plugin("terminalreporter")
    assert told is not None
    with capsys.disabled():
        told.write_line(
            f"\nkills {sum(campaign.killed.values())} {dict(campaign.killed)}; proven by an insert"
            f" sent again under its token {len(campaign.proven())}; such inserts"
            f" {len(proxy.retried())} of {len(proxy.eras_by_token())}; tables {figures['tables']};"
            f" ClickHouse itself aborted {engine_log.count('the engine ended')} times"
        )
