"""Templates: what they render to, what they refer to, and what they are not allowed to do."""

# ruff: noqa: E501

from __future__ import annotations

import json
import resource
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from promptchain import template
from promptchain.template import Reference, TemplateFault
from tests.patience import at_most

VALUES: dict[str, Any] = {
    "text": "it's <b>",
    "n": None,
    "xs": ["a", None, 1.5],
    "order": {"items": [1, 2], "keys": "k", "none": None, "lines": [{"price": 3}, {"price": 4}]},
    "result": "r",
}


def fault(text: str, values: Any = VALUES, *, expression: bool = False) -> TemplateFault:
    with pytest.raises(TemplateFault) as caught:
        (template.expression if expression else template.parse)(text).value(values)
    return caught.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # text as it is, all else as JSON
        ("{{ text }}!", "it's <b>!"),
        ("{{ n }} {{ xs }} {{ order.none }}.", 'null ["a", null, 1.5] null.'),
        ("{{ order }}.", '{"items": [1, 2], "keys": "k", "none": null, "lines": [{"price": 3}, {"price": 4}]}.'),
        ("{{ true }} {{ 1.0 }} {{ 'ä🧀' }} {{ ['ä'] }}", 'true 1.0 ä🧀 ["ä"]'),
        ("{{ xs | join('-') }} {{ 1 ~ n ~ xs }} {{ n | string }}", 'a-null-1.5 1null["a", null, 1.5] null'),
        ("x {{ xs | map('upper') }} {{ range(3) }}", 'x ["A", "NONE", "1.5"] [0, 1, 2]'),
        # text and lone names alone, which need no Jinja as long as all of them are texts
        ("a {{ text }}\n{{ result }} z\n", "a it's <b>\nr z"),
        ("a {{ text }} {{ n }} {{ xs }}", 'a it\'s <b> null ["a", null, 1.5]'),
        # one expression alone keeps its value
        ("{{ xs }}", ["a", None, 1.5]),
        (" {{ n }}\n", None),
        ("{{ order.items }}", [1, 2]),
        ("{{ 1 + 1 }}", 2),
        ("{{ [text] | map('upper') }}", ["IT'S <B>"]),
        ("{{ range(3) }}", [0, 1, 2]),
        ("{{ text | e }}", "it&#39;s &lt;b&gt;"),
        ("{{ result }}", "r"),
        ("", ""),
        # null and default
        ("{{ n | default('d') }}", "d"),
        ("{{ n | d('d') }}", "d"),
        ("{{ '' | default('d') }}", ""),
        ("{{ '' | default('d', true) }}", "d"),
        ("{{ nope | default('d') }}", "d"),
        ("{{ n.a.b[0].c | default('d') }}", "d"),
        ("{{ n or text }}", "it's <b>"),
        ("{% if n is none %}none{% endif %}", "none"),
        ("{{ order.nope is defined }}", False),
        # a field hides a method of its name
        ("{{ order.keys }} {{ order['items'] }}", "k [1, 2]"),
        ("{% for key, value in xs | batch(2) %}{{ key }}{% endfor %}", None),
        ("{% for line in order.lines %}{{ loop.index }}/{{ loop.length }}:{{ line.price }} {% endfor %}", "1/2:3 2/2:4 "),
        ("{% for line in order.lines if line.price > 3 %}{{ line.price }}{% else %}-{% endfor %}", "4"),
        ("{{ order.lines | map(attribute='price') | sum }}", 7),
        ("{{ xs | tojson }} {{ [1] | tojson(1) }}", '["a", null, 1.5] [\n 1\n]'),
        ("{{ '%s-%5.2f' % ('a', 1.5) }} {{ '{:,}'.format(1234567) }} {{ 2**64 * 3 }}", "a- 1.50 1,234,567 55340232221128654848"),
        ("{% macro f(x) %}[{{ x }}]{% endmacro %}{{ f(1) }}{{ f(n) }}", "[1][null]"),
        ("{% set a %}x{{ n }}{% endset %}{{ a }}", "xnull"),
        ("a\n{% if true %}\nb\n{% endif %}\nc", "a\nb\nc"),
    ],
)  # fmt: skip
def test_values_and_texts(text: str, value: Any) -> None:
    if value is None and "batch" in text:
        assert fault(text).message.startswith("not enough values to unpack")
        return
    found = template.parse(text).value(VALUES)
    assert found == value
    assert type(found) is type(value)


def test_a_rendered_text_has_no_white_space_around_it() -> None:
    assert template.parse("\n {{ text }} \n\n").render({"text": " x\n"}) == "x"
    assert template.parse("{{ xs }}").render({"xs": [1]}) == "[1]"


