import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from schemas.settings import ROOT

pytestmark = pytest.mark.integration

KILLS = (
    "collect@send",
    "worker@send",
    "deliver@send",
    "land@send",
    "broker@send",
    "clickhouse@send",
    "webhook@send",
    "worker@settle",
    "deliver@settle",
    "land@settle",
)


def demo(folder: Path, **env: str) -> dict[str, Any]:
    """Run `./siyu demo` as a user would, with a home of its own; return its report."""
    done = subprocess.run(
        [ROOT / "siyu", "demo", "--users", "30", "--json"],
        env={**os.environ, "SIYU_HOME": str(folder), **env},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
        cwd=folder,
    )
    logs = "\n".join(
        f"== {log.name}\n{log.read_text('utf-8', 'replace')[-3000:]}"
        for log in (folder / "demo/logs").glob("*.log")
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\n{logs}"
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def outcomes(told: dict[str, Any]) -> dict[str, dict[str, int]]:
    return {rule: entry["outcomes"] for rule, entry in told["touches"].items()}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return demo(tmp_path_factory.mktemp("demo"))


def test_every_accepted_item_landed_or_was_rejected(undisturbed: dict[str, Any]) -> None:
    assert undisturbed["accepted"] == undisturbed["landed"] + undisturbed["rejected"]
    assert undisturbed["landed"] > 100
    assert undisturbed["redelivered"] == 0


def test_every_check_of_the_demo_holds(undisturbed: dict[str, Any]) -> None:
    assert undisturbed["ok"] is True
    assert [name for name, holds in undisturbed["checks"].items() if not holds] == []


def test_bad_input_is_kept_under_several_reasons(undisturbed: dict[str, Any]) -> None:
    stages = {row["stage"] for row in undisturbed["rejected_by_reason"]}
    assert {"collect", "validate", "identify", "dedupe"} <= stages
    assert undisturbed["refused"] > 0


def test_rules_fire_and_say_why(undisturbed: dict[str, Any]) -> None:
    touches = undisturbed["touches"]
    assert {"welcome", "cart_30m", "thanks_first_order"} <= touches.keys()
    for rule in touches.values():
        assert all(sample["why"] for sample in rule["samples"])


def test_three_users_carry_tags(undisturbed: dict[str, Any]) -> None:
    assert len(undisturbed["users"]) == 3
    assert all(user["tags"] for user in undisturbed["users"])


def test_clickhouse_answers_the_four_questions(undisturbed: dict[str, Any]) -> None:
    bi = undisturbed["bi"]
    assert bi.keys() == {
        "funnel",
        "active_users_by_source",
        "touches_by_rule",
        "revenue_by_first_channel",
    }
    assert all(answer["rows"] for answer in bi.values())
    sources = json.dumps(bi["active_users_by_source"]["rows"])
    assert all(name in sources for name in ("app", "mini_program", "official_account"))


def test_it_names_its_parts_and_times_its_phases(undisturbed: dict[str, Any]) -> None:
    assert undisturbed["stack"]["broker"]["name"] == "apache-kafka"
    assert undisturbed["stack"]["clickhouse"]["version"]
    assert {"stack", "start", "send", "settle", "total"} <= undisturbed["seconds"].keys()


def test_the_stand_in_broker_carries_the_same_day(
    undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    told = demo(tmp_path, SIYU_BROKER="tansu")
    assert told["stack"]["broker"]["name"] == "tansu"
    assert told["accepted"] == undisturbed["accepted"] == told["landed"] + told["rejected"]


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("kill", KILLS)
def test_kill_9_of_one_process_leaves_the_counts_the_same(
    kill: str, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    disturbed = demo(tmp_path, SIYU_DEMO_KILL=kill)
    assert sum(disturbed["restarts"].values()) >= 1, "nothing was killed"
    for figure in ("accepted", "landed", "rejected", "refused"):
        assert disturbed[figure] == undisturbed[figure], figure
    assert outcomes(disturbed) == outcomes(undisturbed)
