"""Finds where a test puts something in the place of our own code, under whatever name it imported it; pure.

It follows imports with their aliases, names for what was imported, `import_module`, and dotted names in strings.
Objects that a test made are its own, and what they are is not followed.
Before it: a file's text. After it: the house rule.
"""

import ast
from collections.abc import Iterator

__all__ = ["mocked"]

_OURS = ("lane_api", "lane_operator", "lane_relay")
_PATCHES = ("setattr", "delattr", "setitem", "delitem", "patch", "object")
"""Of pytest's monkeypatch, of the builtins, and of `mocker`."""
_MOCKS = ("unittest.mock", "mock", "pytest_mock")


def mocked(file: str, text: str) -> list[str]:
    """Each place as `file:line what`."""
    tree = ast.parse(text)
    names = _names(tree)
    return sorted(f"{file}:{line} {what}" for line, what in _found(tree, names))


def _names(tree: ast.Module) -> dict[str, str]:
    """What each name of the file that stands for an import, or a part of one, leads to."""
    names: dict[str, str] = {}
    nodes = list(ast.walk(tree))
    for node in nodes:
        if isinstance(node, ast.Import):
            for one in node.names:
                names[one.asname or one.name.partition(".")[0]] = one.name if one.asname else one.name.partition(".")[0]
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {one.asname or one.name: f"{node.module}.{one.name}" for one in node.names}
    for node in nodes:
        if isinstance(node, ast.Assign) and (origin := _origin(node.value, names)):
            names |= {target.id: origin for target in node.targets if isinstance(target, ast.Name)}
    return names


def _origin(node: ast.expr | None, names: dict[str, str]) -> str:
    """The dotted name of what an expression stands for; empty if no import leads to it."""
    match node:
        case ast.Name(id=name):
            return names.get(name, "")
        case ast.Attribute(value=value, attr=attr):
            of = _origin(value, names)
            return f"{of}.{attr}" if of else ""
        case ast.Call(func=function, args=[ast.Constant(value=str(module)), *_]):
            return module if _origin(function, names) == "importlib.import_module" else ""
    return ""


def _is_ours(dotted: str) -> bool:
    return dotted.partition(".")[0] in _OURS


def _found(tree: ast.Module, names: dict[str, str]) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Import() if any(one.name in _MOCKS for one in node.names):
                yield node.lineno, "a mock library"
            case ast.ImportFrom(module=module) if any(
                name in _MOCKS for name in (module, *[f"{module}.{one.name}" for one in node.names])
            ):
                yield node.lineno, "a mock library"
            case ast.Call() if _name_of(node.func) in _PATCHES and _is_ours(target := _target(node, names)):
                yield node.lineno, target
            case ast.Assign(targets=targets):
                yield from ((node.lineno, target) for one in targets if (target := _set(one, names)))
            case ast.AugAssign(target=one) | ast.AnnAssign(target=one) if target := _set(one, names):
                yield node.lineno, target


def _name_of(function: ast.expr) -> str:
    match function:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _target(call: ast.Call, names: dict[str, str]) -> str:
    """What is patched: the first argument, by its place or its name."""
    first = next((one.value for one in call.keywords if one.arg in ("target", "dic", "obj")), None)
    first = call.args[0] if call.args else first
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else _origin(first, names)


def _set(target: ast.expr, names: dict[str, str]) -> str:
    """The dotted name of an attribute of ours that is assigned to, or empty."""
    origin = _origin(target, names) if isinstance(target, ast.Attribute) else ""
    return origin if _is_ours(origin) else ""
