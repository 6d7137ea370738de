"""`siyu explain`: why a user did, or did not, get a touch; from decisions, receipts and events."""

import asyncio
import json
from contextlib import suppress
from typing import Any, Final

from schemas.errors import ConfigInvalid, PartMissing
from schemas.events import Event
from schemas.faults import suggest
from schemas.identities import KINDS
from schemas.settings import Settings
from schemas.touches import Decision
from sinks.clickhouse.history import History, ask
from streams.authoring.load import load_rulebook
from streams.authoring.plan import load_plan
from streams.commands.rules.compare import Span
from streams.core.engine import Engine
from streams.core.replay import Unfoldable, replay
from streams.core.rules.non_match import why_not
from streams.runtime.rulebooks.published import read_published
from streams.runtime.rulebooks.sources import Book, find_book, keep_copy

_COLUMNS: Final = (
    "decision_id",
    "rule",
    "rule_version",
    "rulebook",
    "user",
    "outcome",
    "reason",
    "time_ms",
    "trigger_kind",
    "trigger",
    "touch_id",
    "variant",
    "tags",
    "trace",
)
_DECISIONS: Final = """
SELECT decision_id, rule, rule_version, rulebook, user, outcome, reason,
    toUnixTimestamp64Milli(time), trigger_kind, trigger, touch_id, variant, tags, trace
FROM decisions
WHERE user = {user:String} AND time >= fromUnixTimestamp64Milli({from:Int64})
    AND time < fromUnixTimestamp64Milli({to:Int64}) AND ({rule:String} = '' OR rule = {rule:String})
ORDER BY time, _offset
"""
_RECEIPTS: Final = """
SELECT touch_id, channel, status, attempts, toUnixTimestamp64Milli(time), code, detail
FROM receipts WHERE user = {user:String} ORDER BY time
"""
_KNOWN_AS: Final = """
SELECT DISTINCT user FROM events
WHERE has(mapValues(identities), {id:String}) AND user != {user:String} LIMIT 5
"""


def explain(
    settings: Settings, user: str, span: Span, *, rule: str | None = None, book: str | None = None
) -> dict[str, Any]:
    """Return decisions with their traces and receipts, and of silent rules what did not hold.

    ``user`` is ``<kind>:<value>``; without a kind it is a ``user_id``.
    """
    if user.partition(":")[0] not in KINDS:
        user = f"user_id:{user}"
    chosen, origin = _book(settings, book)
    rulebook = load_rulebook(chosen.folder, load_plan(settings.plan))
    if rule is not None and rule not in rulebook.versions:
        hint = suggest(rule, rulebook.versions)
        raise ConfigInvalid(chosen.folder, f"unknown rule {rule}", hint=hint)
    decisions = _decisions(settings, user, span, rule)
    events = History(settings.clickhouse, span.until_ms).of_user(user)
    report = {
        "explain": {
            "user": user,
            "rule": rule,
            "from_ms": span.from_ms,
            "to_ms": span.until_ms,
            "rulebook": chosen.version,
            "rulebook_from": origin,
        },
        "events": len(events),
        "decisions": decisions,
        "silent": [],
        "known_as": [],
    }
    if not events:
        value = user.partition(":")[2]
        rows = ask(settings.clickhouse, _KNOWN_AS, id=value, user=user)
        report["known_as"] = [row[0] for row in rows]
        return report
    spoken = {decision["rule"] for decision in decisions}
    silent = {defined.id for defined in rulebook.rules if rule in (None, defined.id)} - spoken
    if silent:
        engine = Engine(rulebook, settle_ms=settings.timer_settle_ms)
        report["silent"] = _silences(engine, silent, events, span)
    return report


def _book(settings: Settings, name: str | None) -> tuple[Book, str]:
    """Return the rulebook to hold events against, and where it is from."""
    if name is not None:
        return find_book(settings, name), "--rulebook"
    try:
        newest = asyncio.run(read_published(settings)).newest
    except PartMissing:
        newest = None
    if newest is None:
        return find_book(settings, None), "SIYU_RULEBOOK"
    return Book(keep_copy(newest.files), newest.version, newest.version), "pushed"


def _decisions(settings: Settings, user: str, span: Span, rule: str | None) -> list[dict[str, Any]]:
    receipts: dict[str, list[dict[str, Any]]] = {}
    for touch_id, channel, status, attempts, time_ms, code, detail in ask(
        settings.clickhouse, _RECEIPTS, user=user
    ):
        receipts.setdefault(touch_id, []).append(
            {
                "channel": channel,
                "status": status,
                "attempts": attempts,
                "time_ms": time_ms,
                "code": code,
                "detail": detail,
            }
        )
    bounds = {"from": span.from_ms, "to": span.until_ms}
    rows = ask(settings.clickhouse, _DECISIONS, user=user, rule=rule or "", **bounds)
    decisions = [dict(zip(_COLUMNS, row, strict=True)) for row in rows]
    for decision in decisions:
        decision["tags"], decision["trace"] = (
            json.loads(decision["tags"]),
            json.loads(decision["trace"]),
        )
        # The touches of later steps append -1, -2 and so on to the id of the first.
        own = decision["touch_id"]
        decision["receipts"] = [
            receipt
            for touch, all_of_it in receipts.items()
            if own and (touch == own or touch.startswith(f"{own}-"))
            for receipt in all_of_it
        ]
    return decisions


def _silences(
    engine: Engine, silent: set[str], events: list[Event], span: Span
) -> list[dict[str, Any]]:
    """Replay a user's events; of each silent rule say what did not hold, or what it would say."""
    state, said = engine.load(None), list[Decision]()
    with suppress(Unfoldable):
        for _, effects in replay(engine, events[0].user, events, span.until_ms, state):
            said += [decision for decision in effects.decisions if decision.time_ms >= span.from_ms]
    tags = engine.read_tags(state, span.until_ms)
    silences = []
    for rule in engine.rulebook.rules:
        if rule.id not in silent:
            continue
        would = [decision for decision in said if decision.rule == rule.id]
        if would:
            why, trace = [_would(would)], would[-1].trace
        else:
            silence = why_not(rule, events, tags, span.until_ms)
            why, trace = silence.why, silence.trace
        silences.append({"rule": rule.id, "status": rule.status, "why": why, "trace": trace})
    return silences


def _would(decisions: list[Decision]) -> str:
    last = decisions[-1]
    return (
        f"this rulebook decides {len(decisions)} times on these events, the last time "
        f"{last.outcome} ({last.reason}): the rule was not in force then, or the decision "
        "has not landed yet"
    )
