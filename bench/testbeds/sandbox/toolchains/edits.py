"""Small edits of one Python function, in families; sandbox bugs are such edits, and repair tools search them."""

import ast
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

FAMILIES = (
    "comparison",
    "boundary",
    "off_by_one",
    "arithmetic",
    "boolean",
    "negation",
    "constant",
    "index",
    "variable",
    "arguments",
    "default",
    "call",
)

_FLIPPED = {
    ast.Lt: ">",
    ast.Gt: "<",
    ast.LtE: ">=",
    ast.GtE: "<=",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.In: "not in",
    ast.NotIn: "in",
    ast.Is: "is not",
    ast.IsNot: "is",
}
_WIDENED = {ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">"}
_TOKENS: dict[type[ast.AST], str] = {
    ast.Lt: "<",
    ast.Gt: ">",
    ast.LtE: "<=",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.In: "in",
    ast.NotIn: "not in",
    ast.Is: "is",
    ast.IsNot: "is not",
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.And: "and",
    ast.Or: "or",
}
_OTHER_OPERATORS: dict[type[ast.AST], tuple[str, ...]] = {
    ast.Add: ("-", "*"),
    ast.Sub: ("+",),
    ast.Mult: ("+", "//"),
    ast.Div: ("*", "//"),
    ast.FloorDiv: ("*", "%", "/"),
    ast.Mod: ("//",),
}
_OTHER_CALLS = {
    "min": "max",
    "max": "min",
    "any": "all",
    "all": "any",
    "lower": "upper",
    "upper": "lower",
    "startswith": "endswith",
    "endswith": "startswith",
    "ljust": "rjust",
    "rjust": "ljust",
    "keys": "values",
    "values": "keys",
    "lstrip": "rstrip",
    "rstrip": "lstrip",
    "isalpha": "isalnum",
    "isalnum": "isalpha",
    "append": "extend",
    "extend": "append",
}


class Edit(NamedTuple):
    """Replace the bytes [start, end) of a UTF-8 source by a text; the family says what kind of mistake it is."""

    start: int
    end: int
    text: str
    family: str


class _Source:
    """A module's bytes with byte offsets for the positions of AST nodes."""

    def __init__(self, source: str) -> None:
        self.data = source.encode()
        self._line_starts = [0]
        for line in self.data.splitlines(keepends=True):
            self._line_starts.append(self._line_starts[-1] + len(line))

    def span(self, node: ast.expr | ast.stmt | ast.arg) -> tuple[int, int]:
        end_line, end_column = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
        start = self._line_starts[node.lineno - 1] + node.col_offset
        return start, self._line_starts[end_line - 1] + end_column

    def text(self, node: ast.expr | ast.stmt) -> str:
        start, end = self.span(node)
        return self.data[start:end].decode()

    def replace(self, node: ast.expr | ast.stmt, text: str, family: str) -> Edit:
        return Edit(*self.span(node), text, family)

    def replace_between(self, left: ast.expr, right: ast.expr, old: str, new: str, family: str) -> Iterator[Edit]:
        """Replace an operator, which has no position of its own, in the gap between its operands."""
        gap_start, gap_end = self.span(left)[1], self.span(right)[0]
        found = self.data.find(old.encode(), gap_start, gap_end)
        if found >= 0:
            yield Edit(found, found + len(old), new, family)


def find_function(tree: ast.Module, name: str) -> ast.FunctionDef | None:
    """The top-level function of a module with a name."""
    for node in tree.body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return node
    return None


def enumerate_edits(source: str, function: str, families: tuple[str, ...] = FAMILIES) -> list[Edit]:
    """Every edit of the families within one top-level function of a module's source, without repetitions."""
    node = find_function(ast.parse(source), function)
    if node is None:
        return []
    found: dict[Edit, None] = {}
    for edit in _edits_of(_Source(source), node):
        if edit.family in families:
            found.setdefault(edit)
    return list(found)


def apply_edits(source: str, edits: tuple[Edit, ...]) -> str | None:
    """The source with the edits made; None when two of them touch each other."""
    data = source.encode()
    ordered = sorted(edits, reverse=True)
    for later, earlier in pairwise(ordered):
        if earlier.end > later.start:
            return None
    for edit in ordered:
        data = data[: edit.start] + edit.text.encode() + data[edit.end :]
    return data.decode()


