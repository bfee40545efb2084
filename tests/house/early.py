"""Finds where a test looks at what a relay notes a moment later, as soon as the ISP has its mail; pure.

The ISP has a message before the relay has read its reply: what became of it is counted, written and settled after that.
So what follows a `sink.wait(...)` looks at figures and records by `eventually`, or after one that waited for more.
Before it: a file's text. After it: the house rule.
"""

import ast
from collections.abc import Iterator

__all__ = ["early"]

_NOTED = ("metric", "metrics", "records")
"""What asks a relay for what it notes."""
_WAITING = ("change", "eventually", "kill", "start", "terminate", "until")
"""Whatever waits for the relay itself, or for its end."""


def early(file: str, text: str) -> list[str]:
    """Each place as `file:line what`."""
    if "sink" not in text:  # most files, whose parsing would take seconds
        return []
    return [f"{file}:{line} {what}" for line, what in sorted(_found(ast.parse(text)))]


def _found(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _in_order(node)


def _in_order(function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[tuple[int, str]]:
    """Of what it does in the order of its text."""
    has_arrived = False
    for line, calls in _steps(function.body):
        called = {name for name, _ in calls}
        if called & {*_WAITING}:
            has_arrived = False
        elif has_arrived and (noted := called & {*_NOTED}):
            yield line, min(noted)
        has_arrived |= any(name == "wait" and "sink" in of for name, of in calls)


def _steps(body: list[ast.stmt]) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """Each simple statement, and each head of one that has others, with what it calls; no function in another."""
    for statement in body:
        inner: list[ast.stmt] = []
        head: list[ast.AST] = []
        for node in ast.iter_child_nodes(statement):
            if isinstance(node, ast.stmt):
                inner.append(node)
            elif isinstance(node, ast.ExceptHandler):
                inner += node.body
            else:
                head.append(node)
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        yield statement.lineno, [call for node in head for call in _calls(node)]
        yield from _steps(inner)


def _calls(tree: ast.AST) -> Iterator[tuple[str, str]]:
    """The name of each function that is called, and whose it is."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(id=name)):
                yield name, ""
            case ast.Call(func=ast.Attribute(value=of, attr=name)):
                yield name, ast.unparse(of)
