"""The recipe "add a channel" of CONTRIBUTING, followed in a copy of the product."""

from pathlib import Path
from typing import Final

import pytest

from tests.recipe_tree import Tree

_REGISTRY: Final = "schemas/channels.py"
_ROW: Final = """
    "pager": ChannelFacts(sender="pager"),"""
_SENDER: Final = '''"""The channel `pager`."""

import asyncio

import aiohttp

from schemas.settings import Settings
from schemas.touches import Touch
from sinks.touches.channels import Answer


class PagerChannel:
    """Beeps."""

    idempotent = False

    async def send(self, touch: Touch, stopping: asyncio.Event) -> Answer:
        """Beep once."""
        return Answer("sent", attempts=1, code="beeped", detail=touch.user)


def open_sender(_settings: Settings, _session: aiohttp.ClientSession) -> PagerChannel:
    """Return the channel."""
    return PagerChannel()
'''
_RULE: Final = """
rules:
- {id: r, trigger: {event: order_paid}, steps: [{send: {via: [pager], template: t}}]}
"""
_DELIVER: Final = """
import asyncio, aiohttp
from schemas.settings import Settings
from schemas.touches import Touch
from sinks.touches.channels import open_channels

async def deliver():
    touch = Touch(touch_id="t", rule="r", rule_version="v", user="user_id:me", via=["pager"],
                  template="t", time_ms=0)
    async with aiohttp.ClientSession() as session:
        channel = open_channels(Settings(), session)["pager"]
        print(await channel.send(touch, asyncio.Event()))

asyncio.run(deliver())
"""


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    made = Tree(tmp_path)
    (tmp_path / "book").mkdir()
    (tmp_path / "book/rules.yaml").write_text(_RULE)
    return made


def test_a_channel_is_a_row_and_a_sender(tree: Tree) -> None:
    lint = ("-m", "streams.commands.cli", "rules", "lint", "--rulebook", "book")
    before = tree.python(*lint)
    assert before.returncode == 1, before.stderr
    assert "unknown channel pager" in before.stdout

    tree.insert(_REGISTRY, '"log": ChannelFacts(sender="log"),', _ROW)
    tree.add("sinks/touches/senders/pager.py", _SENDER)
    assert len(tree.touched) <= 2

    linted = tree.python(*lint)
    assert (linted.returncode, linted.stdout) == (0, "ok: 0 tags, 1 rules, 0 findings\n"), (
        linted.stderr
    )
    assert linted.stderr == ""
    delivered = tree.python("-c", _DELIVER)
    assert "code='beeped', detail='user_id:me'" in delivered.stdout, delivered.stderr
    tree.take("tests/unit/test_channels.py")
    laws = tree.python("-m", "pytest", "-q", "-k", "registry or needs or setting", "tests/unit")
    assert laws.returncode == 0, laws.stdout
