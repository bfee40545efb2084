"""Jinja2 templates of a request, rendered within bounds: no name, loop, filter or number makes one cost more.

What is a template here is a part of Jinja: values, `if`, `for`, `set`, the operators of comparison and arithmetic, and
the filters of `FILTERS`. What the library's sandbox leaves open is closed by what is left out: calls (and with them
attributes of Python objects), macros, inheritance, `~`, `**`, repeated or joined texts, lists made in a template. So no
single step can be long; and every step that remains (a turn of a loop, a filter, a comparison, an output) asks the
meter, which counts output, turns and the thread's own CPU time. Compiling is bounded by the number of tokens.
Invariants: rendering touches nothing but its arguments; the same template and values give the same text, or an error
that says what to mend. Before it: `injection`, in a thread. After it: `compose`.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

from jinja2 import StrictUndefined, Template, TemplateError, Undefined, UndefinedError, nodes
from jinja2.exceptions import SecurityError
from jinja2.runtime import LoopContext
from jinja2.sandbox import SandboxedEnvironment
from markupsafe import Markup, escape

__all__ = ["FILTERS", "BadTemplateError", "Meter", "check_values", "compiled", "rendered"]

MAX_TOKENS: Final = 4000
"""Of one template: a thousand `{{ name }}`. Compiling them takes some 0.1 s, once."""
MAX_SOURCE: Final = 512 * 1024
MAX_OUTPUT: Final = 2**20
"""Characters of one part: ten times what Gmail shows of a mail before it cuts (102 KB)."""
MAX_TURNS: Final = 20_000
"""Of all loops while one message is rendered."""
CPU_A_MESSAGE_S: Final = 0.1
MAX_TEXT: Final = 64 * 1024
"""Characters of one value, so that each step that looks at one is short."""
MAX_VALUES: Final = 10_000
MAX_DEPTH: Final = 20
MAX_NUMBER: Final = 10**15
"""Up to there a float still knows its units."""
_LOOP: Final = frozenset(
    {"index", "index0", "revindex", "revindex0", "first", "last", "length", "depth", "depth0", "previtem", "nextitem"}
)


class BadTemplateError(Exception):
    """A template or its values cannot be rendered; the text says what to mend."""


class Meter:
    """What one message may still cost."""

    __slots__ = ("_deadline", "_output", "_turns")

    def __init__(self, cpu_s: float = CPU_A_MESSAGE_S) -> None:
        """Starts now, on this thread."""
        self._deadline = time.thread_time() + cpu_s
        self._output = 0
        self._turns = 0

    def tick(self) -> None:
        """One step; raises BadTemplateError when the time is over."""
        if time.thread_time() > self._deadline:
            raise BadTemplateError("it takes too long: make loops and filters fewer")

    def turn(self) -> None:
        """One turn of a loop."""
        self._turns += 1
        if self._turns > MAX_TURNS:
            raise BadTemplateError(f"its loops have more than {MAX_TURNS} turns")
        self.tick()

    def put(self, characters: int) -> None:
        """So much output."""
        self._output += characters
        if self._output > MAX_OUTPUT:
            raise BadTemplateError(f"its output is longer than {MAX_OUTPUT} characters")


_meter: ContextVar[Meter] = ContextVar("meter")


def _text(value: Any) -> str:
    """What a filter works on: a text of bounded length; asks the meter."""
    _meter_now().tick()
    if isinstance(value, Undefined):
        str(value)  # raises, with the name
    made = value if isinstance(value, str) else _printed(value)
    if len(made) > MAX_TEXT:
        raise BadTemplateError(f"a value is longer than {MAX_TEXT} characters")
    return made


def _meter_now() -> Meter:
    """The message's meter; while a template is compiled, and constants are computed, one of its own."""
    return _meter.get(None) or Meter()


