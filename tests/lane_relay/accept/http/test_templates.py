"""Templates: what they can say, and that nothing they say costs more than its bound."""

from typing import Any

import pytest

from lane_relay.accept.http.templates import MAX_OUTPUT, BadTemplateError, Meter, check_values, compiled, rendered


def render(source: str, values: dict[str, Any] | None = None, *, html: bool = False) -> str:
    return rendered(compiled(source, html=html), values or {}, Meter())


@pytest.mark.parametrize(
    ("source", "values", "text"),
    [
        ("Hello {{ name }}, {{ code }}", {"name": "Ann", "code": 123456}, "Hello Ann, 123456"),
        ("{{ order.items }} {{ order.lines[1].name }}", {"order": {"items": "x", "lines": [1, {"name": "y"}]}}, "x y"),
        ("{% for x in a %}{{ loop.index }}{{ x }}{% if not loop.last %}, {% endif %}{% endfor %}", {"a": "12"}, None),
        (
            "{% for x in a %}{{ loop.index }}{{ x }}{% if not loop.last %},{% endif %}{% endfor %}",
            {"a": [5, 6]},
            "15,26",
        ),
        ("{% for x in a if x > 1 %}{{ x }}{% else %}none{% endfor %}", {"a": [1, 2, 3]}, "23"),
        ("{% for name in o %}{{ name }}={{ o[name] }} {% endfor %}", {"o": {"a": 1, "b": 2}}, "a=1 b=2 "),
        ("{% if a == 1 and not b %}yes{% elif a in [2, 'x'] %}two{% else %}no{% endif %}", {"a": 2, "b": 0}, "two"),
        (
            "{% set total = price * count %}{{ total|fixed(2) }} {{ total // 2 }}",
            {"price": 3.5, "count": 3},
            "10.50 5.0",
        ),
        ("{{ x|default('y') }}{{ n }}{{ t }}", {"n": None, "t": True}, "ytrue"),
        ("{{ s|upper|trim }} {{ s|replace('a', 'b') }} {{ a|join('-') }}", {"s": "a ", "a": ["p", 1]}, "A b  p-1"),
        ("{{ s|urlencode }} {{ s|truncate(4) }} {{ a|length }} {{ a|first }}", {"s": "a b/c d", "a": [7]}, None),
        ("a\n", {}, "a\n"),
    ],
)
def test_what_a_template_can_say(source: str, values: dict[str, Any], text: str | None) -> None:
    if text is None and isinstance(values.get("a"), str):
        with pytest.raises(BadTemplateError, match="a loop is over a list"):
            render(source, values)
    else:
        assert render(source, values) == (text if text is not None else "a%20b%2Fc%20d a b… 1 7")


def test_html_is_escaped_and_text_is_not() -> None:
    source = "{{ a }} {{ a|safe }} {{ a|upper }}"
    assert render(source, {"a": "<b>&"}) == "<b>& <b>& <B>&"
    assert render(source, {"a": "<b>&"}, html=True) == "&lt;b&gt;&amp; <b>& &lt;B&gt;&amp;"


@pytest.mark.parametrize(
    "source",
    ["{{ nope }}", "{{ a.nope }}", "{{ a.b.c }}", "{% if nope %}{% endif %}", "{% for x in nope %}{% endfor %}",
     "{{ nope|upper }}", "{{ nope + 1 }}", "{{ l[3] }}"],
)  # fmt: skip
def test_a_name_without_a_value_is_an_error_that_names_it(source: str) -> None:
    with pytest.raises(BadTemplateError, match=r"('nope'|'b'|'3') is undefined"):
        render(source, {"a": {}, "l": [1]})


@pytest.mark.parametrize(
    "source",
    ["{{ ''.__class__ }}", "{{ a['__class__'] }}", "{{ a.__init__ }}",
     "{% for x in l %}{{ loop.__class__ }}{% endfor %}",
     "{{ self.__dict__ }}",
     "{{ self }}", "{{ context }}", "{{ environment }}", "{{ ''.join }}", "{{ a.keys }}",
     "{{ cycler }}", "{{ range }}", "{{ namespace }}", "{{ lipsum }}", "{{ _meter }}"],
)  # fmt: skip
def test_no_name_leads_out_of_the_values(source: str) -> None:
    with pytest.raises(BadTemplateError):
        render(source, {"a": {}, "l": [1]})


