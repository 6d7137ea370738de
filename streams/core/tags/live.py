"""Live tags: fold events into the values of a user's tags.

A cell that another kind of tag wrote is replaced by a new one; a tag whose window, ttl or
condition changed goes on with its cell.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from schemas.errors import ConfigInvalid
from schemas.events import Event
from schemas.tags import EventTag, MadeTag
from schemas.touches import TagChange
from streams.core.language.compile import Getter, Predicate
from streams.core.state.cells import Cell, Group, number_of
from streams.core.state.user import State
from streams.core.tags.catalogue import make_kind
from streams.core.tags.exprs import expr_refs, make_expr
from streams.core.tags.kind import Kind, Lasting
from streams.core.tags.values import Value, plain

Bound = Callable[[Cell, int, int], int]


class LiveTag:
    """One tag of events, on users' states; its cell is at ``index`` of its ``group``."""

    def __init__(self, tag: EventTag) -> None:
        self.id, self.kind = tag.id, make_kind(tag)
        self.number, self.code = number_of(tag.id), self.kind.code
        self.group, self.index = Group([self.number]), 0
        # Time alone does not move a lasting kind; of the others this bounds when.
        self.lasting = isinstance(self.kind, Lasting)
        self.bound_ms: Bound | None = None if self.lasting else _bound(self.kind)
        self.span_ms: int = getattr(self.kind, "span_ms", 0)
        self.of_now: bool = getattr(self.kind, "of_now", False)
        # Whether its changes are emitted.
        self.emits = True

    def emit_only(self, parts: Collection[str] | None) -> None:
        """Emit changes only when one of ``parts`` changes; none if ``None``: the tag is only read.

        "" stands for the whole value.
        """
        if parts is None:
            self.lasting, self.bound_ms, self.emits = True, None, False
        elif narrow := getattr(self.kind, "narrow", None):
            narrow(parts)

    def cell(self, state: State) -> Cell | None:
        """Return the user's cell of this tag; another kind's cell does not count."""
        cell = state.tags.read(self.group)[self.index]
        return cell if cell is not None and cell[0] == self.code else None

    def read(self, state: State, at_ms: int) -> Value:
        """Return the value at a time."""
        cell = self.cell(state)
        return self.kind.empty if cell is None else self.kind.read(cell, at_ms)

    def expire(self, state: State, now_ms: int) -> Iterator[TagChange]:
        """Let time pass over the tag; yield each change of what is shown."""
        cell = self.cell(state)
        while cell is not None:
            before, after, time_ms = self.kind.expire(cell, now_ms)
            if before == after:
                return
            state.tags.write(self.group)
            yield by_time(self, before, after, time_ms)


class LiveExpr:
    """One made tag; its cell, ``[code, shown]``, keeps what was last emitted."""

    code: ClassVar[int] = ord("=")

    def __init__(self, tag: MadeTag) -> None:
        self.id, self._make = tag.id, make_expr(tag)
        self.number = number_of(tag.id)
        self.group, self.index = Group([self.number]), 0
        self.reads = frozenset(ref.path[0] for ref in expr_refs(tag))
        self._inputs: dict[str, LiveTag | LiveExpr] = {}
        self.of_now = False

    def bind(self, tags: "dict[str, LiveTag | LiveExpr]") -> None:
        """Set the tags that it is made of; made tags among them are bound already."""
        self._inputs = {tag_id: tags[tag_id] for tag_id in self.reads}
        self.of_now = any(tag.of_now for tag in self._inputs.values())

    @property
    def inputs(self) -> "Iterable[LiveTag | LiveExpr]":
        """Return the tags that it is made of."""
        return self._inputs.values()

    def touched(self, state: State) -> bool:
        """Say whether a tag that it is made of has seen something."""
        return any(
            tag.touched(state) if isinstance(tag, LiveExpr) else tag.cell(state) is not None
            for tag in self._inputs.values()
        )

    def read(self, state: State, at_ms: int) -> Value:
        """Return the value at a time."""
        return self._value(state, at_ms) if self.touched(state) else None

    def move(self, state: State, at_ms: int, *, touched: bool = False) -> tuple[Value, Value]:
        """Compute the value at a time; return what was emitted last, and the value now."""
        cell = state.tags.read(self.group)[self.index]
        before = cell[1] if cell is not None and cell[0] == self.code else None
        after = self._value(state, at_ms) if touched else self.read(state, at_ms)
        if before != after:
            state.tags.write(self.group)[self.index] = [self.code, after]
        return before, after

    def _value(self, state: State, at_ms: int) -> Value:
        return plain(self._make(lambda tag: self._inputs[tag].read(state, at_ms)))


def _bound(kind: Kind) -> Bound:
    """Return the kind's own bound, its expiry if it has none."""
    bound: Bound = getattr(kind, "bound_ms", None) or (
        lambda cell, _at, _clock: kind.expiry_ms(cell)
    )
    return bound


def in_order(exprs: Iterable[LiveExpr]) -> list[LiveExpr]:
    """Return exprs such that each stands after those that it reads."""
    waiting, done = {expr.id: expr for expr in exprs}, list[LiveExpr]()
    while waiting:
        ready = [expr for expr in waiting.values() if expr.reads.isdisjoint(waiting)]
        done += ready
        for expr in ready:
            del waiting[expr.id]
    return done