def _printed(value: Any) -> Any:
    """A value as it stands in the output."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float | Undefined):
        return value if isinstance(value, str | Undefined) else str(value)
    raise BadTemplateError("a list or object cannot be printed: loop over it, or name one of its values")


def _finalize(value: Any) -> Any:
    _meter_now().tick()
    return _printed(value)


def _counted(values: Any) -> Iterator[Any]:
    """The values of a loop, each turn asking the meter."""
    if isinstance(values, Undefined):
        iter(values)  # raises, with the name
    if not isinstance(values, list | tuple | dict):
        raise BadTemplateError("a loop is over a list, or over the names of an object")
    meter = _meter_now()
    for one in values:
        meter.turn()
        yield one


def _ticked(value: Any) -> Any:
    _meter_now().tick()
    return value


def _number(value: Any, kind: type[int] | type[float]) -> Any:
    try:
        return kind(value)
    except (TypeError, ValueError, OverflowError):
        raise BadTemplateError(f"{_text(value)[:40]!r} is no number") from None


def _default(value: Any, other: Any = "", if_false: bool = False) -> Any:
    return other if isinstance(value, Undefined) or (if_false and not value) else value


def _replace(value: Any, old: str, new: str) -> str:
    text, old, new = _text(value), _text(old), _text(new)
    if len(text) + (text.count(old) * (len(new) - len(old))) > MAX_TEXT:
        raise BadTemplateError(f"replace makes more than {MAX_TEXT} characters")
    return text.replace(old, new)


def _join(values: Any, between: str = "") -> str:
    between = _text(between)
    parts = [_text(one) for one in _counted(values)]
    if sum(map(len, parts)) + len(between) * len(parts) > MAX_TEXT:
        raise BadTemplateError(f"join makes more than {MAX_TEXT} characters")
    return between.join(parts)


def _truncate(value: Any, length: int = 255, end: str = "…") -> str:
    text = _text(value)
    return text if len(text) <= length else text[: max(0, int(length) - len(end))].rstrip() + _text(end)


def _length(value: Any) -> int:
    if isinstance(value, Undefined) or not isinstance(value, str | list | tuple | dict):
        _text(value)
        raise BadTemplateError("length is of a text, a list or an object")
    return len(value)


def _end(value: Any, at: int) -> Any:
    if not isinstance(value, list | tuple | str) or not value:
        raise BadTemplateError("first and last are of a list or text that is not empty")
    return value[at]


def _fixed(value: Any, places: int = 2) -> str:
    if not 0 <= int(places) <= 15:
        raise BadTemplateError("fixed takes 0 to 15 places")
    return f"{_limited(_number(value, float)):.{int(places)}f}"


def _round(value: Any, places: int = 0) -> float:
    return round(float(_limited(_number(value, float))), max(-15, min(15, int(places))))


FILTERS: Final[Mapping[str, Any]] = {
    "abs": lambda value: abs(_number(value, float)) if isinstance(value, float) else abs(_number(value, int)),
    "capitalize": lambda value: _text(value).capitalize(),
    "count": _length,
    "d": _default,
    "default": _default,
    "e": lambda value: escape(value if isinstance(value, Markup) else _text(value)),
    "escape": lambda value: escape(value if isinstance(value, Markup) else _text(value)),
    "first": lambda value: _end(value, 0),
    "fixed": _fixed,
    "float": lambda value: _number(value, float),
    "int": lambda value: _number(value, int),
    "join": _join,
    "last": lambda value: _end(value, -1),
    "length": _length,
    "lower": lambda value: _text(value).lower(),
    "replace": _replace,
    "round": _round,
    "safe": lambda value: Markup(_text(value)),  # noqa: S704 -- the author of the template says so
    "string": _text,
    "title": lambda value: _text(value).title(),
    "trim": lambda value: _text(value).strip(),
    "truncate": _truncate,
    "upper": lambda value: _text(value).upper(),
    "urlencode": lambda value: quote(_text(value), safe=""),
}
"""Every filter there is; each is bounded by the length of its values. `fixed(2)` writes 3.5 as 3.50."""
_TESTS: Final = ("defined", "undefined", "none", "string", "number", "mapping", "odd", "even", "divisibleby")
_ALLOWED: Final = (
    nodes.Template, nodes.Output, nodes.TemplateData, nodes.Name, nodes.Const, nodes.Getattr, nodes.Getitem,
    nodes.If, nodes.For, nodes.Assign, nodes.CondExpr, nodes.And, nodes.Or, nodes.Not, nodes.Compare, nodes.Operand,
    nodes.Add, nodes.Sub, nodes.Mul, nodes.Div, nodes.FloorDiv, nodes.Mod, nodes.Neg, nodes.Pos, nodes.Filter,
    nodes.Test, nodes.Tuple, nodes.List, nodes.Keyword,
)  # fmt: skip
_FORMS: Final = "{{ value }}, filters, {% if %}, {% for %} and {% set %}"


def _limited(number: Any) -> int | float:
    if isinstance(number, bool) or not isinstance(number, int | float):
        if isinstance(number, Undefined):
            str(number)  # raises, with the name
        raise BadTemplateError("arithmetic is for numbers: texts are joined by writing them side by side")
    if not -MAX_NUMBER <= number <= MAX_NUMBER:  # true of nan as well
        raise BadTemplateError("a number is beyond 1e15")
    return number


class _Bounded(SandboxedEnvironment):
    """Names lead to values of the request and nowhere else."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%"})

    def __init__(self, *, html: bool) -> None:
        super().__init__(
            autoescape=html,
            undefined=StrictUndefined,
            finalize=_finalize,
            optimized=False,
            cache_size=0,
            keep_trailing_newline=True,
        )
        tests = {name: self.tests[name] for name in _TESTS}
        self.globals.clear()
        self.filters.clear()
        self.filters.update(FILTERS)
        self.filters.update({"_counted": _counted, "_ticked": _ticked})
        self.tests.clear()
        self.tests.update(tests)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """`a.b` is `a["b"]`; of Python's own attributes there are only those of `loop`."""
        if isinstance(obj, LoopContext) and attribute in _LOOP:
            return getattr(obj, attribute)
        return self.getitem(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """A value inside a list or an object of the request."""
        if isinstance(obj, dict) and isinstance(argument, str) and argument in obj:
            return obj[argument]
        if isinstance(obj, list) and isinstance(argument, int) and -len(obj) <= argument < len(obj):
            return obj[argument]
        if isinstance(obj, Undefined):
            return obj[argument]  # raises, with the name
        return self.undefined(f"{str(argument)[:40]!r} is undefined")

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """Arithmetic of bounded numbers."""
        _limited(left)
        _limited(right)
        if operator in ("/", "//", "%") and not right:
            raise BadTemplateError("division by zero")
        return _limited(super().call_binop(context, operator, left, right))


_ENVIRONMENTS: Final = {html: _Bounded(html=html) for html in (False, True)}


@lru_cache(maxsize=64)
def compiled(source: str, *, html: bool) -> Template:
    """The template of a text, kept for the next request; raises BadTemplateError that names the line."""
    if len(source) > MAX_SOURCE:
        raise BadTemplateError(f"a template is longer than {MAX_SOURCE} characters: use template: None")
    environment = _ENVIRONMENTS[html]
    try:
        for count, _ in enumerate(environment.lex(source)):
            if count > MAX_TOKENS * 2:  # blanks inside tags are tokens here
                raise BadTemplateError(f"it has more than {MAX_TOKENS} tokens: make it shorter")
        tree = environment.parse(source)
        _judge(tree)
        _meter_turns(tree)
        code = environment.compile(tree)
        return Template.from_code(environment, code, {})
    except TemplateError as failed:
        raise BadTemplateError(f"line {getattr(failed, 'lineno', 0)}: {failed}") from None
    except (RecursionError, SyntaxError, MemoryError, ValueError, OverflowError) as failed:
        raise BadTemplateError(f"it cannot be compiled: {type(failed).__name__}") from None


def _judge(tree: nodes.Template) -> None:
    for node in _every(tree):
        if not isinstance(node, _ALLOWED) or (isinstance(node, nodes.For) and node.recursive):
            what = type(node).__name__
            raise BadTemplateError(f"line {node.lineno}: {what} is not part of templates here; there are {_FORMS}")
        if isinstance(node, nodes.List | nodes.Tuple) and not (
            all(isinstance(item, nodes.Const) for item in node.items) or _is_target(node)
        ):
            raise BadTemplateError(f"line {node.lineno}: a list in a template holds texts and numbers only")
        if isinstance(node, nodes.Filter) and node.name.startswith("_"):
            raise BadTemplateError(f"line {node.lineno}: no filter named {node.name!r}")


def _is_target(node: nodes.Node) -> bool:
    return isinstance(node, nodes.Tuple) and node.ctx == "store"


def _every(tree: nodes.Node) -> Iterable[nodes.Node]:
    """All nodes, without recursion."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        waiting.extend(node.iter_child_nodes())


def _meter_turns(tree: nodes.Template) -> None:
    """Puts the meter where a step may be long or many."""
    for node in list(_every(tree)):
        if isinstance(node, nodes.For):
            node.iter = _through("_counted", node.iter)
        elif isinstance(node, nodes.Compare):
            node.expr = _through("_ticked", node.expr)


def _through(name: str, value: nodes.Node) -> nodes.Filter:
    assert isinstance(value, nodes.Expr)  # noqa: S101 -- what is looped over or compared is one
    return nodes.Filter(value, name, [], [], None, None, lineno=value.lineno, environment=value.environment)


def check_values(values: Mapping[str, Any]) -> None:
    """Refuses substitutions that would make single steps long; raises BadTemplateError."""
    waiting: list[tuple[Any, int]] = [(values, 0)]
    seen = 0
    while waiting:
        value, depth = waiting.pop()
        seen += 1
        if seen > MAX_VALUES:
            raise BadTemplateError(f"there are more than {MAX_VALUES} values")
        if isinstance(value, str):
            if len(value) > MAX_TEXT:
                raise BadTemplateError(f"a value is longer than {MAX_TEXT} characters")
        elif isinstance(value, int | float):
            continue
        elif depth >= MAX_DEPTH:
            raise BadTemplateError(f"values are nested deeper than {MAX_DEPTH}")
        elif isinstance(value, dict):
            waiting.extend((one, depth + 1) for one in value.values())
        elif isinstance(value, list):
            waiting.extend((one, depth + 1) for one in value)


def rendered(template: Template, values: Mapping[str, Any], meter: Meter) -> str:
    """The text for these values; raises BadTemplateError."""
    token = _meter.set(meter)
    parts: list[str] = []
    try:
        for part in template.generate(values):
            meter.put(len(part))
            parts.append(part)
    except UndefinedError as failed:
        raise BadTemplateError(f"{failed.message}: give it in substitutions, or write |default('')") from None
    except (SecurityError, TemplateError, TypeError, ValueError, ArithmeticError, RecursionError) as failed:
        raise BadTemplateError(f"{type(failed).__name__}: {failed}"[:200]) from None
    finally:
        _meter.reset(token)
    return "".join(parts)
