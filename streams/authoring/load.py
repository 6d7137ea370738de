"""The rulebook: YAML files of tags and rules, read, checked against each other, versioned."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from schemas.authoring import Authored
from schemas.errors import ConfigInvalid
from schemas.plan import Plan
from schemas.policies import Policies
from schemas.rules import RulebookFile
from schemas.tags import Bounds, Tag, TagKinds, ValueTierTag
from streams.authoring.lint import check_rule
from streams.authoring.names import Names
from streams.authoring.plan import shipped_plan
from streams.authoring.yaml_source import Located, read_yaml
from streams.core.language.conditions import parse
from streams.core.language.fault import Fault, Place, suggest
from streams.core.rulebook import Rulebook, rulebook_of

TEST_SUFFIX: Final = ".test.yaml"
# Tests of tags; all others are of rules.
TAG_TEST_SUFFIX: Final = "tags.test.yaml"


@dataclass(frozen=True, slots=True)
class _Read:
    """One file as read."""

    located: Located
    content: RulebookFile

    def invalid(self, fault: Fault, subject: str = "") -> ConfigInvalid:
        """Return the error of a fault somewhere in this file."""
        problem = f"{subject}: {fault.problem}" if subject else fault.problem
        line = self.located.line(fault.place)
        return ConfigInvalid(self.located.path, problem, hint=fault.hint, line=line)


def load_rulebook(path: Path, plan: Plan | None = None) -> Rulebook:
    """Return the rulebook of a folder or file; raises ``ConfigInvalid`` with file and line.

    Its names are held against the plan, the one that comes with Siyu if none is given.
    """
    files = [path] if path.is_file() else sorted([*path.rglob("*.yaml"), *path.rglob("*.yml")])
    reads = [_read(one) for one in files if not one.name.endswith(TEST_SUFFIX)]
    if not reads:
        hint = "set SIYU_RULEBOOK to a folder that holds tags and rules"
        raise ConfigInvalid(path, "no rulebook: there is no .yaml file", hint=hint)
    policies = _policies(reads)
    _check_ids(reads)
    segments = [segment.tag() for read in reads for segment in read.content.segments]
    tags = (*_bounded(reads), *segments)
    declares = [read.content.declares for read in reads]
    names = Names(declares, tags, policies, plan or shipped_plan())
    for read in reads:
        _check_names(read, names)
    rules = tuple(rule for read in reads for rule in read.content.rules)
    return rulebook_of(tags, rules, policies)


def _read(path: Path) -> _Read:
    located = read_yaml(path)
    try:
        return _Read(located, RulebookFile.model_validate(located.data))
    except ValidationError as invalid:
        raise explain(located, invalid) from invalid


def _check_names(read: _Read, names: Names) -> None:
    subject = ""
    try:
        for i, tag in enumerate(read.content.tags):
            subject = f"tag {tag.id}"
            names.tag(tag, ("tags", i))
        for i, segment in enumerate(read.content.segments):
            subject = f"segment {segment.id}"
            parse(segment.where, ("segments", i, "where"), tags=True)
            names.tag(segment.tag(), ("segments", i))
        for i, rule in enumerate(read.content.rules):
            subject = f"rule {rule.id}"
            check_rule(names, rule, ("rules", i))
    except Fault as fault:
        raise read.invalid(fault, subject) from fault


def _check_ids(reads: list[_Read]) -> None:
    """Two tags, or two rules, cannot have one id, in whatever files they are."""
    taken: dict[tuple[str, str], Path] = {}
    for read in reads:
        content = read.content
        ids: list[tuple[str, int, str]] = [
            ("tags", i, tag.id) for i, tag in enumerate(content.tags)
        ]
        ids += [("segments", i, segment.tag().id) for i, segment in enumerate(content.segments)]
        ids += [("rules", i, rule.id) for i, rule in enumerate(content.rules)]
        for part, i, name in ids:
            # A segment is a tag, too.
            kind = "tags" if part == "segments" else part
            there = taken.get((kind, name))
            if there is not None:
                problem = f"the id {name} is taken in {there.name}"
                raise read.invalid(Fault((part, i), problem, "an id is one thing's for ever"))
            taken[kind, name] = read.located.path


def _bounded(reads: list[_Read]) -> tuple[Tag, ...]:
    """Return all tags, those with quantiles with the bounds that a file has for them."""
    tags = [tag for read in reads for tag in read.content.tags]
    wanting = {tag.id: tag for tag in tags if isinstance(tag, ValueTierTag) and tag.quantiles}
    found: dict[str, Bounds] = {}
    for read in reads:
        for tag_id, bounds in read.content.bounds.items():
            if tag_id not in wanting or tag_id in found:
                problem = "has bounds already" if tag_id in found else "is no tag with quantiles"
                hint = suggest(tag_id, wanting) or "`siyu tags bounds` writes this file anew"
                raise read.invalid(Fault(("bounds", tag_id), f"{tag_id} {problem}", hint))
            found[tag_id] = bounds
    return tuple(wanting[tag.id].bounded(found[tag.id]) if tag.id in found else tag for tag in tags)


def _policies(reads: list[_Read]) -> Policies:
    found = [read for read in reads if read.content.policies is not None]
    if len(found) > 1:
        problem = f"policies stand in {found[0].located.path.name} already"
        raise found[1].invalid(Fault(("policies",), problem, "keep them in one file"))
    policies = found[0].content.policies if found else None
    return policies or Policies()


def explain(located: Located, invalid: ValidationError) -> ConfigInvalid:
    """Return the first error of a model in the words of an author."""
    # A misspelt key is the cause of the one that is then missing: it comes first.
    errors = invalid.errors(include_url=False)
    error = min(errors, key=lambda one: one["type"] != "extra_forbidden")
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
    return ConfigInvalid(
        located.path, f"{where}: {problem}" if where else problem, hint=hint,
        line=located.line(place),
    )  # fmt: skip


def _unknown_kind(raw: object) -> tuple[str, str]:
    kind = str(raw.get("kind")) if isinstance(raw, dict) else ""
    kinds = f"kinds are {', '.join(TagKinds.known)}"
    return f"unknown kind {kind}" if kind != "None" else "kind is missing", kinds


def _spell(located: Located, place: Place) -> str:
    """Return a place as an author knows it: "rule cart_30m, trigger.absence.within"."""
    here = located.nearest(place)
    steps, subject = [str(step) for step in here], ""
    if len(here) > 1 and here[0] in ("tags", "segments", "rules"):
        subject = f"{str(here[0])[:-1]} {_id_at(located.data, here)}"
        steps = steps[2:]
    return ", ".join(part for part in (subject, ".".join(steps)) if part)


def _id_at(data: object, place: Place) -> object:
    one = data.get(place[0]) if isinstance(data, dict) else None
    one = one[place[1]] if isinstance(one, list) and isinstance(place[1], int) else None
    return one.get("id", place[1]) if isinstance(one, dict) else place[1]


def _vocabulary() -> set[str]:
    words: set[str] = set()
    models: list[type[Authored]] = [Authored]
    while models:
        model = models.pop()
        models.extend(model.__subclasses__())
        words.update(field.alias or name for name, field in model.model_fields.items())
    return words