def _edits_of(source: _Source, function: ast.FunctionDef) -> Iterator[Edit]:
    names = sorted(_local_names(function))
    strings = sorted(_short_strings(function))
    for value in [*function.args.defaults, *(value for value in function.args.kw_defaults if value)]:
        yield from _constant_edits(source, value, strings, "default", "default")
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    nodes = [node for part in body for node in _walk_code(part)]
    called = {id(node.func) for node in nodes if isinstance(node, ast.Call)}
    places = [node.slice for node in nodes if isinstance(node, ast.Subscript)]
    subscripts = {id(place) for place in places if _whole_number(place) is not None}
    for node in nodes:
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and id(node) not in called:
            yield from (source.replace(node, name, "variable") for name in names if name != node.id)
        elif isinstance(node, ast.Constant) and id(node) not in subscripts:
            yield from _constant_edits(source, node, strings, "off_by_one", "constant")
        else:
            yield from _node_edits(source, node)


def _walk_code(node: ast.AST) -> Iterator[ast.AST]:
    """ast.walk in reading order, without f-strings: Python before 3.12 gives their parts no true position."""
    if isinstance(node, ast.JoinedStr):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _walk_code(child)


def _node_edits(source: _Source, node: ast.AST) -> Iterator[Edit]:
    if isinstance(node, ast.Compare):
        yield from _compare_edits(source, node)
    elif isinstance(node, ast.BinOp):
        for operator in _OTHER_OPERATORS.get(type(node.op), ()):
            yield from source.replace_between(node.left, node.right, _TOKENS[type(node.op)], operator, "arithmetic")
        yield from _one_more_or_less(source, node)
        if isinstance(node.op, ast.Sub | ast.Div | ast.FloorDiv | ast.Mod):
            yield from _swap(source, node.left, node.right)
    elif isinstance(node, ast.AugAssign):
        for operator in _OTHER_OPERATORS.get(type(node.op), ()):
            old = _TOKENS[type(node.op)] + "="
            yield from source.replace_between(node.target, node.value, old, operator + "=", "arithmetic")
    elif isinstance(node, ast.BoolOp):
        old, new = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        for left, right in pairwise(node.values):
            yield from source.replace_between(left, right, old, new, "boolean")
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield source.replace(node, source.text(node.operand), "negation")
    elif isinstance(node, ast.If | ast.While | ast.IfExp):
        if not isinstance(node.test, ast.Compare | ast.UnaryOp):
            yield source.replace(node.test, f"not ({source.text(node.test)})", "negation")
            if isinstance(node.test, ast.Name | ast.Call):
                yield source.replace(node.test, f"not {source.text(node.test)}", "negation")
    elif isinstance(node, ast.Subscript):
        yield from _subscript_edits(source, node)
    elif isinstance(node, ast.Call):
        yield from _call_edits(source, node)
    elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
        yield from _swap_neighbours(source, node.value.elts)


def _compare_edits(source: _Source, node: ast.Compare) -> Iterator[Edit]:
    operands = [node.left, *node.comparators]
    for left, operator, right in zip(operands, node.ops, node.comparators, strict=False):
        old = _TOKENS[type(operator)]
        yield from source.replace_between(left, right, old, _FLIPPED[type(operator)], "comparison")
        if type(operator) in _WIDENED:
            yield from source.replace_between(left, right, old, _WIDENED[type(operator)], "boundary")
            if isinstance(right, ast.Name | ast.Call):
                yield source.replace(right, source.text(right) + " + 1", "off_by_one")
                yield source.replace(right, source.text(right) + " - 1", "off_by_one")


def _call_edits(source: _Source, node: ast.Call) -> Iterator[Edit]:
    name = node.func
    if isinstance(name, ast.Name) and name.id in _OTHER_CALLS:
        yield source.replace(name, _OTHER_CALLS[name.id], "call")
    elif isinstance(name, ast.Attribute) and name.attr in _OTHER_CALLS:
        end = source.span(name)[1]
        yield Edit(end - len(name.attr), end, _OTHER_CALLS[name.attr], "call")
    if isinstance(name, ast.Name) and name.id in ("range", "len"):
        grown = [node] if name.id == "len" else [value for value in node.args if isinstance(value, ast.Name | ast.Call)]
        for value in grown:
            yield source.replace(value, source.text(value) + " + 1", "off_by_one")
            yield source.replace(value, source.text(value) + " - 1", "off_by_one")
    yield from _swap_neighbours(source, node.args)