def test_an_expression_may_have_braces() -> None:
    assert template.expression("text == 'a' and xs").value({"text": "a", "xs": [1]}) == [1]
    assert template.expression(" {{ xs | length }}\n").value(VALUES) == 3


NEEDS = "give it, or use the filter default: {{ name | default('…') }}"


@pytest.mark.parametrize(
    ("text", "message", "line", "hint"),
    [
        ("{{ nope }}", "'nope' has no value here", 1, NEEDS),
        ("\nx\n{{ nope.a }}", "'nope' has no value here", 3, NEEDS),
        ("a\n{{ order.nope }}", "there is no field 'nope' in an object", 2, NEEDS),
        ("\n{{ n.a.b }}", "there is no field 'a' in null", 2, NEEDS),
        ("{{ xs[7] }}", "there is no item 7 in a list", 1, NEEDS),
        ("{% if nope %}{% endif %}", "'nope' has no value here", 1, NEEDS),
        ("{% for x in n %}{% endfor %}", "a loop needs a list, not null", 1, None),
        ("a\n{{ text.upper }}", "'upper' is a method and no value: call it, upper()", 2, None),
        ("{{ xs + 1 }}", 'can only concatenate list (not "int") to list', 1, None),
        ("a\n\n{{ 1 / 0 }}", "division by zero", 3, None),
        ("{{ namespace(a=1) }}", "a Namespace cannot stand in a text", 1, None),
        # out of the sandbox
        ("{{ ''.__class__ }}", "access to attribute '__class__' of 'str' object is unsafe", 1, None),
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "access to attribute '__class__' of 'str' object is unsafe", 1, None),
        ("{{ xs.append(1) }}", "access to attribute 'append' of 'list' object is unsafe", 1, None),
        ("{{ range.__globals__ }}", "access to attribute '__globals__' of 'function' object is unsafe", 1, None),
    ],
)  # fmt: skip
def test_what_cannot_be_rendered_says_why_and_where(text: str, message: str, line: int, hint: str | None) -> None:
    found = fault(text)
    assert (found.message, found.line, found.hint) == (message, line, hint)


@pytest.mark.parametrize(
    ("text", "message", "hint", "word"),
    [
        ("{{ text | uper }}", "unknown filter 'uper'", "did you mean 'upper'?", "uper"),
        ("{{ text | random }}", "unknown filter 'random'", None, "random"),  # a prompt is the same each time
        ("x {{ text is definde }}", "unknown test 'definde'", "did you mean 'defined'?", "definde"),
        ("{{ text", "'{{' is never closed", "close it with '}}'", ""),
        ("{% if text", "'{%' is never closed", "close it with '%}'", ""),
        ("{# text", "'{#' is never closed", "close it with '#}'", ""),
        ("{% if text %}x", "'{% if %}' is never closed", "add {% endif %}", ""),
        ("{% if text %}{% endfor %}", "'endfor' where 'endif' is due", None, "endfor"),
        ("{% endif %}", "'endif' belongs to no tag before it", "remove it", "endif"),
        ("{% iff text %}", "unknown tag 'iff'", "did you mean 'if'?", "iff"),
        ("{%", "no tag follows '{%'", "write one, for example {% if message %}", ""),
        ("{{ }}", "an expression is missing", "write one, for example message", ""),
        ("{{ text + }}", "the expression ends too early", None, ""),
        ("{{ text. }}", "the name of a field is missing after '.'", None, ""),
        ("{{ text | }}", "a name is missing before the end", None, ""),
        ("{{ 'text }}", "a text in quotes is never closed", "close it with '", ""),
        ("{{ text }", "unexpected '}'", "a value ends with '}}', a tag with '%}'", "}"),
        ("{{{ text }}}", "a third brace", "a template has two: {{ message }}", "}"),
        ("{{ (text }}", "')' is missing before '}'", None, "}"),
        ("{{ text && n }}", "unexpected character '&'", "write: and, or, not, x if y else z", "&"),
        ("{{ text n }}", "'n' is not expected here", None, "n"),
        ("{% for x xs %}", "'xs' where 'in' is due", None, "xs"),
        ("{% include 'x' %}", "a template cannot include another", "use {file: …} for a whole prompt", ""),
        ("{% import 'x' as y %}", "a template cannot include another", "use {file: …} for a whole prompt", ""),
        ("{% extends 'x' %}", "a template cannot include another", "use {file: …} for a whole prompt", ""),
        ("{{ " + "9" * 5000 + " }}", "a number is too long", None, ""),
    ],
)
def test_what_is_no_template_says_why(text: str, message: str, hint: str | None, word: str) -> None:
    found = fault("first line\n" + text if "9999" not in text else text)
    assert (found.message, found.hint, found.word) == (message, hint, word)
    assert found.line == (1 if "9999" in text else 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text = 'a'", "unexpected '='"),
        ("", "an expression is missing"),
        ("{% if text %}a{% endif %}", "this must be one expression and nothing else"),
        ("{{ text }} {{ n }}", "this must be one expression and nothing else"),
    ],
)
def test_what_is_no_expression_says_why(text: str, message: str) -> None:
    assert fault(text, expression=True).message == message


