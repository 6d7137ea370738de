"""YAML with places: plain data, and the line of every value for errors."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import yaml

from schemas.errors import ConfigInvalid
from schemas.faults import Fault, Place

MAX_DEPTH: Final = 40
# Aliases can make a short file endless.
MAX_VALUES: Final = 100_000


@dataclass(frozen=True, slots=True)
class Located:
    """The data of one file and the line, from 1, of each value by its path."""

    path: Path
    data: object
    lines: dict[Place, int] = field(default_factory=dict)

    def line(self, place: Place) -> int | None:
        """Return the line of a place; steps that only a validator knows are passed over."""
        return self.lines.get(self.nearest(place))

    def invalid(self, fault: Fault, subject: str = "") -> ConfigInvalid:
        """Return the error of a fault somewhere in the file; ``subject`` says of what it is."""
        problem = f"{subject}: {fault.problem}" if subject else fault.problem
        line = self.line(fault.place)
        return ConfigInvalid(self.path, problem, hint=fault.hint, line=line)

    def nearest(self, place: Place) -> Place:
        """Return the part of a place that the file holds."""
        here: Place = ()
        for step in place:
            if (*here, step) in self.lines:
                here = (*here, step)
        return here


def yaml_files(path: Path) -> list[Path]:
    """Return the YAML files of a folder in their order, or the one file."""
    return [path] if path.is_file() else sorted([*path.rglob("*.yaml"), *path.rglob("*.yml")])


def read_yaml(path: Path) -> Located:
    """Return a file's data; raises ``ConfigInvalid`` with the line of what is not plain YAML."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as unreadable:
        raise ConfigInvalid(path, f"cannot be read: {unreadable}") from unreadable
    located = Located(path, None)
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        data = _Builder(loader, located).build(root, (), 0) if root is not None else {}
    except yaml.MarkedYAMLError as bad:
        line = bad.problem_mark.line + 1 if bad.problem_mark else None
        raise ConfigInvalid(path, f"not YAML: {bad.problem}", line=line) from bad
    except yaml.reader.ReaderError as bad:
        line = text.count("\n", 0, bad.position) + 1
        problem = f"not YAML: the character U+{bad.character:04X} may not stand in it"
        raise ConfigInvalid(path, problem, hint="take it out", line=line) from bad
    except yaml.YAMLError as bad:
        raise ConfigInvalid(path, f"not YAML: {bad}") from bad
    except RecursionError as bad:
        raise ConfigInvalid(path, f"over {MAX_DEPTH} levels or {MAX_VALUES} values") from bad
    return Located(path, data, located.lines)


class _Builder:
    """Turns nodes into data; the safe loader alone would drop the lines and duplicate keys."""

    def __init__(self, loader: yaml.SafeLoader, located: Located) -> None:
        self._loader, self._located, self._values = loader, located, 0

    def build(self, node: yaml.Node, place: Place, depth: int) -> object:
        line = node.start_mark.line + 1
        self._located.lines[place] = line
        self._values += 1
        if depth > MAX_DEPTH or self._values > MAX_VALUES:
            problem = f"over {MAX_DEPTH} levels or {MAX_VALUES} values"
            raise ConfigInvalid(self._located.path, problem, line=line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*place, i), depth + 1) for i, item in enumerate(node.value)]
        try:
            return self._loader.construct_object(node)
        except (ValueError, KeyError, IndexError, AttributeError) as bad:
            # What PyYAML raises for a value that does not fit its tag, like `!!bool maybe`.
            problem = f"{node.value}: {bad}" if isinstance(bad, ValueError) else "no such value"
            raise self._wrong(node, problem, "quote it if it is text") from bad

    def _mapping(self, node: yaml.MappingNode, place: Place, depth: int) -> dict[str, object]:
        data: dict[str, object] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node)
            if key in data:
                raise self._wrong(key_node, f"the key {key!r} stands here twice")
            data[key] = self.build(value_node, (*place, key), depth + 1)
            # An error about a pair is best shown where its key stands.
            self._located.lines[(*place, key)] = key_node.start_mark.line + 1
        return data

    def _key(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode):
            raise self._wrong(node, "a key must be a word")
        if node.tag == "tag:yaml.org,2002:bool":
            hint = "use `trigger:`" if node.value == "on" else "quote it"
            raise self._wrong(node, f"YAML reads the key `{node.value}` as true or false", hint)
        if node.tag != "tag:yaml.org,2002:str":
            raise self._wrong(node, f"the key `{node.value}` is not text", "quote it")
        return str(node.value)

    def _wrong(self, node: yaml.Node, problem: str, hint: str = "") -> ConfigInvalid:
        line = node.start_mark.line + 1
        return ConfigInvalid(self._located.path, problem, hint=hint, line=line)
