import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from schemas.errors import ConfigInvalid
from schemas.settings import Settings, at_home
from streams.authoring.channel_checks import ChannelFault, check_channels
from streams.commands.cli import app
from streams.commands.rules.push import push
from tests.engine_story import book

RULE = """
- id: {id}
  status: {status}
  trigger: {{event: order_paid}}
  steps: [{{send: {{via: {via}, template: t}}}}]
"""
URL = "http://127.0.0.1:9/touches"


def rulebook(via: str, status: str = "live") -> str:
    return "rules:" + RULE.format(id="r", status=status, via=via)


def check(text: str, webhook_url: str | None = None) -> list[ChannelFault]:
    return list(check_channels(book(text).rules, Settings(webhook_url=webhook_url)))


def told(faults: list[ChannelFault]) -> list[tuple[str, str]]:
    return [(found.level, found.fault.problem) for found in faults]


@pytest.mark.parametrize("status", ["draft", "shadow", "paused", "live"])
def test_an_unknown_channel_is_an_error_whatever_else_can_send(status: str) -> None:
    (found,) = check(rulebook("[our.pigeon, log]", status))
    assert (found.level, found.fault.problem) == ("error", "unknown channel our.pigeon")
    assert "official.service" in found.fault.hint
    assert found.fault.place == ("steps", 0, "send", "via", 0)


@pytest.mark.parametrize(
    ("status", "level"),
    [("live", "error"), ("draft", "warning"), ("shadow", "warning"), ("paused", "warning")],
)
def test_a_send_that_nothing_can_send_is_an_error_only_where_the_rule_sends(
    status: str, level: str
) -> None:
    faults = check(rulebook("[official.service, webhook]", status))
    why = "official.service has no sender in this release; webhook needs SIYU_WEBHOOK_URL"
    assert told(faults) == [(level, f"nothing can send it: {why}")]
    assert faults[0].fault.place == ("steps", 0, "send", "via")


def test_a_channel_that_has_its_settings_can_send() -> None:
    assert not check(rulebook("[webhook]"), URL)
    assert told(check(rulebook("[webhook, sms]"), URL)) == [
        ("warning", "sms has no sender in this release")
    ]


def test_a_channel_that_others_stand_in_for_is_told_once_for_the_rulebook() -> None:
    rules = "".join(RULE.format(id=f"r{n}", status="live", via="[webhook, log]") for n in range(3))
    (found,) = check(f"rules:{rules}")
    assert (found.level, found.rule, found.fault.problem) == (
        "warning",
        "r0",
        "webhook needs SIYU_WEBHOOK_URL",
    )
    assert "3 sends" in found.fault.hint


def test_sends_of_both_sides_of_a_branch_are_looked_at() -> None:
    steps = (
        "[{branch: {if: {event: order_paid}, then: [{send: {via: [sms], template: t}}], "
        "else: [{send: {via: [email], template: t}}]}}]"
    )
    text = rulebook("[log]").replace("[{send: {via: [log], template: t}}]", steps)
    assert [found.fault.place for found in check(text)] == [
        ("steps", 0, "branch", "then", 0, "send", "via"),
        ("steps", 0, "branch", "else", 0, "send", "via"),
    ]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("SIYU_WEBHOOK_URL", raising=False)
    (tmp_path / "rulebook").mkdir()
    return tmp_path / "rulebook"


def lint(folder: Path, *words: str) -> tuple[int, str, str]:
    with at_home(folder.parent):
        done = CliRunner().invoke(app, ["rules", "lint", "--rulebook", str(folder), *words])
    return done.exit_code, done.stdout, done.stderr


def test_lint_ends_with_1_for_an_error_and_tells_its_line(folder: Path) -> None:
    (folder / "a.yaml").write_text(rulebook("[log]"))
    (folder / "b.yaml").write_text("rules:" + RULE.format(id="s", status="live", via="[sms]"))
    status, stdout, _ = lint(folder)
    assert status == 1
    assert stdout.startswith(f"{folder / 'b.yaml'}:5: error: rule s: nothing can send it: sms has")
    assert stdout.endswith("NOT ok: 0 tags, 2 rules, 1 findings\n")
    status, stdout, _ = lint(folder, "--json")
    report = json.loads(stdout)
    assert (status, report["ok"]) == (1, False)
    found = [(finding["level"], finding["rule"], finding["line"]) for finding in report["findings"]]
    assert found == [("error", "s", 5)]


def test_lint_ends_with_0_for_warnings_and_tells_them_beside_the_answer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "a.yaml").write_text(rulebook("[webhook, log]"))
    status, stdout, _ = lint(folder)
    assert status == 0
    assert ":5: warning: rule r: webhook needs SIYU_WEBHOOK_URL" in stdout
    assert stdout.endswith("ok: 0 tags, 1 rules, 1 findings\n")
    status, stdout, stderr = lint(folder, "--json")
    report = json.loads(stdout)
    assert (status, report["ok"], stderr) == (0, True, "")
    assert [(f["level"], f["line"]) for f in report["findings"]] == [("warning", 5)]
    monkeypatch.setenv("SIYU_WEBHOOK_URL", URL)
    assert lint(folder) == (0, "ok: 0 tags, 1 rules, 0 findings\n", "")


def test_lint_tells_every_fault_of_a_rulebook_that_does_not_load(folder: Path) -> None:
    (folder / "a.yaml").write_text(rulebook("[log]").replace("order_paid", "order_piad"))
    (folder / "b.yaml").write_text("tags:\n- {id: t, kind: cuont, event: order_paid}\n")
    status, stdout, stderr = lint(folder, "--json")
    report = json.loads(stdout)
    assert (status, report["ok"], stderr) == (1, False, "")
    problems = [finding["problem"] for finding in report["findings"]]
    assert len(problems) == 2
    assert "unknown event order_piad" in problems[0]
    assert "unknown kind cuont" in problems[1]


@pytest.mark.parametrize("via", ["[official.service]", "[webhook]", "[our.pigeon, log]"])
def test_a_push_refuses_a_live_rule_that_cannot_send_before_it_asks_the_broker(
    folder: Path, via: str
) -> None:
    (folder / "a.yaml").write_text(rulebook(via))
    with pytest.raises(ConfigInvalid, match=r"a\.yaml:5: rule r: "):
        push(Settings(kafka="127.0.0.1:9"), folder)
