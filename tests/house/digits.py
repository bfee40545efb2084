"""Finds where a text is asked `isdigit`, which also says yes to `²`, of which `int` makes no number; pure.

A host that offered `SIZE ²` ended a relay by it. `isdecimal` says yes to what `int` reads, and `isascii` of the same
text beside `isdigit` narrows it to 0 to 9. What makes the number may stand elsewhere and have another name for it, so
each such question counts. Octets know ASCII digits alone: a parameter that is annotated `bytes`, and parts of one.
Before it: a file's text. After it: the house rule.
"""

import ast

__all__ = ["other_digits"]


def other_digits(file: str, text: str) -> list[str]:
    """Each place as `file:line what`."""
    if "isdigit" not in text:  # most files, whose parsing would take seconds
        return []
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    return sorted({f"{file}:{line} {what}" for function in functions for line, what in _found(function)})


def _found(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[tuple[int, str]]:
    asked: dict[str, int] = {}
    narrowed = _octets(function)
    for node in ast.walk(function):
        match node:
            case ast.Call(func=ast.Attribute(value=of, attr="isdigit")):
                asked.setdefault(ast.unparse(_whole(of)), node.lineno)
            case ast.Call(func=ast.Attribute(value=of, attr="isascii")):
                narrowed.add(ast.unparse(_whole(of)))
    return [(line, name) for name, line in asked.items() if name not in narrowed]


def _whole(what: ast.expr) -> ast.expr:
    """Of a part of a text, the text."""
    return _whole(what.value) if isinstance(what, ast.Subscript) and isinstance(what.slice, ast.Slice) else what


def _octets(function: ast.FunctionDef | ast.AsyncFunctionDef) -> set[str]:
    """Names of octets: parameters, and what is set to a part of one."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    found = {one.arg for one in arguments if isinstance(one.annotation, ast.Name) and one.annotation.id == "bytes"}
    for node in ast.walk(function):
        match node:
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=ast.Tuple(elts=values)):
                pairs = list(zip(names, values, strict=False))
            case ast.Assign(targets=[name], value=value):
                pairs = [(name, value)]
            case _:
                continue
        found |= {ast.unparse(name) for name, value in pairs if ast.unparse(_whole(value)) in found}
    return found
