"""The rulebook, loaded from YAML files; each fault with its file and line."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from schemas.errors import ConfigInvalid
from schemas.faults import Fault, Place, suggest
from schemas.plan import Plan
from schemas.policies import Policies
from schemas.rules import Rule
from schemas.segments import PREFIX
from schemas.tags import Tag
from streams.authoring.explain import explain_all
from streams.authoring.lint import check_rule
from streams.authoring.names import Names
from streams.authoring.plan import shipped_plan
from streams.authoring.rulebook_file import RulebookFile
from streams.authoring.yaml_source import Located, read_yaml, yaml_files
from streams.core.rulebook import Rulebook, rulebook_of
from streams.core.tags.kinds.value_tier_spec import Bounds, ValueTierTag

TEST_SUFFIX: Final = ".test.yaml"
# Tests of tags; all others are of rules.
TAG_TEST_SUFFIX: Final = "tags.test.yaml"
# Where an item that is wrong does not keep the others from being checked.
_ITEMS: Final = ("tags", "segments", "rules")
# The parts that others use names of, and which of them a key of a file holds.
_NAMING: Final = frozenset({"tags", "policies", "declares"})
_NAMED_BY: Final = {
    "tags": frozenset({"tags"}),
    "segments": frozenset({"tags"}),
    "rules": frozenset[str](),
    "policies": frozenset({"policies"}),
    "declares": frozenset({"declares"}),
    "bounds": frozenset[str](),
}


@dataclass(slots=True)
class _Read:
    """One file as read; ``positions`` are the places of its correct items in the file's lists.

    ``unread`` are parts that could not be read: nobody knows what names they hold.
    """

    located: Located
    content: RulebookFile
    positions: dict[str, list[int]]
    broken_tags: set[str] = field(default_factory=set)
    unread: frozenset[str] = frozenset()

    def place(self, part: str, i: int) -> Place:
        """Return the place of the i-th correct item of a part."""
        return (part, self.positions[part][i])


def load_rulebook(path: Path, plan: Plan | None = None) -> Rulebook:
    """Return the rulebook of a folder or file; raises ``ConfigInvalid`` for its first fault.

    Its names are checked against the plan, the one that comes with Siyu if there is no other.
    """
    rulebook, faults = read_rulebook(path, plan)
    if rulebook is None:
        raise faults[0]
    return rulebook


def read_rulebook(
    path: Path, plan: Plan | None = None
) -> tuple[Rulebook, list[ConfigInvalid]] | tuple[None, list[ConfigInvalid]]:
    """Return the rulebook, ``None`` if anything is wrong, and all faults, by file and line."""
    files = _files(path)
    if not files:
        hint = "set SIYU_RULEBOOK to a folder that holds tags and rules"
        return None, [ConfigInvalid(path, "no rulebook: there is no .yaml file", hint=hint)]
    reads, faults = _read_all(files)
    more, rulebook = _checked(reads, plan or shipped_plan())
    faults += more
    if not faults:
        return rulebook, []
    order = {str(file): i for i, file in enumerate(files)}
    faults.sort(key=lambda fault: (order[fault.where], fault.line or 0))
    return None, faults


def readable_rules(path: Path) -> Iterator[tuple[Located, Place, Rule]]:
    """Yield the rules of a folder or file that can be read, with file and place."""
    for read in _read_all(_files(path))[0]:
        for i, rule in enumerate(read.content.rules):
            yield read.located, read.place("rules", i), rule


def readable_tags(path: Path) -> Iterator[tuple[Located, Place, Tag]]:
    """Yield the same of tags; a segment is a tag, too."""
    for read in _read_all(_files(path))[0]:
        for i, tag in enumerate(read.content.tags):
            yield read.located, read.place("tags", i), tag
        for i, segment in enumerate(read.content.segments):
            yield read.located, read.place("segments", i), segment.tag()


def _files(path: Path) -> list[Path]:
    return [file for file in yaml_files(path) if not file.name.endswith(TEST_SUFFIX)]


def _read_all(files: Iterable[Path]) -> tuple[list[_Read], list[ConfigInvalid]]:
    """Return what could be read, and all faults."""
    reads: list[_Read] = []
    faults: list[ConfigInvalid] = []
    for file in files:
        located = Located(file, None)
        try:
            located = read_yaml(file)
            content = RulebookFile.model_validate(located.data)
        except ConfigInvalid as unreadable:
            faults.append(unreadable)
            reads.append(_nothing_of(located))
        except ValidationError as invalid:
            faults += explain_all(located, invalid)
            reads.append(_without_wrong_parts(located, invalid))
        else:
            positions = {part: list(range(len(getattr(content, part)))) for part in _ITEMS}
            reads.append(_Read(located, content, positions))
    return reads, faults


def _nothing_of(located: Located) -> _Read:
    return _Read(located, RulebookFile(), {part: [] for part in _ITEMS}, unread=_NAMING)


def _without_wrong_parts(located: Located, invalid: ValidationError) -> _Read:
    """Return the file without its wrong tags, segments and rules, and wrong keys."""
    data = located.data
    if not isinstance(data, dict):
        return _nothing_of(located)
    wrong: set[tuple[str, int]] = set()
    keys: set[str] = set()
    for error in invalid.errors(include_url=False):
        match error["loc"]:
            case (str(part), int(i), *_) if part in _ITEMS:
                wrong.add((part, i))
            case (str(key), *_):
                keys.add(key)
    # A key that nobody knows may be a misspelt one: whatever it would name is not known.
    unread = set().union(*(_NAMED_BY.get(key, _NAMING) for key in keys))
    broken: set[str] = set()
    for part, i in wrong:
        item = data[part][i]
        if part != "rules" and isinstance(item, dict) and isinstance(item.get("id"), str):
            broken.add((PREFIX if part == "segments" else "") + item["id"])
        elif part != "rules":
            unread.add("tags")
    items = {part: data.get(part) or [] for part in _ITEMS if part not in keys}
    positions: dict[str, list[int]] = {part: [] for part in _ITEMS} | {
        part: [i for i in range(len(listed)) if (part, i) not in wrong]
        for part, listed in items.items()
    }
    kept = {part: [items[part][i] for i in at] for part, at in positions.items() if at}
    rest = {key: value for key, value in data.items() if key not in {*_ITEMS, *keys}}
    content = RulebookFile.model_validate({**rest, **kept})
    return _Read(located, content, positions, broken, frozenset(unread))


def _checked(reads: list[_Read], plan: Plan) -> tuple[list[ConfigInvalid], Rulebook]:
    """Return what is wrong between the parts of a rulebook, and the rulebook."""
    policies, faults = _policies(reads)
    tags, of_bounds = _bounded(reads)
    faults += [*of_bounds, *_taken_ids(reads)]
    segments = [segment.tag() for read in reads for segment in read.content.segments]
    every = (*tags, *segments)
    declares = [read.content.declares for read in reads]
    broken = set[str]().union(*(read.broken_tags for read in reads))
    unread = frozenset[str]().union(*(read.unread for read in reads))
    names = Names(declares, every, policies, plan, broken_tags=broken, unread=unread)
    for read in reads:
        faults += _faults(read, names)
    rules = tuple(rule for read in reads for rule in read.content.rules)
    return faults, rulebook_of(every, rules, policies)


def _faults(read: _Read, names: Names) -> Iterator[ConfigInvalid]:
    """Yield what is wrong with the items of a file, each fault once."""
    content = read.content
    items: list[tuple[str, Place, Iterable[Fault]]] = []
    for i, tag in enumerate(content.tags):
        items.append((f"tag {tag.id}", read.place("tags", i), names.tag(tag)))
    for i, segment in enumerate(content.segments):
        place = read.place("segments", i)
        items.append((f"segment {segment.id}", place, names.tag(segment.tag())))
    for i, rule in enumerate(content.rules):
        items.append((f"rule {rule.id}", read.place("rules", i), check_rule(names, rule)))
    for subject, place, faults in items:
        seen: set[tuple[Place, str]] = set()
        for fault in faults:
            if (fault.place, fault.problem) not in seen:
                seen.add((fault.place, fault.problem))
                yield read.located.invalid(fault.within(place), subject)


def _taken_ids(reads: list[_Read]) -> Iterator[ConfigInvalid]:
    """Two tags, or two rules, cannot have one id, in whatever files they are."""
    taken: dict[tuple[str, str], Path] = {}
    for read in reads:
        content = read.content
        ids = [("tags", i, tag.id) for i, tag in enumerate(content.tags)]
        ids += [("segments", i, segment.tag().id) for i, segment in enumerate(content.segments)]
        ids += [("rules", i, rule.id) for i, rule in enumerate(content.rules)]
        for part, i, name in ids:
            # A segment is a tag, too.
            key = ("tags" if part == "segments" else part, name)
            if key in taken:
                problem = f"the id {name} is taken in {taken[key].name}"
                hint = "an id is one thing's for ever"
                yield read.located.invalid(Fault(read.place(part, i), problem, hint))
            else:
                taken[key] = read.located.path


def _bounded(reads: list[_Read]) -> tuple[tuple[Tag, ...], list[ConfigInvalid]]:
    """Return all tags, those with quantiles with the bounds that a file has for them."""
    tags = [tag for read in reads for tag in read.content.tags]
    wanting = {tag.id: tag for tag in tags if isinstance(tag, ValueTierTag) and tag.quantiles}
    broken = set[str]().union(*(read.broken_tags for read in reads))
    bounds_of: dict[str, Bounds] = {}
    faults: list[ConfigInvalid] = []
    for read in reads:
        for tag_id, bounds in read.content.bounds.items():
            if tag_id in broken:
                continue
            if tag_id in wanting and tag_id not in bounds_of:
                bounds_of[tag_id] = bounds
                continue
            problem = "has bounds already" if tag_id in bounds_of else "is no tag with quantiles"
            hint = suggest(tag_id, wanting) or "`siyu tags bounds` writes this file anew"
            faults.append(
                read.located.invalid(Fault(("bounds", tag_id), f"{tag_id} {problem}", hint))
            )
    bounded = tuple(
        wanting[tag.id].bounded(bounds_of[tag.id]) if tag.id in bounds_of else tag for tag in tags
    )
    return bounded, faults


def _policies(reads: list[_Read]) -> tuple[Policies, list[ConfigInvalid]]:
    writing = [read for read in reads if read.content.policies is not None]
    faults = [
        read.located.invalid(
            Fault(
                ("policies",),
                f"policies stand in {writing[0].located.path.name} already",
                "keep them in one file",
            )
        )
        for read in writing[1:]
    ]
    policies = writing[0].content.policies if writing else None
    return policies or Policies(), faults