def refs(text: str) -> set[str]:
    """References as `name.path:line`, with `?` where null will do."""
    return {
        ".".join((ref.name, *ref.path)) + f":{ref.line}" + "?" * ref.tolerant for ref in template.parse(text).references
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("{{ a }}\n{{ b.c['d'][0].e }}", {"a:1", "b.c.d.[].e:2"}),
        ("{% for x in a.b %}{{ x.c }}{{ loop.index }}{% for y in x.d %}{{ y.e }}{% endfor %}{% endfor %}",
         {"a.b:1", "a.b.[].c:1", "a.b.[].d:1", "a.b.[].d.[].e:1"}),
        ("{% for a in a %}{{ a.b }}{% endfor %}", {"a:1", "a.[].b:1"}),
        ("{% for k, v in a.b %}{{ k.x }}{{ v }}{% endfor %}", {"a.b:1"}),
        ("{% for x in a if x.ok %}{% else %}{{ b }}{% endfor %}", {"a:1", "a.[].ok:1", "b:1"}),
        ("{{ a | default(b) }} {{ c.d | d('') }}", {"a:1?", "b:1", "c.d:1?"}),
        ("{{ a or b or c }}", {"a:1?", "b:1?", "c:1"}),
        ("{{ a.b or c }}", {"a.b:1", "c:1"}),  # of null, there is no field to be false
        ("{{ a is none }} {{ b.c is defined }} {{ d is string }}", {"a:1?", "b.c:1?", "d:1"}),
        ("{% set x = a %}{{ x.y }}", {"a:1"}),
        ("{% set a = a.b %}{{ a.c }}", {"a:1"}),  # which `a` each is, only the run knows
        ("{% with x = a.b %}{{ x.y }}{{ c }}{% endwith %}", {"a.b:1", "c:1"}),
        ("{% with a = a.b %}{{ a.c }}{% endwith %}", {"a.b:1"}),
        ("{% macro f(x, y=a) %}{{ x.z }}{{ b }}{% endmacro %}{{ f(c) }}", {"a:1", "b:1", "c:1"}),
        ("{{ a.strip().lower() }} {{ a[:3] }} {{ b[c] }}", {"a:1", "b:1", "c:1"}),
        ("{{ range(3) }} {{ namespace() }} {{ true }}", set()),
        ("{% if a %}{{ b }}{% elif c %}{{ 1 if d else e }}{% endif %}", {"a:1", "b:1", "c:1", "d:1", "e:1"}),
        ("{# {{ a }} #}{% raw %}{{ b }}{% endraw %}", set()),
    ],
)  # fmt: skip
def test_references(text: str, found: set[str]) -> None:
    assert refs(text) == found


NAMES = st.sampled_from(["a", "b", "c", "x1", "items"])
PIECES = st.one_of(
    st.builds(lambda name, path: ("{{ " + ".".join([name, *path]) + " }}", name, tuple(path)), NAMES, st.lists(NAMES, max_size=3)),
    st.sampled_from([("text\n", None, ()), ("{% raw %}{{ z }}{% endraw %}", None, ()), ("{# {{ z }} #}", None, ())]),
)  # fmt: skip


@given(st.lists(PIECES, max_size=8))
def test_references_are_exactly_what_a_template_names(pieces: list[tuple[str, str | None, tuple[str, ...]]]) -> None:
    line, expected = 1, set()
    for text, name, path in pieces:
        if name:
            expected.add(Reference(name, path, line))
        line += text.count("\n")
    assert set(template.parse("".join(text for text, _, _ in pieces)).references) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
