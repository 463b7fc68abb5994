"""Reports as HTML: what is in the page, that nothing in it can be more than text, and that it stays small."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import stat
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain import plan
from promptchain.chain import Chain
from promptchain.errors import PromptChainError, UsageError
from promptchain.lm import patterns
from promptchain.reports.html import evaluation, file, page
from promptchain.reports.html.graph import graph
from promptchain.results import State
from tests.reports import html_kit, kit
from tests.reports.html_kit import data_of, page_of


class Tags(HTMLParser):
    """The tags of a page, and what stands in its scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {"script": [], "style": [], "title": []}
        self._open = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open = tag
        if tag in self.inside:
            self.inside[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in self.inside:
            self.inside[self._open][-1] += data


PLAIN = page_of(kit.verdict())


def sections(*found: Any) -> dict[str, Any]:
    return page.content("t", [{"kind": "run", "value": one} for one in found])


def value_of(text: str) -> Any:
    return data_of(text)["sections"][0]["value"]


# --- secrets ---


def test_a_pattern_masks_what_is_said_and_not_what_the_page_is_read_by() -> None:
    """Whatever word a project calls secret, the page can be drawn; a key that is somebody's own is masked."""
    made = {"text": "the text", "Ada Byron": 1, "of": {"kind": "evaluation"}}
    words = [r"\btext\b", r"\bkind\b", r"\bevaluation\b", r"\bgraph\b", r"\bsections\b", r"\btitle\b", "Ada"]
    assert not [word for word in words if patterns.fault(word)]
    patterns.use("here", words)
    data = page.content("the title", [evaluation.section(kit.verdict()) | {"inputs": made}])
    assert {*data} == {*page.content("", [])}
    [section] = data["sections"]
    assert {*section} == {*evaluation.section(kit.verdict()), "inputs"}
    assert section["kind"] == "evaluation"
    assert section["inputs"] == {"text": "the ***", "*** Byron": 1, "of": {"kind": "***"}}
    assert data["title"] == "the ***"
    assert page.page(data)


# --- escaping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", [*kit.HOSTILE, "</script><script>alert(1)</script>", "<!-- <script>", "-->", "a\u2028b\u2029"]
)
def test_what_is_hostile_stays_data(text: str) -> None:
    shown = page_of(kit.hostile(text), title=text)
    tags = Tags(shown)
    assert [tag for tag, _ in tags.tags] == [tag for tag, _ in Tags(PLAIN).tags]
    assert tags.inside["script"][1] == Tags(PLAIN).inside["script"][1]
    data = tags.inside["script"][0]
    assert not re.search("[<>&\u2028\u2029]", data)
    assert data_of(shown)["title"] == text.replace("\ud83d", "\ufffd")


@given(
    st.recursive(st.text(st.characters(codec=None)), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_any_value_comes_back(value: Any) -> None:
    shown = page.page(sections(value))
    shown.encode()
    expected = json.loads(json.dumps(page._plain(value, 200)))
    assert value_of(shown) == expected
    assert shown.count("</script>") == 2


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("half \ud83d of a pair", "half \ufffd of a pair"),
        (float("nan"), None),
        (float("-inf"), None),
        (2**53, 2**53),
        (-(2**60), "\ufdd0-1152921504606846976"),
        (10**4299, f"\ufdd0{10**4299}"),
        (10**5000, f"\ufdd0{hex(10**5000)}"),
        (391.0, 391.0),
        (page.Exact({"a": [391.0, 0.5, 1e-7, 7]}), {"a": ["\ufdd0391.0", 0.5, "\ufdd01e-07", 7]}),
        ("\ufdd0391.0", "\ufffd391.0"),
        (b"raw", "b'raw'"),
        ((1, {2: 3}), [1, {"2": 3}]),
        (True, True),
    ],
    ids=[
        "surrogate",
        "nan",
        "infinity",
        "whole",
        "large",
        "long",
        "huge",
        "own",
        "exact",
        "forged",
        "bytes",
        "tuple",
        "true",
    ],
)
def test_what_json_cannot_say_is_said_otherwise(value: Any, kept: Any) -> None:
    assert value_of(page.page(sections(value))) == kept


