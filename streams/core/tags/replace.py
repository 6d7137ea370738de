"""Replace a tag's cell by one that was folded elsewhere."""

from collections.abc import Iterable, Iterator

from schemas.events import Event
from schemas.touches import TagChange
from streams.core.event_time import event_time_ms
from streams.core.state.cells import Cell
from streams.core.state.user import State
from streams.core.tags.live import LiveExpr, LiveTag, readers
from streams.core.tags.values import Value


def replaced(
    live: LiveTag, exprs: Iterable[LiveExpr], state: State, event: Event, cell: Cell | None
) -> Iterator[TagChange]:
    """Replace a tag's cell (``None``: it has none); yield what that changes, made tags after it.

    Each of ``exprs`` stands after those that it reads. A cell of another kind is ignored.
    """
    if cell is not None and cell[0] != live.code:
        return
    kind, clock_ms = live.kind, state.latest_ms
    before, after = _written(live, state), kind.empty
    # A merge shows what it holds as of the clock of this state.
    merged = None if cell is None else kind.merge(kind.new(), cell, clock_ms)
    state.tags.write(live.group)[live.index] = merged
    if merged is not None:
        after = kind.read(merged, clock_ms)
        expiry_ms = kind.expiry_ms(merged)
        if expiry_ms and (not state.expiry_ms or expiry_ms < state.expiry_ms):
            state.expiry_ms = expiry_ms
    if before != after:
        yield _changed(event, live.id, before, after)
    for expr in readers(exprs, {live.id}):
        was, now = expr.move(state, clock_ms)
        if was != now:
            yield _changed(event, expr.id, was, now)


def _written(live: LiveTag, state: State) -> Value:
    """Return what was last written of a tag; its cell is used up by that."""
    cell = live.cell(state)
    if cell is None:
        return live.kind.empty
    if live.lasting:
        return live.kind.read(cell, state.latest_ms)
    return live.kind.expire(cell, state.latest_ms)[0]


def _changed(event: Event, tag: str, before: Value, after: Value) -> TagChange:
    return TagChange(
        tag=tag,
        before=before,
        after=after,
        time_ms=event_time_ms(event),
        message_id=event.message_id,
    )
