"""Look-ups: any worker answers for any user, by any identifier, and never denies one it lost."""

import asyncio
import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.profiles import decode_profile
from schemas.settings import Settings
from schemas.topics import EVENTS, PROFILES
from streams.commands.broker import ensure_topics
from streams.runtime.serving.group import addresses
from tests.worker_harness import Feed, environment, siyu, unique, until, worker

pytestmark = pytest.mark.integration
TOKEN = "look-up-tests"
USERS = 24
RULEBOOK = """
tags:
- {{id: seen, kind: count, event: {event}}}
- {{id: spent, kind: sum, event: {event}, value: properties.amount}}
- {{id: never, kind: first, event: {event}, value: properties.nothing}}
segments:
- {{id: buyer, where: {{tag.spent: {{gte: 5}}}}}}
"""
Answer = tuple[int, dict[str, Any], str]


class Shop:
    """Users of an event of its own, each with an anonymous id and a phone."""

    def __init__(self, kafka: str, folder: Path) -> None:
        ensure_topics(Settings(kafka=kafka))
        self.event, self.feed = unique("looked"), Feed(kafka)
        self.env = environment(kafka, folder, SIYU_API_TOKEN=TOKEN, SIYU_WORKER_PROFILES="true")
        (folder / "rules.yaml").write_text(RULEBOOK.format(event=self.event))
        types = {"amount": {"type": "number"}, "nothing": {"type": "string"}}
        plan = {"events": {self.event: {"properties": types}}}
        (folder / "plan.yaml").write_text(json.dumps(plan))

    def user(self, number: int) -> str:
        return f"{self.event}-{number}"

    def phone(self, number: int) -> str:
        # Distinct by test run: the broker is shared.
        return f"+86139{abs(hash(self.event)) % 1_000_000:06d}{number:02d}"

    def send(self, round_: int) -> None:
        self.feed.send(
            [
                {
                    "userId": self.user(n),
                    "anonymousId": f"anon-{self.user(n)}",
                    "type": "track",
                    "event": self.event,
                    "messageId": f"{self.user(n)}-{round_}",
                    "properties": {"amount": n},
                    "context": {"traits": {"phone": self.phone(n)}},
                }
                for n in range(USERS)
            ],
            account="shop",
        )


@pytest.fixture
def shop(kafka: str, tmp_path: Path) -> Iterator[Shop]:
    made = Shop(kafka, tmp_path)
    yield made
    made.feed.close()


def call(url: str, *, body: object = None, token: str = TOKEN) -> Answer:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Authorization": f"Bearer {token}"})  # noqa: S310 - our own worker
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
            return answer.status, json.load(answer), ""
    except urllib.error.HTTPError as refused:
        return refused.code, json.load(refused), refused.headers.get("Retry-After", "")


def patient(url: str, *, body: object = None) -> Answer:
    """Ask as a client does that comes again after a 503, as it is told."""

    def answered() -> Answer | None:
        answer = call(url, body=body)
        assert answer[2] or answer[0] != 503
        return None if answer[0] == 503 else answer

    found: Answer = until(answered, f"an answer of {url}")
    return found


def ready(shop: Shop, workers: int) -> list[str]:
    """Return the workers' addresses once they share the partitions and hold their state."""
    found = asyncio.run(addresses(shop.feed.settings))
    if len(found) != workers:
        return []
    known = [call(f"{url}/user_id:{shop.user(n)}")[0] for url in found for n in range(USERS)]
    return found if set(known) == {200} else []