def test_what_is_nested_without_end_ends() -> None:
    value: Any = "the very end"
    for _ in range(5_000):
        value = [value]
    text = page.page(sections(value))
    assert "the very end" not in text
    assert "…" in text


def test_keys_are_masked_before_texts_are_cut() -> None:
    verdict = kit.hostile(f"the key {kit.KEY} is here")
    text = page_of(verdict, title=f"of {kit.KEY}")
    assert kit.KEY not in text
    assert kit.KEY[:12] not in page_of(verdict, limit=page._ROOM + 4_000)
    assert "***" in text


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_policy_allows_this_script_and_nothing_else() -> None:
    tags = Tags(PLAIN)
    [policy] = [attrs["content"] or "" for tag, attrs in tags.tags if "http-equiv" in attrs]
    assert policy.startswith("default-src 'none'; ")
    for kind, text in (("script", tags.inside["script"][1]), ("style", tags.inside["style"][0])):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "unsafe" not in policy


def test_the_page_loads_nothing() -> None:
    addresses = [attrs[name] for _, attrs in Tags(PLAIN).tags for name in ("src", "href") if name in attrs]
    assert addresses == ["data:,", "#main"]
    style = Tags(PLAIN).inside["style"][0]
    assert "url(" not in style
    assert "@import" not in style


def test_no_script_writes_markup() -> None:
    script = Tags(PLAIN).inside["script"][1]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|fetch\(|XMLHttp", script
    )


def test_a_page_is_well_formed_and_small() -> None:
    tags = Tags(PLAIN)
    assert PLAIN.startswith(page.MARK)
    assert ("html", {"lang": "en"}) in tags.tags
    assert tags.inside["title"] == ["Tested"]
    assert len(PLAIN.encode()) < 100_000


# --- an evaluation ----------------------------------------------------------------------------------------------------


def test_failures_come_first_and_the_worst_of_them_before_the_others() -> None:
    found = [
        kit.result("ok"),
        kit.result("bad", State.FAILED, score=0.5),
        kit.result("lost", State.ERROR),
        kit.result("worst", State.FAILED, score=0.0),
    ]
    section = data_of(page_of(kit.verdict(found)))["sections"][0]
    assert [row[0] for row in section["examples"]] == ["worst", "bad", "lost", "ok"]
    assert section["step_names"] == ["intent", "reply"]
    kinds = section["assertions"]
    assert len(kinds) == 3  # each once, however many rows have it
    assert {(kinds[kind]["type"], passed) for kind, passed, *_ in section["examples"][0][11]} == {
        ("not-empty", True),
        ("contains", False),
    }


def test_what_flipped_is_told_with_both_answers() -> None:
    def of(state: State, value: str) -> Any:
        made = kit.result("a", state)
        steps = {**made.steps, "reply": replace(made.steps["reply"], value=value)}
        return replace(made, steps=steps, outputs={"out": value}, inputs={"message": "hi"})

    verdict = kit.verdict([of(State.FAILED, "no such thing")], before=[of(State.PASSED, "the card is on its way")])
    compared = data_of(page_of(verdict))["sections"][0]["comparison"]
    [flip] = compared["flipped"]
    assert (flip["id"], flip["better"], flip["first"]) == ("a", False, "reply")
    assert flip["why"] == ["step reply: contains: it does not contain card"]
    assert [change["name"] for change in flip["changes"]] == ["step reply", "out"]
    assert {op for op, _ in flip["changes"][0]["edits"]} == {"delete", "insert"}


# --- its size ---------------------------------------------------------------------------------------------------------


def test_longer_texts_are_cut_where_a_report_would_be_too_large() -> None:
    verdict = kit.verdict(html_kit.many(50, 3_000))
    whole, cut = page_of(verdict), page_of(verdict, limit=400_000)
    assert "cut" not in data_of(whole)
    assert len(cut.encode()) <= 400_000
    found = data_of(cut)
    assert found["cut"] == 400
    assert max(len(row[8]["message"]) for row in found["sections"][0]["examples"]) == 400


def test_then_the_last_examples_are_left_out_which_passed() -> None:
    text = page_of(kit.verdict(html_kit.many(300, 100)), limit=page._ROOM + 60_000)
    assert len(text.encode()) <= page._ROOM + 60_000
    section = data_of(text)["sections"][0]
    assert section["left_out"] + len(section["examples"]) == 300
    assert [row[3] for row in section["examples"][:60]] == ["failed"] * 60


