"""Compile conditions and paths into Python functions, by building ``ast`` nodes.

Nothing an author writes becomes source text: texts and numbers go in as constants,
names of fields come from a fixed list. The functions see no builtins, only the
helpers below. Measured 0.1 to 0.6 µs a condition.
"""

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from schemas.conditions import ORDERED, Compare, Group, Node, Not, Ref, Scalar, leaves
from schemas.events import Event

Getter = Callable[[Event], object]
Predicate = Callable[[Event], bool]
Chooser = Callable[[Event], list[Any]]
ReadTag = Callable[[str], object]
TagPredicate = Callable[[ReadTag], bool]
Note = Callable[[int, object, object, object], object]
NUMBERS: Final = frozenset({int, float})
_AST_OPS: Final[dict[str, type[ast.cmpop]]] = {
    "eq": ast.Eq,
    "gt": ast.Gt,
    "gte": ast.GtE,
    "lt": ast.Lt,
    "lte": ast.LtE,
}


def equal(left: object, right: object) -> bool:
    """Equality as JSON has it: true is not 1, and a text is never a number."""
    if type(left) is type(right):
        return left == right
    return type(left) in NUMBERS and type(right) in NUMBERS and left == right


def _comparable(left: object, right: object) -> bool:
    if type(left) in NUMBERS:
        return type(right) in NUMBERS
    return type(left) is str and type(right) is str


def _ordered(op: str) -> Callable[[object, object], bool]:
    def compare(left: object, right: object) -> bool:
        if not _comparable(left, right):
            return False
        a, b = cast("float", left), cast("float", right)  # two texts order just as well
        return {"gt": a > b, "gte": a >= b, "lt": a < b, "lte": a <= b}[op]

    return compare


def _not_equal(left: object, right: object) -> bool:
    return left is not None and right is not None and not equal(left, right)


def _has(left: object, right: object) -> bool:
    # Of a mapping (counts by key) the keys are what it has.
    return isinstance(left, list | tuple | dict) and any(equal(item, right) for item in left)


def _in(left: object, right: object) -> bool:
    return any(equal(left, choice) for choice in cast("tuple[Scalar, ...]", right))


def _starts_with(left: object, right: object) -> bool:
    return isinstance(left, str) and isinstance(right, str) and left.startswith(right)


def _both(left: object, right: object) -> bool:
    return left is not None and equal(left, right)


HELPERS: Final[dict[str, Callable[[object, object], bool]]] = {
    "eq": _both,
    "ne": _not_equal,
    "in": _in,
    "has": _has,
    "starts_with": _starts_with,
    **{op: _ordered(op) for op in ORDERED},
}


@dataclass(frozen=True, slots=True)
class Audience:
    """A condition that says what it saw: ``holds(event, read_tag, note)``.

    ``note(i, left, right, ok)`` is called for each comparison made, ``texts[i]`` is its text.
    """

    holds: Callable[[Event, ReadTag, Note], object]
    texts: tuple[str, ...]


def predicate(node: Node) -> Predicate | None:
    """Return the function of a ``where``; ``None`` if it asks nothing."""
    if _asks_nothing(node):
        return None
    return cast("Predicate", _function(["e"], _Emitter().node(node)))


def chooser(choices: Sequence[tuple[Node | None, object]]) -> Chooser:
    """Return the function that lists, in order, the choices whose condition an event meets.

    One function for all: what several conditions read of an event is read once.
    """
    emitter = _Emitter(shared={})
    chosen = _name("chosen")
    scope: dict[str, object] = {f"choice_{i}": choice for i, (_, choice) in enumerate(choices)}
    body: list[ast.stmt] = []
    for i, (node, _) in enumerate(choices):
        add: ast.stmt = ast.Expr(
            _call(ast.Attribute(chosen, "append", ast.Load()), _name(f"choice_{i}"))
        )
        if node is None or _asks_nothing(node):
            body.append(add)
        else:
            body.append(ast.If(emitter.node(node), [add], []))
    start = ast.Assign([ast.Name("chosen", ast.Store())], ast.List([], ast.Load()))
    body = [*emitter.reads(), start, *body, ast.Return(chosen)]
    return cast("Chooser", _defined(["e"], body, scope))


def _asks_nothing(node: Node) -> bool:
    return isinstance(node, Group) and not node.parts


def tag_predicate(node: Node) -> TagPredicate:
    """Return the function of a condition that reads tags and nothing of an event."""
    return cast("TagPredicate", _function(["t"], _Emitter().node(node)))


def audience(node: Node) -> Audience | None:
    """Return the traced function of an audience; ``None`` if it asks nothing."""
    if _asks_nothing(node):
        return None
    body = _Emitter(traced=True).node(node)
    holds = cast("Callable[[Event, ReadTag, Note], object]", _function(["e", "t", "c"], body))
    return Audience(holds, tuple(str(leaf) for leaf in leaves(node)))


def getter(ref: Ref) -> Getter:
    """Return the function that reads a path of an event; ``None`` where it is missing."""
    return cast("Getter", _function(["e"], _Emitter().value(ref)))


def _function(names: list[str], body: ast.expr) -> Callable[..., object]:
    return _defined(names, [ast.Return(body)], {})


