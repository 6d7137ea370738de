"""The worker, composed: reads top to bottom as the flow of an event."""

import structlog

from schemas.settings import Settings
from schemas.topics import ENGAGE_STATE, EVENTS, INGEST_STATE, RAW, RULEBOOKS
from streams.agents.engage import Engage
from streams.agents.ingest import Ingest
from streams.authoring.load import load_rulebook
from streams.authoring.plan import load_plan
from streams.core import COMPILED
from streams.core.engine import Engine
from streams.core.intake.reject_guard import RejectGuard
from streams.core.intake.validate import Validator
from streams.runtime.rulebooks.keeper import Keeper
from streams.runtime.serving.group import GROUP
from streams.runtime.serving.lookup import Lookup
from streams.runtime.serving.lookups import UserApi
from streams.runtime.serving.server import StatusPage
from streams.runtime.worker import Agent, FaustWorker

__all__ = ["GROUP", "new_worker"]

log = structlog.get_logger()


def new_worker(settings: Settings) -> FaustWorker:
    """Return the worker of the whole flow; raises ``ConfigInvalid`` for a faulty rulebook."""
    if not COMPILED:
        log.warning("the core runs as Python, at half the speed", hint="`siyu compile` says why")
    plan = load_plan(settings.plan)
    rulebook = load_rulebook(settings.rulebook, plan)
    watch = RejectGuard(
        ratio=settings.reject_alarm_ratio,
        least_items=settings.reject_alarm_items,
        mode=settings.reject_alarm,
    )
    ingest = Ingest(Validator(settings.pii_key.get_secret_value().encode(), plan), watch)
    engage = Engage(
        Engine(rulebook, settle_ms=settings.timer_settle_ms),
        origins=settings.worker_origins,
        profiles=settings.worker_profiles,
    )
    keeper = Keeper(settings, plan, engage)
    worker = FaustWorker(
        settings,
        GROUP,
        [
            # events.raw -> events, events.rejected
            Agent(
                "ingest",
                source=RAW,
                state=INGEST_STATE,
                process=ingest.process,
                outputs=(EVENTS.name,),
                # A transaction costs the broker 5 ms of CPU and the worker 2, whatever is in it:
                # one for each few events took both cores at a tenth of what they can do.
                commit_every_s=0.025,
            ),
            # events -> tags, profiles, decisions, touches
            Agent(
                "engage",
                source=EVENTS,
                state=ENGAGE_STATE,
                process=engage.process,
                outputs=(RULEBOOKS.name,),
                wake=engage.wake,
                gate=keeper,
            ),
        ],
    )
    worker.parts.append(keeper)
    worker.rulebooks = keeper
    api = UserApi(settings, worker, Lookup(engage, index=settings.worker_api_index))
    worker.parts.append(StatusPage(settings, worker, ingest, api))
    return worker