OPERATIONS = (
    "{{ v }} {{ v.a }}", "{% for x in v %}{{ x }}{{ x.y }}{% endfor %}", "{{ v | length }}", "{{ v + v }}{{ v ~ v }}", "{{ v * v }}",
    "{{ v ** v }}", "{{ v % v }}", "{{ v | join(',') }}", "{{ v | replace('a', v) }}", "{{ v | indent(v) }}", "{{ v | sort | first }}",
    "{{ v.format(v) }}", "{{ v | map('upper') | list }}", "{{ v[v] }}", "{{ v | batch(v) }}", "{{ v | center(v) }}", "{{ v | format(v) }}",
    "{{ v | round(v) }}", "{{ v | tojson(v) }}", "{{ v | dictsort }}", "{{ v | groupby(v) }}", "{{ v(v) }}", "{{ v | int + v | float }}",
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(JSON, st.sampled_from(OPERATIONS))
def test_whatever_the_values_only_template_faults_come(value: Any, text: str) -> None:
    try:
        template.parse(text).render({"v": value})
        message = "fine"
    except TemplateFault as exc:
        message = exc.message
    assert message
    assert "\n" not in message


@given(JSON)
def test_a_lone_value_comes_out_as_it_went_in_and_prints_as_json(value: Any) -> None:
    assert template.parse("{{ v }}").value({"v": value}) == value
    printed = template.parse("{{ v }}{{ '' }}").value({"v": value})
    assert printed == value if isinstance(value, str) else json.loads(printed) == value


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("{}% #a.b|()[]'\"+-*~=,:\nif for in endif 1"), max_size=60))
def test_any_text_is_a_template_or_a_fault(text: str) -> None:
    for read in (template.parse, template.expression):
        line: int | None = 1
        try:
            read(text)
        except TemplateFault as exc:
            line = exc.line
        assert line is not None
        assert 1 <= line <= text.count("\n") + 1


TOO_LONG = "a text grows too long: over 16,777,216 characters"
TOO_MUCH = "the template takes more than 250,000 rounds of loops and calls"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ 'a' * 10**9 }}", TOO_LONG),
        ("x {{ 10**9 * 'a' }}", TOO_LONG),
        ("{{ [0] * 10**9 }}", "a list grows too long: over 1,000,000 items"),
        ("{{ 9**(9**9) }}", "a number grows too large"),
        ("{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}", TOO_MUCH),
        ("{% for i in range(99999) %}{{ text * 200 }}{% endfor %}", TOO_LONG),
        ("{% set x %}{% for i in range(99999) %}{{ text * 200 }}{% endfor %}{% endset %}", TOO_LONG),
        ("{% set s = namespace(x='a') %}{% for i in range(99) %}{% set s.x = s.x + s.x %}{% endfor %}", TOO_LONG),
        ("{% set s = namespace(x='a') %}{% for i in range(99) %}{% set s.x = s.x ~ s.x %}{% endfor %}", TOO_LONG),
        ("{% set s = namespace(x=1) %}{% for i in range(99) %}{% set s.x = [s.x, s.x] %}{% endfor %}{{ s.x }}", "a value has more than 1,000,000 parts"),
        ("{{ 'a' | center(10**9) }}", TOO_LONG),
        ("{{ 'a'.ljust(10**9) }}", TOO_LONG),
        ("{{ '%1000000000d' % 1 }}", TOO_LONG),
        ("{{ '{:{}}'.format(1, 10**9) }}", TOO_LONG),
        ("{{ text | indent(10**9) }}", TOO_LONG),
        ("{{ ('a' * 10**6) | replace('a', 'b' * 10**6) }}", TOO_LONG),
        ("{{ ('a' * 10**6).replace('a', 'b' * 10**6) }}", TOO_LONG),
        ("{{ range(99999) | join('b' * 10**6) }}", TOO_LONG),
        ("{{ xs | batch(10**9, 'x') | list }}", "a list grows too long: over 1,000,000 items"),
        ("{{ xs | slice(10**9) | list }}", "a list grows too long: over 1,000,000 items"),
        ("{% macro f(n) %}{{ f(n - 1) + f(n - 1) if n else '' }}{% endmacro %}{{ f(60) }}", TOO_MUCH),
        ("{% macro f(n) %}{{ f(n) }}{% endmacro %}{{ f(1) }}", "the template recurses without end, or a value is nested too deeply"),
        ("{{ text }}" * 5001, "the template has more than 5,000 tags"),
        ("{{ " + "(" * 25_000 + "text" + ")" * 25_000 + " }}", "the template is nested too deep"),
        ("{{ " + "[" * 150 + "text" + "]" * 150 + " }}", "the template is nested too deep"),
        ("{{ text" + " + text" * 7_000 + " }}", "the template is nested too deep"),
        ("{{ text" + ".a" * 25_000 + " }}", "the template is nested too deep"),
        ("{{ " + "not " * 12_000 + "text }}", "the template is nested too deep"),
        ("{% for x in xs %}" * 30 + "{% endfor %}" * 30, "the template is nested too deep"),
    ],
    ids=lambda text: text[:40],
)  # fmt: skip
def test_no_template_takes_the_machine_down(text: str, message: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with at_most(5):
        assert fault(text).message == message
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024  # KiB


def test_a_deep_value_is_a_fault_and_no_crash() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert "nested too deeply" in fault("{{ v }}", {"v": deep}).message
