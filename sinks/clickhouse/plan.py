"""The plan of an insert: what the commit's metadata promises before ClickHouse is called."""

import msgspec

from sinks.clickhouse.rows import Span


class LandingPlan(msgspec.Struct, frozen=True):
    """An announced insert of the offsets from the committed one to ``last``.

    Whoever owns the partition next finishes exactly this range before anything else.
    ``careful``: the block was refused as a whole, so its rows may stand in ClickHouse in part.
    """

    last: int
    n: int
    sha256: str
    at_ms: int
    careful: bool = False

    def matches(self, span: Span) -> bool:
        """Tell whether a rebuilt range is byte for byte the planned one."""
        return (self.last, self.n, self.sha256) == (span.last, span.n, span.digest)


def plan_of(span: Span, at_ms: int, *, careful: bool = False) -> LandingPlan:
    """Return the plan of a range."""
    return LandingPlan(last=span.last, n=span.n, sha256=span.digest, at_ms=at_ms, careful=careful)


_decoder = msgspec.json.Decoder(LandingPlan)


def to_metadata(plan: LandingPlan | None) -> str:
    """Return the metadata of the commit: the open plan, or nothing."""
    return msgspec.json.encode(plan).decode() if plan else ""


def from_metadata(metadata: str | None) -> LandingPlan | None:
    """Return the open plan of a commit; ``None`` if it has none (or it is another tool's)."""
    if not metadata:
        return None
    try:
        return _decoder.decode(metadata)
    except msgspec.MsgspecError:
        return None
