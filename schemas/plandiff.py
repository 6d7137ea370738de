"""What changed between two tracking plans, and whether it breaks a producer or a reader."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from schemas.plan import Plan, PlannedEvent, PropertySpec

# What an item of the old type still is under the new one.
_WIDER: Final = {("id", "string"), ("integer", "number")}


@dataclass(frozen=True, slots=True)
class Change:
    """One change of an event; ``announced``: the event's version went up with it."""

    event: str
    path: str
    what: str
    breaking: bool
    announced: bool = False

    @property
    def is_error(self) -> bool:
        """Whether it must not ship: it breaks somebody, and no version announces it."""
        return self.breaking and not self.announced

    def as_json(self) -> dict[str, Any]:
        """Return the change as JSON has it."""
        return {
            "event": self.event,
            "path": self.path,
            "change": self.what,
            "breaking": self.breaking,
            "announced": self.announced,
            "error": self.is_error,
        }


def diff(old: Plan, new: Plan) -> list[Change]:
    """Return all changes, by event; a removed event is breaking and cannot be announced."""
    changes = []
    for name in sorted(old.events.keys() | new.events.keys()):
        before, after = old.events.get(name), new.events.get(name)
        if before is None:
            changes.append(Change(name, "", "event added", breaking=False))
        elif after is None:
            changes.append(Change(name, "", "event removed", breaking=True))
        else:
            announced = after.version > before.version
            changes += [
                Change(name, path, what, breaking=breaking, announced=announced and breaking)
                for path, what, breaking in _event_changes(before, after)
            ]
    if old.unplanned != new.unplanned:
        what = f"events that are not in the plan: {old.unplanned} became {new.unplanned}"
        changes.append(Change("*", "defaults.unplanned", what, breaking=new.unplanned == "reject"))
    return changes


_Difference = tuple[str, str, bool]


def _event_changes(old: PlannedEvent, new: PlannedEvent) -> Iterator[_Difference]:
    if new.version < old.version:
        yield "version", f"went back from {old.version} to {new.version}", True
    for source in sorted(old.sources - new.sources):
        yield "sources", f"{source} may no longer send it", True
    for source in sorted(new.sources - old.sources):
        yield "sources", f"{source} may send it too", False
    if old.policy != new.policy:
        yield "policy", f"{old.policy} became {new.policy}", new.policy == "enforce"
    if old.closed != new.closed:
        # Closing drops properties that somebody may read.
        yield "closed", f"{old.closed} became {new.closed}".lower(), new.closed
    for name in sorted(old.properties.keys() | new.properties.keys()):
        before, after = old.properties.get(name), new.properties.get(name)
        path = f"properties.{name}"
        if before is None and after is not None:
            # What was free and untyped till now must keep a type from here on.
            yield path, "added as required" if after.required else "added", after.required
        elif after is None:
            yield path, "removed", True
        elif before is not None:
            yield from _property_changes(path, before, after)


def _property_changes(path: str, old: PropertySpec, new: PropertySpec) -> Iterator[_Difference]:
    if old.type != new.type:
        breaking = (old.type, new.type) not in _WIDER
        yield f"{path}.type", f"{old.type} became {new.type}", breaking
    if old.required != new.required:
        what = "became required" if new.required else "is no longer required"
        yield f"{path}.required", what, new.required
    yield from _enum_changes(path, old, new)
    yield from _bound_changes(path, old, new)
    # Readers would take fen for yuan, a hash for a number: no value says which it is.
    for key in ("unit", "pii", "items"):
        before, after = getattr(old, key), getattr(new, key)
        if before != after:
            yield f"{path}.{key}", f"{before} became {after}", True
    for key in ("other_units", "synonyms"):
        before, after = getattr(old, key), getattr(new, key)
        for gone in sorted(before.keys() - after.keys()):
            yield f"{path}.{key}", f"{gone} is no longer understood", True
        for moved in sorted(k for k in before.keys() & after.keys() if before[k] != after[k]):
            yield f"{path}.{key}", f"{moved} means {after[moved]} instead of {before[moved]}", True
        for added in sorted(after.keys() - before.keys()):
            yield f"{path}.{key}", f"{added} is understood too", False


def _enum_changes(path: str, old: PropertySpec, new: PropertySpec) -> Iterator[_Difference]:
    if old.enum is None or new.enum is None:
        if old.enum != new.enum:
            what = "any text goes now" if new.enum is None else f"only {', '.join(new.enum)} go now"
            yield f"{path}.enum", what, new.enum is not None
        return
    for value in sorted(set(old.enum) - set(new.enum)):
        yield f"{path}.enum", f"{value} was taken out", True
    for value in sorted(set(new.enum) - set(old.enum)):
        yield f"{path}.enum", f"{value} was added", False


def _bound_changes(path: str, old: PropertySpec, new: PropertySpec) -> Iterator[_Difference]:
    if old.min != new.min:
        tighter = new.min is not None and (old.min is None or new.min > old.min)
        yield f"{path}.min", f"{old.min} became {new.min}", tighter
    if old.max != new.max:
        tighter = new.max is not None and (old.max is None or new.max < old.max)
        yield f"{path}.max", f"{old.max} became {new.max}", tighter
