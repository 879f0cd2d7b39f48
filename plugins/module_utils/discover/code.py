# Copyright (c) 2026 The Slipway authors
# MIT License (see LICENSE)
"""Python source as a syntax tree: names, calls, and the paths that expressions stand for. Nothing is run."""

from __future__ import annotations

import ast
import posixpath
from collections.abc import Collection, Iterator, Mapping
from typing import Any

#: Functions that hand a path on.
_SAME = frozenset(
    {"Path", "str", "PurePath", "os.path.abspath", "os.path.realpath", "os.path.normpath", "pathlib.Path", "path.abspath", "abspath"}
)
#: Deepest expression that is followed.
_DEPTH = 30


def dotted(node: ast.AST) -> str:
    """`os.environ.get` of such an expression; empty for any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def last(node: ast.AST) -> str:
    """The last name of an expression: `get` of `os.environ.get`, also where what stands before is a call."""
    return node.attr if isinstance(node, ast.Attribute) else dotted(node)


def literal(node: ast.AST | None) -> Any:
    """The value of a constant expression; None for any other."""
    try:
        return ast.literal_eval(node) if node is not None else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return None


def text(node: ast.AST | None) -> str:
    """A constant text; empty for anything else."""
    found = literal(node)
    return found if isinstance(found, str) else ""


def keyword(call: ast.Call, *names: str) -> ast.expr | None:
    return next((word.value for word in call.keywords if word.arg in names), None)


def argument(call: ast.Call, position: int, *names: str) -> ast.expr | None:
    """An argument by its place or its name."""
    return call.args[position] if len(call.args) > position else keyword(call, *names)


def stated(node: ast.AST, wanted: Collection[str]) -> ast.expr | None:
    """The value that a statement sets an attribute or a key of one of these names to, or that a call gives an argument."""
    if isinstance(node, ast.Call):
        return keyword(node, *wanted)
    if not isinstance(node, ast.Assign):
        return None
    target = node.targets[0]
    name = target.attr if isinstance(target, ast.Attribute) else text(target.slice) if isinstance(target, ast.Subscript) else ""
    return node.value if name in wanted else None


def calls(node: ast.AST) -> Iterator[ast.Call]:
    return (found for found in ast.walk(node) if isinstance(found, ast.Call))


def statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """What runs when a module is imported: also within if, try and with, but not below `if __name__ == "__main__"`."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.If) and not is_guard(statement):
            yield from statements([*statement.body, *statement.orelse])
        elif isinstance(statement, ast.Try):
            yield from statements(
                [*statement.body, *(inner for handler in statement.handlers for inner in handler.body), *statement.orelse]
            )
        elif isinstance(statement, ast.With):
            yield from statements(statement.body)


def is_guard(statement: ast.If) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(statement.test))


def bindings(body: list[ast.stmt]) -> Iterator[tuple[str, ast.expr]]:
    """Names that are bound at import, and to what."""
    for statement in statements(body):
        if isinstance(statement, ast.Assign):
            yield from ((target.id, statement.value) for target in statement.targets if isinstance(target, ast.Name))
        elif isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name) and statement.value:
            yield statement.target.id, statement.value


def imported(module: ast.Module) -> dict[str, str]:
    """Names that imports bind, wherever they stand: `Env` to `environs.Env`."""
    found: dict[str, str] = {}
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            found.update(
                {
                    (name.asname or name.name.partition(".")[0]): name.name if name.asname else name.name.partition(".")[0]
                    for name in node.names
                }
            )
        elif isinstance(node, ast.ImportFrom):
            before = "." * node.level + (node.module or "")
            found.update({name.asname or name.name: f"{before}.{name.name}" for name in node.names})
    return found


def functions(module: ast.Module) -> Iterator[ast.FunctionDef]:
    return (statement for statement in statements(module.body) if isinstance(statement, ast.FunctionDef))


def own_nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """What a function does itself, without the functions and classes within it."""
    waiting: list[ast.AST] = list(function.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)):
            waiting += list(ast.iter_child_nodes(node))


def dictionary_keys(module: ast.Module) -> Iterator[str]:
    """Constant keys of every dictionary: the names of an app's configurations, for one."""
    for node in ast.walk(module):
        if isinstance(node, ast.Dict):
            yield from (key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str))


def place(node: ast.AST | None, file: str, names: Mapping[str, ast.expr], depth: int = 0) -> str | None:
    """The path that an expression stands for, seen from the top of the tree ('.' is the top itself); absolute ones stay so.

    :arg file: where the expression stands.
    :arg names: what names mean there.
    """
    if node is None or depth > _DEPTH:
        return None

    def again(other: ast.AST | None) -> str | None:
        return place(other, file, names, depth + 1)

    def joined(*parts: str | None) -> str | None:
        known = [part for part in parts if part is not None]
        return posixpath.normpath(posixpath.join(*known)) if known and len(known) == len(parts) else None

    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return posixpath.normpath(node.value) if node.value else None
    if isinstance(node, ast.Name):
        return file if node.id == "__file__" else again(names.get(node.id))
    if isinstance(node, ast.Attribute):
        if node.attr == "parent":
            found = again(node.value)
            return _above(found) if found is not None else None
        return _flask_place(node.attr, file)
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Attribute) and node.value.attr == "parents":
        found, steps = again(node.value.value), literal(node.slice)
        for _ in range(steps + 1 if isinstance(steps, int) else 0):
            found = _above(found) if found is not None else None
        return found
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
        return joined(again(node.left), again(node.right))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = again(node.left), again(node.right)
        return posixpath.normpath(f"{left}{right}") if left is not None and right is not None else None
    if isinstance(node, ast.Call):
        return _called_place(node, again, joined)
    return None


def _called_place(node: ast.Call, again: Any, joined: Any) -> str | None:
    name = dotted(node.func)
    if name in _SAME and node.args:
        found: str | None = joined(*map(again, node.args))
        return found
    if last(node.func) == "dirname" and node.args:
        found = again(node.args[0])
        return _above(found) if found is not None else None
    if last(node.func) in ("join", "joinpath"):
        before = (
            [] if name.endswith("path.join") or name == "join" else [again(node.func.value)] if isinstance(node.func, ast.Attribute) else []
        )
        found = joined(*before, *map(again, node.args))
        return found
    if last(node.func) in ("resolve", "absolute", "expanduser", "as_posix") and isinstance(node.func, ast.Attribute):
        found = again(node.func.value)
        return found
    if last(node.func) in ("get", "getenv", "env", "config", "str", "path"):
        # Read from the environment: the default.
        found = again(argument(node, 1, "default"))
        return found
    return None


def _flask_place(attribute: str, file: str) -> str | None:
    """What Flask makes of `app.root_path` and `app.instance_path` in this file."""
    if attribute == "root_path":
        return _above(file)
    return "instance" if attribute == "instance_path" else None


def _above(path: str) -> str:
    return posixpath.dirname(path) or ("." if not path.startswith("/") else "/")
