"""What pydantic found wrong with a file, in the words of an author."""

from collections.abc import Iterator
from typing import Any

from pydantic import ValidationError

from schemas.authoring import Authored
from schemas.conditions import faults_of
from schemas.errors import ConfigInvalid
from schemas.faults import Place, suggest
from streams.authoring.yaml_source import Located
from streams.core.tags.catalogue import KINDS


def explain(located: Located, invalid: ValidationError) -> ConfigInvalid:
    """Return the first error of a model."""
    return explain_all(located, invalid)[0]


def explain_all(located: Located, invalid: ValidationError) -> list[ConfigInvalid]:
    """Return all errors of a model, the misspelt keys first."""
    errors = invalid.errors(include_url=False)
    # A misspelt key is the cause of the one that is then missing.
    misspelt = {error["loc"][:-1] for error in errors if error["type"] == "extra_forbidden"}
    causes = [
        error for error in errors if error["type"] != "missing" or error["loc"][:-1] not in misspelt
    ]
    causes.sort(key=lambda error: error["type"] != "extra_forbidden")
    return [explained for error in causes for explained in _explained(located, error)]


def _explained(located: Located, error: Any) -> Iterator[ConfigInvalid]:  # noqa: ANN401 - pydantic's
    faults = faults_of(error)
    for fault in faults:
        place = (*error["loc"], *fault.place)
        subject, _ = _subject(located, place)
        yield located.invalid(fault.within(error["loc"]), subject)
    if faults:
        return
    place, kind = error["loc"], error["type"]
    key = str(place[-1]) if place else ""
    problem, hint = error["msg"], ""
    if kind == "extra_forbidden":
        problem, hint = f"unknown key {key}", suggest(key, _vocabulary())
    elif kind == "missing":
        problem, hint = f"{key} is missing", ""
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        problem, hint = _unknown_kind(error["input"])
        place = (*place, "kind")
    elif kind == "string_type" and isinstance(error["input"], bool | int | float):
        problem, hint = f"{error['input']} is not text", "quote it"
    where = _spell(located, place)
    problem = f"{where}: {problem}" if where else problem
    yield ConfigInvalid(located.path, problem, hint=hint, line=located.line(place))


def _unknown_kind(raw: object) -> tuple[str, str]:
    kind = str(raw.get("kind")) if isinstance(raw, dict) else ""
    kinds = f"kinds are {', '.join(KINDS)}"
    return f"unknown kind {kind}" if kind != "None" else "kind is missing", kinds


def _spell(located: Located, place: Place) -> str:
    """Return a place as an author knows it: "rule cart_30m, trigger.absence.within"."""
    subject, steps = _subject(located, place)
    path = ".".join(str(step) for step in steps)
    return ", ".join(part for part in (subject, path) if part)


def _subject(located: Located, place: Place) -> tuple[str, Place]:
    """Return what a place is a part of, and the way from there."""
    here = located.nearest(place)
    if len(here) > 1 and here[0] in ("tags", "segments", "rules"):
        return f"{str(here[0])[:-1]} {_id_at(located.data, here)}", here[2:]
    return "", here


def _id_at(data: object, place: Place) -> object:
    items = data.get(place[0]) if isinstance(data, dict) else None
    item = items[place[1]] if isinstance(items, list) and isinstance(place[1], int) else None
    return item.get("id", place[1]) if isinstance(item, dict) else place[1]


def _vocabulary() -> set[str]:
    words: set[str] = set()
    models: list[type[Authored]] = [Authored]
    while models:
        model = models.pop()
        models.extend(model.__subclasses__())
        words.update(field.alias or name for name, field in model.model_fields.items())
    return words