def test_a_run_of_too_many_items_keeps_the_first() -> None:
    items = [{"name": f"item {number}", "value": "x" * 50} for number in range(5_000)]
    section = {"kind": "run", "steps": [{"name": "each", "items": items}, {"name": "all"}]}
    text = page.page(page.content("t", [section]), limit=page._ROOM + 20_000)
    assert len(text.encode()) <= page._ROOM + 20_000
    each, rest = data_of(text)["sections"][0]["steps"]
    assert each["items"][0]["name"] == "item 0"
    assert len(each["items"]) + each["left_out"] == 5_000
    assert rest == {"name": "all"}


# --- the graph --------------------------------------------------------------------------------------------------------


def built(steps: dict[str, list[str]]) -> dict[str, Any]:
    made = {
        name: {"prompt": " ".join(["x", *("{{ " + other + " }}" for other in after)])} for name, after in steps.items()
    }
    return graph(plan.build(Chain.model_validate({"name": "c", "steps": made})))


def test_a_line_over_a_layer_has_a_place_in_it() -> None:
    found = built({"a": [], "b": ["a"], "c": ["a", "b"]})
    [long] = [edge for edge in found["edges"] if edge["from"] == "a" and edge["to"] == "c"]
    assert len(long["via"]) == 1
    assert sorted(map(str, found["layers"][1])) == sorted(["b", str(long["via"][0])])


def test_layers_are_put_in_an_order_in_which_lines_do_not_cross() -> None:
    found = built({"a": [], "b": [], "of_b": ["b"], "of_a": ["a"]})
    assert found["layers"] in ([["a", "b"], ["of_a", "of_b"]], [["b", "a"], ["of_b", "of_a"]])


def test_a_chain_of_hundreds_of_steps_is_drawn_in_time() -> None:
    names = [f"s{number}" for number in range(300)]
    found = built({name: names[max(0, index - 30) : index] for index, name in enumerate(names)})
    assert len(found["layers"]) == 300
    assert all(not edge["via"] for edge in found["edges"])


# --- the file ---------------------------------------------------------------------------------------------------------


def test_a_report_takes_the_place_of_a_report(tmp_path: Path) -> None:
    path = tmp_path / "new/report.html"
    file.write(path, PLAIN)
    file.write(path, PLAIN + " ")
    assert path.read_text("utf-8") == PLAIN + " "
    assert [one.name for one in path.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize("there", [b"<!doctype html><p>mine", b"\xff\xfe\x00", b"#!/bin/sh\n"])
def test_no_other_file_is_overwritten(tmp_path: Path, there: bytes) -> None:
    path = tmp_path / "report.html"
    path.write_bytes(there)
    with pytest.raises(UsageError, match="no report") as found:
        file.write(path, PLAIN)
    assert found.value.hint == "give another one with -o FILE, or remove this one"
    assert path.read_bytes() == there


def test_a_folder_and_a_place_that_cannot_be_are_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a folder"):
        file.check(tmp_path)
    (tmp_path / "a").write_text("x")
    for bad in (tmp_path / "a" / "b.html", tmp_path / "x\0y.html", tmp_path / ("n" * 300)):
        with pytest.raises(PromptChainError) as found:
            file.write(bad, PLAIN)
        assert found.value.where
    assert [one.name for one in tmp_path.iterdir()] == ["a"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_disk_that_is_full() -> None:
    with pytest.raises(PromptChainError, match="cannot be written: No space left") as found:
        file.write(Path("/dev/full"), PLAIN)
    assert found.value.hint == "name another file with -o FILE"


def test_where_writing_fails_the_report_before_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write(tmp_path / "report.html", PLAIN)

    def full(self: Path, *_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(PromptChainError, match="No space left"):
        file.write(tmp_path / "report.html", PLAIN + " ")
    assert (tmp_path / "report.html").read_text("utf-8") == PLAIN
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(PromptChainError, match="cannot be written"):
            file.write(tmp_path / "report.html", PLAIN)
    finally:
        tmp_path.chmod(stat.S_IRWXU)
