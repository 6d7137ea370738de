"""Words that stood for too many things: no name of the product holds one of them."""

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
FOLDERS: Final = ("schemas", "streams", "sinks", "deploy")
WORDS: Final = frozenset({"hearing", "held", "told", "shelf", "given", "lean", "arm"})

# ``module: name`` -> why the word is the field's own there.
ALLOWED: Final[Mapping[str, str]] = {}

_PART: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_Function = ast.FunctionDef | ast.AsyncFunctionDef


def _parts(name: str) -> set[str]:
    """Return the words of a name in ``snake_case`` or ``CamelCase``, in lower case."""
    return {part.lower() for part in _PART.findall(name)}


def _names(tree: ast.Module) -> Iterator[str]:
    """Yield the names of classes, functions, parameters and fields; not those of variables."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | _Function):
            yield node.name
        elif isinstance(node, ast.arg):
            yield node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        body = node.body if isinstance(node, ast.ClassDef | ast.Module) else ()
        for statement in body:
            for target in _targets(statement):
                if isinstance(target, ast.Name):
                    yield target.id


def _targets(statement: ast.stmt) -> list[ast.expr]:
    match statement:
        case ast.AnnAssign(target=target):
            return [target]
        case ast.Assign(targets=targets):
            return targets
    return []


def _offenders() -> set[str]:
    offenders = set()
    for path in (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        module = path.relative_to(ROOT).as_posix()
        names = {path.stem, *_names(ast.parse(path.read_text(encoding="utf-8")))}
        offenders |= {f"{module}: {name}" for name in names if _parts(name) & WORDS}
    return offenders


def test_a_word_is_found_in_snake_and_in_camel_case() -> None:
    source = "class HeldEvent:\n  arm_ms: int\n  def f(self, was_told): self.given = warm = 1\n"
    found = {name for name in _names(ast.parse(source)) if _parts(name) & WORDS}
    assert found == {"HeldEvent", "arm_ms", "was_told", "given"}


def test_no_name_holds_a_word_that_stands_for_too_many_things() -> None:
    assert _offenders() - ALLOWED.keys() == set()


def test_no_entry_stays_when_its_name_is_gone() -> None:
    assert ALLOWED.keys() - _offenders() == set()
