"""Validation: an accepted item becomes a canonical event or a reject. Never raises."""

from collections.abc import Callable
from typing import Final

from pydantic_core import from_json

from schemas.events import Event, Mark
from schemas.identities import canonical_user
from schemas.inbound import Door
from schemas.plan import Plan
from schemas.raw import RawRecord
from schemas.rejects import Reject
from schemas.sources import Source
from streams.core.event_time import EARLIEST_MS, EARLIEST_OF_SERVERS_MS, event_time
from streams.core.intake.clean import Cleaner, has_nul
from streams.core.intake.contract import compile_plan
from streams.core.intake.identify import Identifier
from streams.core.intake.marks import marks_of
from streams.core.intake.parse_segment import parse_segment
from streams.core.intake.parse_sensors import parse_sensors
from streams.core.intake.parse_wechat import parse_wechat, require_expat
from streams.core.intake.parse_wecom import parse_wecom
from streams.core.intake.parsed_item import ParsedItem

_DETAIL_MAX: Final = 200
_PARSERS: Final[dict[Door, Callable[[RawRecord], ParsedItem | Reject]]] = {
    "native": parse_segment,
    "segment": parse_segment,
    "sensors": parse_sensors,
    "wechat": parse_wechat,
    "wecom": parse_wecom,
}


class Validator:
    """Parse by door, clean, identify, check against the plan; pure, and safe to share.

    ``pii_key`` keys the HMAC over phones and e-mails; an empty one raises ``ConfigInvalid``.
    """

    def __init__(self, pii_key: bytes, plan: Plan) -> None:
        require_expat()
        self._identifier = Identifier(pii_key)
        self._cleaner = Cleaner(self._identifier)
        self._contracts = compile_plan(plan)
        self._refuses_unplanned = plan.unplanned == "reject"

    def event(self, raw: RawRecord, partition: int, offset: int) -> Event | Reject:
        """Return the event of a record of ``events.raw``, or why it is none."""
        parsed = _parse(raw)
        if isinstance(parsed, Reject):
            return parsed
        # In this order a reject names first what its producer can mend.
        named = self._identify(parsed)
        if isinstance(named, Reject):
            return named
        if problem := self._clean(parsed, named):
            return problem
        mark = self._keep_plan(parsed, raw.envelope.source)
        if isinstance(mark, Reject):
            return mark
        user = canonical_user(named)
        if user is None:
            return Reject("identify", "no_identifier", "nobody to attribute it to")
        event = _event(raw, parsed, named, user)
        if mark is not None:
            event.marks.append(mark)
        event.raw_partition, event.raw_offset = partition, offset
        return event

    def _keep_plan(self, parsed: ParsedItem, source: Source) -> Mark | Reject | None:
        """Check an item against the plan; return its mark if it is off the plan, or its reject."""
        contract = self._contracts.get(parsed.event)
        if contract is None:
            if self._refuses_unplanned:
                return Reject("validate", "unplanned_event", parsed.event)
            return "uncatalogued"
        parsed.properties, problem = contract.clean(parsed.properties)
        if source not in contract.sources:
            problem = contract.source_problem(source)
        if problem is not None and not contract.marks_only:
            return problem
        if problem is None and not contract.seals:
            return None
        note: dict[str, list[str]] = {}
        if removed := contract.seal(parsed.properties, self._identifier):
            note["removed"] = removed
        if problem is not None:
            note["violations"] = [problem.detail[:_DETAIL_MAX]]
        if note:
            parsed.context["siyu"] = note
        return "off_plan" if problem is not None else None

    def _identify(self, parsed: ParsedItem) -> dict[str, str] | Reject:
        """Return the identities; entries of unknown kinds go to the context, to be cleaned."""
        named = self._identifier.identities(parsed.identities)
        if isinstance(named, Reject):
            return named
        identities, others = named
        if others:
            parsed.context["identities"] = others
        return identities

    def _clean(self, parsed: ParsedItem, identities: dict[str, str]) -> Reject | None:
        """Clean the event's objects; a phone or e-mail among the user's traits identifies."""
        clean = self._cleaner.clean
        if parsed.properties and (problem := clean("properties", parsed.properties)):
            return problem
        if parsed.context and (problem := clean("context", parsed.context)):
            return problem
        if parsed.traits and (problem := clean("traits", parsed.traits)):
            return problem
        # A phone among the properties may be somebody else's (the receiver's of a gift).
        for traits in (parsed.traits, parsed.context.get("traits")):
            if isinstance(traits, dict):
                for kind in ("phone_hmac", "email_hmac"):
                    if isinstance(value := traits.get(kind), str) and value:
                        identities.setdefault(kind, value)
        return None


def _parse(raw: RawRecord) -> ParsedItem | Reject:
    """Parse by door; U+0000 anywhere is refused, as ClickHouse and C clients cut there."""
    if b"\\u0000" in raw.body and _holds_nul(raw.body):
        return Reject("validate", "nul_character", "a string holds U+0000")
    return _PARSERS[raw.envelope.door](raw)


def _event(raw: RawRecord, parsed: ParsedItem, named: dict[str, str], user: str) -> Event:
    envelope = raw.envelope
    time_ms, marks = event_time(
        envelope.received_at_ms,
        parsed.original_ms,
        parsed.sent_ms,
        earliest_ms=EARLIEST_OF_SERVERS_MS if envelope.source == "server" else EARLIEST_MS,
    )
    marks += marks_of(envelope, parsed.context, parsed.properties)
    return Event(
        message_id=parsed.message_id,
        type=parsed.type,
        event=parsed.event,
        user=user,
        source=envelope.source,
        door=envelope.door,
        account=envelope.account,
        timestamp_ms=time_ms,
        received_at_ms=envelope.received_at_ms,
        original_timestamp_ms=parsed.original_ms,
        sent_at_ms=parsed.sent_ms,
        user_id=named.get("user_id"),
        anonymous_id=named.get("anonymous_id"),
        identities=named,
        context=parsed.context,
        properties=parsed.properties,
        traits=parsed.traits,
        marks=marks,
    )


def _holds_nul(body: bytes) -> bool:
    """Tell an escaped NUL from the harmless text backslash-u0000; the parser judges the rest."""
    try:
        return has_nul(from_json(body))
    except ValueError:
        return False
