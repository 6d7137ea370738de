import asyncio
from types import SimpleNamespace
from typing import Any, cast

import aiohttp
import pytest
from faust.types import TP

from schemas.settings import Settings
from streams.agents.ingest import Ingest
from streams.authoring.plan import shipped_plan
from streams.core.intake.validate import Validator
from streams.runtime.serving.lookup import Nobody
from streams.runtime.serving.lookups import UserApi
from streams.runtime.serving.server import StatusPage


class _Empty:
    """A look-up that finds nobody in the partitions that it holds."""

    def __init__(self, holds: set[int]) -> None:
        self._holds = frozenset(holds)

    async def find(self, *_: object) -> Nobody:
        return Nobody(self._holds)


def page(holds: set[int], *, token: str = "", port: int = 0) -> tuple[StatusPage, Any]:
    settings = Settings(api_token=token, worker_metrics_port=port, pii_key="k")  # type: ignore[arg-type]  # pydantic makes secrets of texts
    assignor = SimpleNamespace(seen={"events": {0, 1, 2}})
    router = SimpleNamespace(external_topics_metadata=dict)
    app = SimpleNamespace(conf=SimpleNamespace(canonical_url=""), assignor=assignor, router=router)
    worker: Any = SimpleNamespace(lanes={"engage": None}, app=app, failure=None)
    api = UserApi(settings, worker, cast("Any", _Empty(holds)))
    worker.lanes["engage"] = SimpleNamespace(
        meter=SimpleNamespace(batches=0, commit_counts=[0] * 12, commit_sum_s=0.0),
        open_lanes=list[TP],
        all_lanes=list[TP],
    )
    return StatusPage(settings, worker, Ingest(Validator(b"k", shipped_plan())), api), worker


async def _ask(status: StatusPage, worker: Any, *, token: str) -> tuple[int, str]:  # noqa: ANN401 - a stand-in
    await status.start()
    try:
        url, headers = str(worker.app.conf.canonical_url), {"Authorization": f"Bearer {token}"}
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"{url}/me", headers=headers) as got,
        ):
            return got.status, got.headers.get("Retry-After", "")
    finally:
        await status.stop()


def test_without_a_token_and_a_port_nothing_listens() -> None:
    async def scenario() -> str:
        status, worker = page({0, 1, 2})
        await status.start()
        await status.stop()
        return str(worker.app.conf.canonical_url)

    # What the group is told is what listens.
    assert asyncio.run(scenario()) == ""


@pytest.mark.parametrize(
    ("holds", "token", "expected"),
    [
        ({0, 1, 2}, "secret", (404, "")),
        ({0, 2}, "secret", (503, "1")),
        (set[int](), "secret", (503, "1")),
        ({0, 1, 2}, "", (401, "")),
        ({0, 1, 2}, "secre", (401, "")),
    ],
)
def test_nobody_is_said_only_by_who_asked_every_partition_and_only_to_who_may_know(
    holds: set[int], token: str, expected: tuple[int, str]
) -> None:
    status, worker = page(holds, token="secret")
    assert asyncio.run(_ask(status, worker, token=token)) == expected