def test_any_worker_answers_for_any_user_by_any_identifier(shop: Shop, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with worker(shop.env, log), worker(shop.env, log) as second:
        shop.send(1)
        urls = until(lambda: ready(shop, 2), "both workers know all users")
        partitions = {
            patient(f"{urls[0]}/user_id:{shop.user(n)}")[1]["partition"] for n in range(USERS)
        }
        assert len(partitions) > 1
        for url in urls:
            assert_known(shop, url)
            assert_denied(shop, url)
        assert_shown(shop)
        assert_never_denied_while_it_moves(shop, second)
    assert siyu(shop.env, "user", "show", shop.user(1)).returncode == 3
    latest = {one.user: one for one in map(decode_profile, shop.feed.read(PROFILES))}
    mine = [one for user, one in latest.items() if shop.event in user]
    assert {user.removeprefix("user_id:") for user in (one.user for one in mine)} == {
        shop.user(n) for n in range(USERS)
    }
    assert {one.tags["seen"].value for one in mine} == {2}


def assert_known(shop: Shop, url: str) -> None:
    number = 7
    user = f"user_id:{shop.user(number)}"
    asked = [
        patient(f"{url}/{shop.user(number)}"),
        patient(f"{url}/anonymous_id:anon-{shop.user(number)}"),
        patient(f"{url}/anon-{shop.user(number)}"),
        patient(url, body={"phone": shop.phone(number)}),
        patient(url, body={"identifier": user}),
    ]
    assert [(status, found.get("user", found)) for status, found, _ in asked] == [
        (200, user)
    ] * len(asked)
    found = asked[0][1]
    assert found["tags"]["spent"] == {
        "value": number,
        "layer": "behaviour",
        "messageId": f"{shop.user(number)}-1",
        "sinceMs": found["tags"]["seen"]["sinceMs"],
    }
    assert found["tags"]["segment_buyer"]["value"] is True
    assert "never" not in found["tags"]
    assert found["identities"]["anonymous_id"] == f"anon-{shop.user(number)}"
    (record,) = [
        one
        for one in shop.feed.read_records(EVENTS)
        if one.partition == found["partition"] and one.offset == found["offset"]
    ]
    assert record.key.decode() == user


def assert_denied(shop: Shop, url: str) -> None:
    assert patient(f"{url}/nobody-{shop.event}")[0] == 404
    assert patient(url, body={"phone": "+8613000000000"})[0] == 404
    assert patient(url, body={"colour": "red"})[0] == 400
    for token in ("", "wrong", TOKEN + "x"):
        assert call(f"{url}/{shop.user(1)}", token=token)[0] == 401
        assert call(url, body={"phone": shop.phone(1)}, token=token)[0] == 401


def assert_shown(shop: Shop) -> None:
    shown = siyu(shop.env, "user", "show", f"phone:{shop.phone(3)}", "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["user"] == f"user_id:{shop.user(3)}"
    assert siyu(shop.env, "user", "show", f"nobody-{shop.event}").returncode == 1
    table = siyu(shop.env, "user", "show", shop.user(6))
    assert table.returncode == 0
    assert "segment_buyer" in table.stdout


def assert_never_denied_while_it_moves(shop: Shop, victim: subprocess.Popen[bytes]) -> None:
    victim.kill()
    victim.wait()
    answers: set[int] = set()

    def taken_over() -> bool:
        found = asyncio.run(addresses(shop.feed.settings))
        asked = [
            call_if_there(f"{url}/user_id:{shop.user(n)}") for url in found for n in range(USERS)
        ]
        answers.update(status for status, _, _ in asked)
        assert all(retry for status, _, retry in asked if status == 503)
        return len(found) == 1 and {status for status, _, _ in asked} == {200}

    until(taken_over, "the survivor holds all users")
    assert answers <= {200, 503, 0}
    shop.send(2)
    (url,) = asyncio.run(addresses(shop.feed.settings))

    def counted_on() -> bool:
        seen = [patient(f"{url}/{shop.user(n)}")[1]["tags"]["seen"]["value"] for n in range(USERS)]
        return set(seen) == {2}

    until(counted_on, "each event is counted once")


def call_if_there(url: str) -> Answer:
    try:
        return call(url)
    except OSError:
        return 0, {}, ""