def readers(exprs: Iterable[LiveExpr], tag_ids: Iterable[str]) -> Iterator[LiveExpr]:
    """Yield those of some exprs, in order, that read some tags or what is made of them."""
    moved = set(tag_ids)
    for expr in exprs:
        if not expr.reads.isdisjoint(moved):
            moved.add(expr.id)
            yield expr


def set_groups(tags: Iterable[LiveTag | LiveExpr], inputs: Iterable[tuple[str, LiveTag]]) -> None:
    """Give one group to the tags that the same events move; refuse two tags of one number."""
    events: dict[str, set[str]] = {}
    by_number: dict[bytes, str] = {}
    for name, tag in inputs:
        events.setdefault(tag.id, set()).add(name)
    groups: dict[tuple[str, ...], list[LiveTag | LiveExpr]] = {}
    for live in tags:
        other = by_number.setdefault(live.number, live.id)
        if other != live.id:
            problem = f"tags {other} and {live.id} have one number in states"
            raise ConfigInvalid("rulebook", problem, hint="give one of them another id")
        groups.setdefault(_moved_by(live, events), []).append(live)
    for members in groups.values():
        group = Group(live.number for live in members)
        for index, live in enumerate(members):
            live.group, live.index = group, index


def _moved_by(tag: LiveTag | LiveExpr, events: dict[str, set[str]]) -> tuple[str, ...]:
    if isinstance(tag, LiveExpr):
        return tuple(sorted({name for source in tag.inputs for name in _moved_by(source, events)}))
    return tuple(sorted(events.get(tag.id, ())))


def by_time(tag: LiveTag | LiveExpr, before: Value, after: Value, time_ms: int) -> TagChange:
    """Return the record of a value that time alone moved."""
    return TagChange(tag=tag.id, before=before, after=after, time_ms=time_ms)


@dataclass(frozen=True, slots=True)
class TagInput:
    """One way into a tag: of events that pass ``where``, what ``take`` finds in them."""

    tag: LiveTag
    where: Predicate | None
    take: Getter


class EventFold:
    """What an event of one name moves: tags, and the exprs that read what those move."""

    def __init__(self, inputs: Iterable[TagInput], exprs: Iterable[LiveExpr]) -> None:
        self._exprs = tuple(exprs)
        self._steps = tuple(
            (
                source.where,
                source.take,
                source.tag.group,
                source.tag.index,
                source.tag,
                source.tag.code,
                source.tag.kind.fold,
                source.tag.bound_ms,
                source.tag.span_ms,
                source.tag.of_now,
                source.tag.emits,
            )
            for source in inputs
        )

    def fold(  # noqa: C901, PLR0917 - the hot path: see below
        self,
        state: State,
        event: Event,
        at_ms: int,
        clock_ms: int,
        now_ms: int,
        changes: list[TagChange],
    ) -> None:
        """Fold an event into all tags that it moves; add the changes.

        ``clock_ms`` is the user's time, ``now_ms`` the lane's, never before it.
        The hot path: a step is unpacked once, and nothing is called that can be avoided.
        """
        cells, moved, opened = state.tags, list[str](), None
        for step in self._steps:
            where, take, group, index, tag, code, fold, bound, span_ms, of_now, emits = step
            if where is not None and not where(event):
                continue
            value = take(event)
            if value is None:
                continue
            if group is not opened:
                row, opened = cells.write(group), group
            cell = row[index]
            if cell is None or cell[0] != code:
                cell = row[index] = tag.kind.new()
                moved.append(tag.id)
            as_of_ms = now_ms if of_now else clock_ms
            before, after = fold(cell, at_ms, as_of_ms, value)
            if bound is not None and not 0 < state.expiry_ms <= at_ms + span_ms:
                bound_ms = bound(cell, at_ms, as_of_ms)
                if bound_ms and (bound_ms < state.expiry_ms or not state.expiry_ms):
                    state.expiry_ms = bound_ms
            if before is not after and before != after:
                moved.append(tag.id)
                if not emits:
                    continue
                changes.append(
                    TagChange(
                        tag=tag.id,
                        before=before,
                        after=after,
                        time_ms=at_ms,
                        message_id=event.message_id,
                    )
                )
        if self._exprs and moved:
            self._follow(state, event, at_ms, now_ms, changes, set(moved))

    def _follow(  # noqa: PLR0917 - keywords cost
        self,
        state: State,
        event: Event,
        at_ms: int,
        now_ms: int,
        changes: list[TagChange],
        moved: set[str],
    ) -> None:
        """Compute the exprs again that read what was moved."""
        for expr in self._exprs:
            if expr.reads.isdisjoint(moved):
                continue
            as_of_ms = now_ms if expr.of_now else state.latest_ms
            before, after = expr.move(state, as_of_ms, touched=True)
            if before != after:
                changes.append(
                    TagChange(
                        tag=expr.id,
                        before=before,
                        after=after,
                        time_ms=at_ms,
                        message_id=event.message_id,
                    )
                )
                moved.add(expr.id)
