"""Drawings of plans: exact ones, and that any of them can be read back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain.chain import Chain, PromptStep
from promptchain.cli.dag import draw
from promptchain.plan import Plan, build


def plan_of(needs: dict[str, str]) -> Plan:
    """A plan from {step: the one-letter steps it needs}."""
    steps = {name: PromptStep.model_validate({"prompt": "x", "needs": list(after)}) for name, after in needs.items()}
    return build(Chain(name="test", steps=steps))


@pytest.mark.parametrize(
    ("needs", "drawing"),
    [
        ({"a": ""}, "● a"),
        ({"a": "", "b": ""}, "● a\n● b"),
        ({"a": "", "b": "a", "c": "b"}, "● a\n╰─● b\n  ╰─● c"),
        ({"a": "", "b": "a", "c": "a", "d": "bc"}, "● a\n├─● b\n╰─│─● c\n  ╰─┴─● d"),
        (
            {"a": "", "b": "a", "c": "a", "d": "a", "e": "bcd"},
            "● a\n├─● b\n├─│─● c\n╰─│─│─● d\n  ╰─┴─┴─● e",
        ),
        ({"a": "", "b": "", "c": "ab"}, "● a\n│ ● b\n╰─┴─● c"),
        ({"a": "", "b": "a", "c": "", "d": "c"}, "● a\n╰─● b\n● c\n╰─● d"),
        ({"a": "", "b": "a", "c": "b", "d": "ac"}, "● a\n├─● b\n│ ╰─● c\n╰───┴─● d"),
        ({"a": "", "b": "", "c": "a", "d": "b"}, "● a\n│ ● b\n╰─│─● c\n  ╰─● d"),
        ({"a": "", "b": "", "c": "ab", "d": "ab", "e": "cd"}, "● a\n│ ● b\n├─┼─● c\n╰─┴─│─● d\n    ╰─┴─● e"),
    ],
)
def test_drawings(needs: dict[str, str], drawing: str) -> None:
    assert "\n".join(f"{lines} {name}" for lines, name in draw(plan_of(needs))) == drawing


@st.composite
def plans(draw_: st.DrawFn) -> dict[str, list[str]]:
    names = [f"s{index}" for index in range(draw_(st.integers(1, 12)))]
    return {
        name: draw_(st.lists(st.sampled_from(names[:index]), unique=True)) if index else []
        for index, name in enumerate(names)
    }


@given(plans())
def test_every_drawing_can_be_read_back(needs: dict[str, list[str]]) -> None:
    """A reader who follows the lines finds exactly the edges: a joint (├ ┼ ┴ ╰) is one, a crossing (│) is none."""
    steps = {name: PromptStep.model_validate({"prompt": "x", "needs": after}) for name, after in needs.items()}
    open_lines: dict[int, str] = {}
    read: dict[str, set[str]] = {}
    for line, name in draw(build(Chain(name="test", steps=steps))):
        assert line.endswith("●")
        assert line.count("●") == 1
        marks = {place: mark for place, mark in enumerate(line[:-1]) if mark not in " ─"}
        assert set(open_lines) - set(range(len(line))) == set()  # no name stands in another line's way
        assert marks.keys() == open_lines.keys()
        joints = {place for place, mark in marks.items() if mark != "│"}
        assert " " not in line[min(joints, default=len(line)) :]  # the line is drawn through
        read[name] = {open_lines[place] for place in joints}
        open_lines = {place: step for place, step in open_lines.items() if marks[place] in "├┼│"}
        if any(name in after for after in needs.values()):
            open_lines[len(line) - 1] = name
    assert not open_lines
    assert read == {name: set(after) for name, after in needs.items()}


def test_a_wide_and_deep_plan_is_drawn_in_no_time() -> None:
    needs: dict[str, list[str]] = {}
    for level in range(5):
        needs |= {f"s{level}_{n}": [f"s{level - 1}_{m}" for m in range(10)] if level else [] for n in range(10)}
    steps = {name: PromptStep.model_validate({"prompt": "x", "needs": after}) for name, after in needs.items()}
    assert len(list(draw(build(Chain(name="test", steps=steps))))) == 50