def _subscript_edits(source: _Source, node: ast.Subscript) -> Iterator[Edit]:
    if isinstance(node.slice, ast.Slice):
        for bound in (node.slice.lower, node.slice.upper):
            if isinstance(bound, ast.Name | ast.BinOp | ast.Call):
                yield source.replace(bound, source.text(bound) + " + 1", "index")
                yield source.replace(bound, source.text(bound) + " - 1", "index")
            if isinstance(bound, ast.BinOp):
                yield from _one_more_or_less(source, bound, "index")
        return
    number = _whole_number(node.slice)
    if number is not None:
        for other in sorted({number - 1, number + 1, 0, -1} - {number}):
            yield source.replace(node.slice, str(other), "index")
    elif isinstance(node.slice, ast.Name | ast.BinOp):
        yield source.replace(node.slice, source.text(node.slice) + " + 1", "index")
        yield source.replace(node.slice, source.text(node.slice) + " - 1", "index")
        if isinstance(node.slice, ast.BinOp):
            yield from _one_more_or_less(source, node.slice, "index")


def _one_more_or_less(source: _Source, node: ast.BinOp, family: str = "off_by_one") -> Iterator[Edit]:
    """Drop the one of `x + 1` and `x - 1`."""
    if isinstance(node.op, ast.Add | ast.Sub) and _whole_number(node.right) == 1:
        yield source.replace(node, source.text(node.left), family)


def _constant_edits(
    source: _Source, node: ast.expr, strings: list[str], near_family: str, far_family: str
) -> Iterator[Edit]:
    """Near edits change a number by one; far ones scale it, or put another value of the same type there."""
    value = node.value if isinstance(node, ast.Constant) else None
    if isinstance(value, bool):
        yield source.replace(node, str(not value), far_family)
    elif isinstance(value, int):
        near = {value + 1, value - 1} if value > 0 else {value + 1}
        far = {0, 1, value * 10, value * 2, value // 2, value // 10} - near - {value}
        yield from (source.replace(node, str(number), near_family) for number in sorted(near))
        yield from (source.replace(node, str(number), far_family) for number in sorted(far))
    elif isinstance(value, float):
        for number in sorted({value + 1, value - 1, value * 10, value / 10, value * 2, value / 2} - {value}):
            yield source.replace(node, repr(number), far_family)
    elif isinstance(value, str) and len(value) <= 12:
        yield from (source.replace(node, repr(other), far_family) for other in strings if other != value)


def _swap(source: _Source, left: ast.expr, right: ast.expr) -> Iterator[Edit]:
    (start, left_end), (right_start, end) = source.span(left), source.span(right)
    between = source.data[left_end:right_start].decode()
    if "(" not in between and ")" not in between and source.text(left) != source.text(right):
        yield Edit(start, end, source.text(right) + between + source.text(left), "arguments")


def _swap_neighbours(source: _Source, values: list[ast.expr]) -> Iterator[Edit]:
    for left, right in pairwise(values):
        if not isinstance(left, ast.Starred) and not isinstance(right, ast.Starred):
            yield from _swap(source, left, right)


def _whole_number(node: ast.expr) -> int | None:
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        inner = _whole_number(node.operand)
        return None if inner is None else -inner
    if isinstance(node, ast.Constant) and isinstance(node.value, int) and not isinstance(node.value, bool):
        return node.value
    return None


def _local_names(function: ast.FunctionDef) -> set[str]:
    arguments = function.args
    names = {argument.arg for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]}
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id != "_":
            names.add(node.id)
    return names


def _short_strings(function: ast.FunctionDef) -> set[str]:
    """The strings that code of the function uses; the docstring is not code."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return {
        node.value
        for part in [*body, *function.args.defaults]
        for node in _walk_code(part)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) <= 12
    }