@pytest.mark.parametrize(
    "source",
    ["{% include 'x' %}", "{% import 'x' as y %}", "{% extends 'x' %}", "{% macro f() %}{% endmacro %}", "{{ f() }}",
     "{% call f() %}{% endcall %}", "{% set x %}y{% endset %}", "{% filter upper %}x{% endfilter %}", "{{ a ~ a }}",
     "{{ 2 ** 9 }}", "{{ a[0:1] }}", "{{ {'a': 1} }}", "{{ [a] }}", "{% for x in a recursive %}{% endfor %}",
     "{{ a|center(9) }}", "{{ a is in a }}", "{{ a|_counted }}", "{% block x %}{% endblock %}", "{{ a", "{% nope %}"],
)  # fmt: skip
def test_what_is_left_out_of_jinja_is_refused_when_it_is_compiled(source: str) -> None:
    with pytest.raises(BadTemplateError):
        compiled(source, html=False)


DEEP = list(range(100))
LONG = {"s": "a" * 30_000 + "b", "t": "a" * 60_000, "w": [[1] * 90] * 50, "v": [[1] * 90] * 50}


@pytest.mark.parametrize(
    ("source", "values"),
    [
        ("{% for x in a %}" * 4 + "{{ x }}" + "{% endfor %}" * 4, {"a": DEEP}),
        (
            "{% for x in a %}{% for y in a %}" + "{{ s|upper|lower }}" * 20 + "{% endfor %}{% endfor %}",
            {"a": DEEP, **LONG},
        ),
        ("{% for x in a %}" + "{% if s in t %}x{% endif %}" * 300 + "{% endfor %}", {"a": DEEP, **LONG}),
        ("{% for x in a %}" + "{% if w == v %}x{% endif %}" * 300 + "{% endfor %}", {"a": DEEP * 9, **LONG}),
        (
            "{% for x in a %}" + "{% if x and s|length and (1 < 2) %}{% endif %}" * 250 + "{% endfor %}",
            {"a": DEEP * 90, **LONG},
        ),
        ("{% for x in a %}{{ s }}{% endfor %}", {"a": DEEP, **LONG}),
        ("{{ 'a' * 1000000000 }}", {}),
        ("{{ '%1000000000d' % 1 }}", {}),
        ("{{ s|replace('a', t) }}", LONG),
        ("{{ a|join(t) }}", {"a": DEEP, **LONG}),
        ("{{ s|int }}", {"s": "9" * 60_000}),
        ("{{ x * x }}", {"x": 10**15}),
        ("{{ 1 / 0 }}", {}),
        ("{{ 5 is divisibleby(0) }}", {}),
        ("{{ 3|fixed(400) }}", {}),
        ("{{ a }}", {"a": []}),
    ],
)  # fmt: skip
def test_a_bomb_is_an_error_within_its_bounds(source: str, values: dict[str, Any]) -> None:
    with pytest.raises(BadTemplateError):
        render(source, values)


@pytest.mark.parametrize(
    "source",
    ["{{ a }}" * 5000, "{{ " + "+".join(["1"] * 1900) + " }}", "{{ " + "(" * 900 + "1" + ")" * 900 + " }}",
     "{{ " + "-" * 3000 + "1 }}", "{% if a %}" * 600 + "{% endif %}" * 600, "x" * 600_000, "{#" * 100_000,
     "{% for x in a %}" * 100 + "{% endfor %}" * 100, "{{ " + "9" * 5000 + " }}"],
    ids=range(9),
)  # fmt: skip
def test_a_template_that_would_take_long_to_compile_is_refused(source: str) -> None:
    with pytest.raises(BadTemplateError):
        compiled(source, html=False)


def test_the_longest_output_is_taken_and_one_more_is_not() -> None:
    values = {"a": list(range(MAX_OUTPUT // 64)), "s": "x" * 64}
    assert len(render("{% for x in a %}{{ s }}{% endfor %}", values)) == MAX_OUTPUT
    with pytest.raises(BadTemplateError, match="output is longer"):
        render("{% for x in a %}{{ s }}{% endfor %}.", values)


@pytest.mark.parametrize(
    "values", [{"a": "x" * 70_000}, {"a": [0] * 10_001}, {"a": [[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]}]
)
def test_values_that_would_make_single_steps_long_are_refused(values: dict[str, Any]) -> None:
    with pytest.raises(BadTemplateError):
        check_values(values)
    check_values({"a": "x" * 60_000, "b": [0] * 9000, "c": {"d": [[None, True, 1.5]]}})