def _defined(
    names: list[str], body: list[ast.stmt], more: Mapping[str, object]
) -> Callable[..., object]:
    arguments = ast.arguments(
        posonlyargs=[],
        args=[ast.arg(name) for name in names],
        kwonlyargs=[],
        kw_defaults=[],
        defaults=[],
    )
    definition = ast.FunctionDef("compiled", arguments, body, [])
    tree = ast.fix_missing_locations(ast.Module([definition], []))
    scope: dict[str, object] = {
        "__builtins__": {},
        "type_": type,
        "N": NUMBERS,
        "S": str,
        "D": dict,
        **{f"op_{name}": helper for name, helper in HELPERS.items()},
        **more,
    }
    exec(compile(tree, "<rulebook>", "exec"), scope)  # noqa: S102 - our own nodes, no author's text
    return cast("Callable[..., object]", scope["compiled"])


def _name(name: str) -> ast.Name:
    return ast.Name(name, ast.Load())


def _call(function: ast.expr, *args: ast.expr) -> ast.Call:
    return ast.Call(function, list(args), [])


def _test(left: ast.expr, op: ast.cmpop, right: ast.expr) -> ast.Compare:
    return ast.Compare(left, [op], [right])


class _Emitter:
    """Builds the expressions of one function, with a fresh local for each value it keeps.

    ``shared`` gathers what is read of the event by its path, to be read first and once.
    """

    def __init__(
        self, *, traced: bool = False, shared: dict[tuple[str, str], str] | None = None
    ) -> None:
        self._traced, self._locals, self._leaves = traced, 0, 0
        self._shared = shared

    def reads(self) -> list[ast.stmt]:
        """Return the statements that read what is shared."""
        shared = self._shared or {}
        statements: list[ast.stmt] = []
        for root in dict.fromkeys(root for root, _ in shared):
            read = ast.Attribute(_name("e"), root, ast.Load())
            statements.append(ast.Assign([ast.Name(f"of_{root}", ast.Store())], read))
        for (root, step), name in shared.items():
            value = self._get(_name(f"of_{root}"), step)
            statements.append(ast.Assign([ast.Name(name, ast.Store())], value))
        return statements

    def node(self, node: Node) -> ast.expr:
        if isinstance(node, Compare):
            return self._leaf(node)
        if isinstance(node, Not):
            return ast.UnaryOp(ast.Not(), self.node(node.part))
        if not node.parts:
            return ast.Constant(node.every)
        if len(node.parts) == 1:
            return self.node(node.parts[0])
        return ast.BoolOp(ast.And() if node.every else ast.Or(), [self.node(p) for p in node.parts])

    def value(self, ref: Ref) -> ast.expr:
        value: ast.expr = ast.Attribute(_name("e"), ref.root, ast.Load())
        if ref.root == "tag":
            value = _call(_name("t"), ast.Constant(ref.path[0]))
        for depth, step in enumerate(ref.path):
            if depth == 0:
                value = value if ref.root == "tag" else self._first(value, ref.root, step)
                continue
            # Only the root is surely a mapping: what an event nests may be anything.
            kept, again = self._keep(value)
            is_mapping = _test(_call(_name("type_"), kept), ast.Is(), _name("D"))
            value = ast.IfExp(is_mapping, self._get(again, step), ast.Constant(None))
        return value

    def _first(self, mapping: ast.expr, root: str, step: str) -> ast.expr:
        if self._shared is None:
            return self._get(mapping, step)
        return _name(self._shared.setdefault((root, step), f"s{len(self._shared)}"))

    def _get(self, mapping: ast.expr, key: str) -> ast.expr:
        return _call(ast.Attribute(mapping, "get", ast.Load()), ast.Constant(key))

    def _keep(self, value: ast.expr) -> tuple[ast.expr, ast.expr]:
        name = f"v{self._locals}"
        self._locals += 1
        return ast.NamedExpr(ast.Name(name, ast.Store()), value), _name(name)

    def _leaf(self, leaf: Compare) -> ast.expr:
        if not self._traced:
            left, again = self._keep(self.value(leaf.left))
            return self._compare(leaf, left, again, self._right(leaf))
        index = self._leaves
        self._leaves += 1
        left, again = self._keep(self.value(leaf.left))
        right, right_again = self._keep(self._right(leaf))
        test = self._compare(leaf, again, again, right_again)
        return _call(_name("c"), ast.Constant(index), left, right, test)

    def _right(self, leaf: Compare) -> ast.expr:
        if isinstance(leaf.right, Ref):
            return self.value(leaf.right)
        if isinstance(leaf.right, tuple):
            return ast.Tuple([ast.Constant(choice) for choice in leaf.right], ast.Load())
        return ast.Constant(leaf.right)

    def _compare(self, leaf: Compare, left: ast.expr, again: ast.expr, right: ast.expr) -> ast.expr:
        """Emit a test; the common ones on a constant need no call of a helper."""
        if leaf.op == "exists":
            is_there: ast.cmpop = ast.IsNot() if leaf.right is True else ast.Is()
            return _test(left, is_there, ast.Constant(None))
        kind = type(leaf.right)
        if leaf.op in _AST_OPS and (kind in NUMBERS or kind is str):
            op: ast.cmpop = ast.In() if kind in NUMBERS else ast.Is()
            typed = _test(_call(_name("type_"), left), op, _name("N" if kind in NUMBERS else "S"))
            return ast.BoolOp(ast.And(), [typed, _test(again, _AST_OPS[leaf.op](), right)])
        return _call(_name(f"op_{leaf.op}"), left, right)
