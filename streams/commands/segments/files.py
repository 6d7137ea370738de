"""Segments in the rulebook's files: added and taken out as text, so that comments stay."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml
from pydantic import ValidationError

from schemas.conditions import faults_of
from schemas.errors import ConfigInvalid
from schemas.faults import suggest
from schemas.segments import PREFIX, Segment, SegmentTag
from streams.authoring.load import TEST_SUFFIX, load_rulebook
from streams.authoring.plan import load_plan
from streams.core.rulebook import Rulebook

FILE: Final = "segments.yaml"
_HEAD: Final = (
    "# Segments of users, by conditions over tags; `siyu segment define` writes here, too.\n"
)


@dataclass(frozen=True, slots=True)
class Segments:
    """The segments of a rulebook's folder, under a tracking plan."""

    folder: Path
    plan: Path

    def load(self) -> Rulebook:
        """Return the rulebook; raises ``ConfigInvalid``."""
        return load_rulebook(self.folder, load_plan(self.plan))

    def add(self, segment: Segment, *, replace: bool) -> Path:
        """Write a segment into its file; raises ``ConfigInvalid`` and leaves all as it was."""
        place = self._places().get(segment.id)
        if place is not None and not replace:
            hint = "--replace puts this in its place"
            raise ConfigInvalid(
                place[0], f"the segment {segment.id} is there", hint=hint, line=place[1] + 1
            )
        path = place[0] if place is not None else self._file()
        before = path.read_text("utf-8") if path.exists() else ""
        lines = before.splitlines(keepends=True)
        if place is not None:
            _, start, stop, indent = place
            lines[start:stop] = [_item(segment, indent)]
        else:
            at, indent = _end_of_list(path, before)
            if before and not before.endswith("\n"):
                lines[-1] += "\n"
            head = [] if _has_list(before) else ["segments:\n"]
            lines[at:at] = [*([] if before else [_HEAD]), *head, _item(segment, indent)]
        self._write(path, before, "".join(lines))
        return path

    def drop(self, segment_id: str) -> Path:
        """Take a segment out; raises ``ConfigInvalid``, also where something still reads it."""
        places = self._places()
        if segment_id not in places:
            hint = suggest(segment_id, places) or "`siyu segment list` shows what there is"
            raise ConfigInvalid(self.folder, f"no segment {segment_id}", hint=hint)
        path, start, stop, _ = places[segment_id]
        before = path.read_text("utf-8")
        lines = before.splitlines(keepends=True)
        del lines[start:stop]
        after = "".join(lines)
        if not (yaml.safe_load(after) or {}).get("segments", True):
            # An empty key is no list.
            after = "".join(line for line in lines if line.rstrip() != "segments:")
        self._write(path, before, after)
        return path

    def _file(self) -> Path:
        if not self.folder.is_dir():
            hint = "a new segment goes to a file of its own"
            raise ConfigInvalid(self.folder, "is no folder", hint=hint)
        return self.folder / FILE

    def _places(self) -> dict[str, tuple[Path, int, int, int]]:
        """Return by id: the file, the first line of the item, the line behind it, its column."""
        whole = self.folder.is_file()
        files = [self.folder] if whole else sorted(self.folder.rglob("*.y*ml"))
        return {
            segment_id: (path, *place)
            for path in files
            if not path.name.endswith(TEST_SUFFIX)
            for segment_id, place in _items(path).items()
        }

    def _write(self, path: Path, before: str, after: str) -> None:
        existed = path.exists()
        _replace(path, after)
        try:
            self.load()
        except ConfigInvalid:
            _replace(path, before) if existed else path.unlink()
            raise


def segment_of(rulebook: Rulebook, segment_id: str) -> SegmentTag:
    """Return a segment by its id; raises ``ConfigInvalid`` with the nearest one."""
    by_id = {tag.id.removeprefix(PREFIX): tag for tag in segments_of(rulebook)}
    if segment_id not in by_id:
        hint = suggest(segment_id, by_id) or f"there are {', '.join(by_id) or 'none'}"
        raise ConfigInvalid("segment", f"no segment is called {segment_id}", hint=hint)
    return by_id[segment_id]


def read_segment(segment_id: str, where: str, description: str = "") -> Segment:
    """Return a segment of what somebody typed; ``where`` is YAML. Raises ``ConfigInvalid``."""
    try:
        condition = yaml.safe_load(where)
        return Segment(id=segment_id, where=condition, description=description)
    except yaml.YAMLError as bad:
        raise ConfigInvalid("--where", f"not YAML: {bad}") from bad
    except ValidationError as invalid:
        error = invalid.errors()[0]
        for fault in faults_of(error):
            where = ".".join(("--where", *map(str, fault.place)))
            raise ConfigInvalid(where, fault.problem, hint=fault.hint) from invalid
        option = "--where" if error["loc"] and error["loc"][0] == "where" else "segment id"
        hint = "'{tag.gmv_30d: {gte: 1000}}'" if option == "--where" else "lower case, digits, _"
        raise ConfigInvalid(option, error["msg"], hint=hint) from invalid


def segments_of(rulebook: Rulebook) -> list[SegmentTag]:
    """Return the segments of a rulebook."""
    return [tag for tag in rulebook.tags if isinstance(tag, SegmentTag)]


def _list_node(text: str) -> yaml.SequenceNode | None:
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        return None
    lists = [value for key, value in root.value if key.value == "segments"]
    return lists[0] if lists and isinstance(lists[0], yaml.SequenceNode) else None


def _has_list(text: str) -> bool:
    return _list_node(text) is not None


def _items(path: Path) -> dict[str, tuple[int, int, int]]:
    text = path.read_text("utf-8")
    node = _list_node(text)
    if node is None or node.flow_style:
        return {}
    lines = text.splitlines()
    found = {}
    for item in node.value:
        ids = [value.value for key, value in item.value if key.value == "id"]
        start, stop = item.start_mark.line, item.end_mark.line
        # The parser ends a block at the next token: comments in between are the next one's.
        while stop > start + 1 and lines[stop - 1 : stop] and _is_aside(lines[stop - 1]):
            stop -= 1
        found[ids[0]] = (start, max(stop, start + 1), node.start_mark.column)
    return found


def _is_aside(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _end_of_list(path: Path, text: str) -> tuple[int, int]:
    """Return the line behind the last segment of a file, and the column of its items."""
    node = _list_node(text)
    if node is None:
        return len(text.splitlines()), 0
    if node.flow_style:
        hint = "write it with a line for each: - {id: ...}"
        raise ConfigInvalid(path, "segments is one line", hint=hint, line=node.start_mark.line + 1)
    return max(stop for _, stop, _ in _items(path).values()), node.start_mark.column


def _item(segment: Segment, indent: int) -> str:
    data: dict[str, Any] = {"id": segment.id}
    if segment.description:
        data["description"] = segment.description
    data["where"] = segment.where.raw
    text: str = yaml.safe_dump(
        [data], sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )
    return "".join(" " * indent + line for line in text.splitlines(keepends=True))


def _replace(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".tmp")
    part.write_text(text, "utf-8")
    part.replace(path)
