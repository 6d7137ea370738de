"""A shop of one event and one rule, whose rulebook is pushed while workers run."""

import asyncio
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kafka import KafkaProducer

from schemas import topics
from schemas.rulebooks import VERSION_KEY
from schemas.settings import Settings
from schemas.touches import Decision, decode_decision, decode_touch
from streams.commands.broker import ensure_topics
from streams.runtime.rulebooks.published import read_published
from tests.worker_harness import Feed, environment, siyu, unique


@contextmanager
def feeding(kafka: str) -> Iterator[Feed]:
    """Yield a feed of the session's broker; what was pushed is taken back at the end."""
    ensure_topics(Settings(kafka=kafka))
    made = Feed(kafka)
    made.read(topics.RULEBOOKS)  # returns once the new topic is known
    yield made
    made.close()
    # Later workers are to run their folders again.
    producer = KafkaProducer(bootstrap_servers=kafka)
    for version in asyncio.run(read_published(Settings(kafka=kafka))).orders:
        producer.send(topics.RULEBOOKS.name, None, VERSION_KEY + version.encode(), partition=0)
    producer.close()


class Shop:
    """One event of its own, and rulebooks that answer it with a template of their name."""

    def __init__(self, kafka: str, folder: Path, event: str | None = None) -> None:
        self.folder, self.event, self.sent = folder, event or unique("tea_ordered"), 0
        (folder / "plan.yaml").write_text(json.dumps({"events": {self.event: {}}}))
        self.book(folder / "rules.yaml", "folder")
        self.env = environment(kafka, folder)

    def book(self, path: Path, template: str, **more: Any) -> Path:  # noqa: ANN401 - parts of a rule
        rule = {
            "id": "thanks",
            "trigger": {"event": self.event},
            "steps": [{"send": {"via": ["log"], "template": template}}],
            **more,
        }
        path.write_text(json.dumps({"rules": [rule]}))
        return path

    def push(self, template: str, **more: Any) -> str:  # noqa: ANN401 - as book
        path = self.book(self.folder / f"{template}.yaml", template, **more)
        done = siyu(self.env, "rules", "push", str(path), "--json")
        assert done.returncode == 0, done.stderr
        return str(json.loads(done.stdout)["version"])

    def switch(self, command: str) -> dict[str, Any]:
        done = siyu(self.env, "rules", command, "thanks", "--json")
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def status(self) -> dict[str, Any]:
        done = siyu(self.env, "rules", "status", "--json")
        assert done.returncode == 0, done.stderr
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def everywhere(self, version: str) -> bool:
        partitions = self.status()["partitions"]
        return len(partitions) > 0 and all(one["version"] == version for one in partitions)

    def send(self, feed: Feed, count: int) -> None:
        items = [
            {
                "userId": f"{self.event}-{self.sent + n}",
                "event": self.event,
                "type": "track",
                "messageId": f"{self.event}-{self.sent + n}",
            }
            for n in range(count)
        ]
        self.sent += count
        feed.send(items, account="tea")

    def decisions(self, feed: Feed) -> list[Decision]:
        found = [decode_decision(value) for value in feed.read(topics.DECISIONS)]
        return [one for one in found if one.user.startswith(f"user_id:{self.event}")]

    def templates(self, feed: Feed) -> Counter[str]:
        """Return how many touches there are by template; each id is counted once."""
        # Other tests leave what is no touch there.
        name = f'"user_id:{self.event}'.encode()
        found = [decode_touch(value) for value in feed.read(topics.TOUCHES) if name in value]
        return Counter({touch.touch_id: touch.template for touch in found}.values())
