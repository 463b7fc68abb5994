"""`chain diff`: chains, versions, rendered messages and runs, for people, for programs and for git."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path
from typing import Any

import pytest

from tests.cli.git_kit import replace
from tests.cli.kinds_kit import ASKED, CARDS, REPLIES, calls, shop
from tests.workspace import CHAIN, Workspace

OLD = """
model: MODEL
inputs:
  message: string
steps:
  intent:
    instructions: Decide what the customer wants.
    prompt: "Classify: {{ message }}"
    output: [card, refund]
  reply:
    instructions: |
      You are a clerk.
      One.
      Two.
      Answer in at most three sentences, from the help pages alone.
      Three.
      Four.
      Five.
      Six.
    prompt: "Draft for {{ intent }}: {{ message }}"
    params: {temperature: 0}
outputs:
  reply: "{{ reply }}"
"""
NEW = (
    OLD.replace("  intent:", "  topic:")
    .replace("{{ intent }}", "{{ topic }}")
    .replace("three sentences", "two short sentences")
    .replace("temperature: 0", "temperature: 0.5")
)
SEEN = """\
--- old (work tree)
+++ new (work tree)

~ intent → topic (renamed)

~ reply
~   instructions:
      You are a clerk.
      One.
      Two.
~     Answer in at most [-three-]{+two short+} sentences, from the help pages alone.
      Three.
      Four.
…     2 lines
~   params.temperature: 0 → 0.5
"""


@pytest.fixture
def two(empty: Workspace) -> Workspace:
    """A project with the chains `old` and `new`, on the same model."""
    model = empty.model({"contains": "Classify", "reply": "card"}, {"contains": "Draft", "reply": "On its way."})
    for name, text in (("old", OLD), ("new", NEW)):
        empty.write(f"chains/{name}.yaml", text.replace("MODEL", model))
    return empty


def git(workspace: Workspace, *words: str) -> str:
    done = subprocess.run(
        ["git", "-c", "user.name=n", "-c", "user.email=n@example.com", *words],
        cwd=workspace.root, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return done.stdout


def on_terminal(workspace: Workspace, columns: int, *words: str, **env: str) -> str:
    """What the installed command writes to a terminal that is so wide."""
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {**os.environ, "TERM": "xterm-256color", **env}
    process = subprocess.Popen(
        [CHAIN, *words], cwd=workspace.root, env=environment, stdin=side, stdout=side, stderr=side
    )
    os.close(side)
    shown = b""
    try:
        while piece := os.read(main, 65536):
            shown += piece
    except OSError:  # Linux, when the other side is closed
        pass
    os.close(main)
    process.wait(timeout=300)
    return shown.decode().replace("\r\n", "\n")


def bare(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


# -- chains ------------------------------------------------------------------------------------------------------------


def test_in_a_pipe_the_words_are_marked(two: Workspace) -> None:
    done = two.invoke("diff", "old", "new")
    assert (done.code, done.out, done.err) == (0, SEEN, "")


def test_the_same_is_nothing(two: Workspace) -> None:
    for words in (["old", "old"], ["old", "old", "--rendered"], ["old", "old", "--stat"], ["old", "chains/old.yaml"]):
        done = two.invoke("diff", *words, "--exit-code")
        assert (done.code, done.out, done.err) == (0, "", "")
    assert on_terminal(two, 80, "diff", "old", "old") == "no differences\n"


def test_the_exit_code_tells_when_it_is_asked_to(two: Workspace) -> None:
    assert two.invoke("diff", "old", "new").code == 0
    for words in ([], ["--json"], ["--stat"], ["--rendered"], ["--step", "reply"]):
        assert two.invoke("diff", "old", "new", "--exit-code", *words).code == 1


def test_json_is_the_whole_difference(two: Workspace) -> None:
    found = two.invoke("diff", "old", "new", "--json").json
    assert (found["before"], found["after"]) == ("old (work tree)", "new (work tree)")
    assert found["summary"] == "reply: instructions, params; intent→topic"
    renamed, reply = found["steps"]
    assert (renamed["kind"], renamed["was"], renamed["step"], renamed["fields"]) == ("renamed", "intent", "topic", [])
    edits = reply["fields"][0]["edits"]
    assert {"op": "insert", "text": "two short"} in edits
    same = two.invoke("diff", "old", "old", "--json").json
    assert (same["summary"], same["steps"], same["fields"]) == ("", [], [])


def test_stat_counts_words(two: Workspace) -> None:
    done = two.invoke("diff", "old", "new", "--stat")
    assert done.out.splitlines()[2:] == [
        "  reply: instructions       | +2 -1",
        "  reply: params.temperature | +2 -1",
        "  intent → topic: renamed",
        "  2 fields, 4 words added, 2 removed",
    ]
    found = two.invoke("diff", "old", "new", "--stat", "--json").json
    assert found["stat"][0] == {"step": "reply", "field": "instructions", "kind": "changed", "added": 2, "removed": 1}


def test_one_step_by_its_new_or_its_old_name(two: Workspace) -> None:
    assert "~ reply" not in two.invoke("diff", "old", "new", "--step", "topic").out
    assert "intent → topic" in two.invoke("diff", "old", "new", "--step", "intent").out
    assert "topic" not in two.invoke("diff", "old", "new", "--step", "reply").out


def test_what_came_and_went_is_told_whole(two: Workspace) -> None:
    more = NEW + "test: {dataset: rows.jsonl}\n"
    more = more.replace("outputs:", "  check:\n    prompt: |\n      Is it kind?\n      {{ reply }}\noutputs:")
    two.write("chains/more.yaml", more.replace("MODEL", "local/x"))
    lines = two.invoke("diff", "new", "more").out.splitlines()
    assert '+ test: {"dataset": "rows.jsonl"}' in lines
    assert lines[-4:] == ["+ check (prompt)", "+   prompt:", "+     Is it kind?", "+     {{ reply }}"]
    back = two.invoke("diff", "more", "new").out.splitlines()
    assert back[-4:] == ["- check (prompt)", "-   prompt:", "-     Is it kind?", "-     {{ reply }}"]


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ("One.\nTwo.\n", "One.\nNew here.\nTwo.\n", ["      One.", "+     New here.", "      Two."]),
        ("One.\nTwo.\nThree.\n", "One.\nThree.\n", ["      One.", "-     Two.", "      Three."]),
        ("One.\nEnd.\n", "Quite other words\nEnd.\n", ["-     One.", "+     Quite other words", "      End."]),
        ("a b\nc d\n", "a b c d\n", ["~     a b[-⏎-]", "~     {+ +}c d"]),
    ],
)
def test_lines_and_their_context(two: Workspace, before: str, after: str, lines: list[str]) -> None:
    for name, text in (("x", before), ("y", after)):
        two.write(f"chains/{name}.md", text)
        two.write(f"chains/{name}.yaml", f"steps: {{a: {{prompt: {{file: {name}.md}}}}}}")
    shown = two.invoke("diff", "x", "y").out.splitlines()
    start = shown.index("~   prompt:") + 1
    assert shown[start : start + len(lines)] == lines


def test_the_middle_of_a_long_line_that_stayed_is_left_out(two: Workspace) -> None:
    for name in ("old", "new"):
        two.write(f"chains/{name}.yaml", f"steps: {{a: {{prompt: {'word ' * 60}{name}{' word' * 60}}}}}")
    (line,) = [line for line in two.invoke("diff", "old", "new").out.splitlines() if "[-" in line]
    assert re.fullmatch(r"~     …( ?word){5,8} \[-old-\]\{\+new\+\}( word){5,8} ?…", line)


def test_colours_take_the_place_of_marks(two: Workspace) -> None:
    shown = on_terminal(two, 100, "diff", "old", "new")
    assert "\x1b[9;31mthree\x1b[0m\x1b[1;32mtwo short\x1b[0m" in shown
    assert "[-" not in bare(shown)
    assert bare(shown).splitlines()[:2] == SEEN.splitlines()[:2]
    plain = on_terminal(two, 100, "diff", "old", "new", NO_COLOR="1")
    assert plain == SEEN
    forced = two.run("diff", "old", "new", env={"FORCE_COLOR": "1"}).out
    assert "\x1b[9;31mthree" in forced


@pytest.mark.parametrize("marks", [False, True])
def test_a_wide_terminal_shows_both_sides(two: Workspace, marks: bool) -> None:
    env = {"NO_COLOR": "1"} if marks else {}
    shown = on_terminal(two, 130, "diff", "old", "new", **env)
    assert ("\x1b" in shown) is not marks
    rows = [line.split(" │ ") for line in bare(shown).splitlines() if " │ " in line]
    assert all(len(left) == 63 for left, _ in rows)
    left, right = ("".join(row[side].strip() + " " for row in rows) for side in (0, 1))
    assert ("at most [-three-] sentences" if marks else "at most three sentences") in left
    assert ("at most {+two short+} sentences" if marks else "at most two short sentences") in right
    assert "~ intent → topic (renamed)" in bare(shown).splitlines()
    assert "~   params.temperature: 0 → 0.5" in bare(shown).splitlines()


def test_a_text_cannot_command_the_terminal(two: Workspace) -> None:
    for name, word in (("x", "a"), ("y", "b")):
        two.write(f"chains/{name}.yaml", f'steps: {{a: {{prompt: "\\e[2J\\e]0;x\\a {word} and more words"}}}}')
    for words in ([], ["--rendered"]):
        assert "\x1b" not in two.invoke("diff", "x", "y", *words).out
        for columns in (80, 130):
            shown = on_terminal(two, columns, "diff", "x", "y", *words)
            assert "\x1b[2J" not in shown
            assert "\x1b]" not in shown
            assert "?[2J" in bare(shown)


def test_rich_is_loaded_for_a_wide_terminal_alone(two: Workspace) -> None:
    done = two.run("diff", "old", "new", env={"PYTHONPROFILEIMPORTTIME": "1"})
    assert done.out == SEEN
    assert " rich" not in done.err
    assert "promptchain.diff" in done.err
    assert "litellm\n" not in done.err


# -- sides -------------------------------------------------------------------------------------------------------------


def test_versions_are_named_in_every_way(two: Workspace) -> None:
    git(two, "init", "-q")
    two.write("chains/old.yaml", OLD.replace("MODEL", "local/x"))
    git(two, "add", "-A")
    git(two, "commit", "-qm", "x")
    two.write("chains/old.yaml", OLD.replace("MODEL", "local/y"))
    change = "~ model: local/x → local/y"
    for words in (["old@git:HEAD"], ["old@git:HEAD", "old"], ["old@git:HEAD", "chains/old.yaml"]):
        lines = two.invoke("diff", *words).out.splitlines()
        assert lines[0] == "--- old@git:HEAD"
        assert lines[2:] == [change]
    git(two, "commit", "-qam", "y")
    for words in (["old@git:HEAD~1", "git:HEAD"], ["old", "git:HEAD~1", "git:HEAD"], ["old@git:HEAD~1", "@git:HEAD"]):
        lines = two.invoke("diff", *words).out.splitlines()
        assert lines == ["--- old@git:HEAD~1", "+++ old@git:HEAD", change]
    assert two.invoke("diff", "old", "git:HEAD~1").out.splitlines()[2] == "~ model: local/y → local/x"


def test_a_name_alone_is_compared_with_its_latest_version(two: Workspace) -> None:
    git(two, "init", "-q")
    assert two.invoke("run", "old", "hi").code == 0  # which keeps the version
    assert two.invoke("diff", "old").out == ""
    path = two.root / "chains/old.yaml"
    path.write_text(path.read_text().replace("three", "four"))
    for words in (["old"], ["old@v1"], ["chains/old.yaml"], ["old", "v1", "latest"]):
        lines = two.invoke("diff", *words).out.splitlines()
        assert ("at most [-three-]{+four+}" in "".join(lines)) is (words[-1] != "latest"), words
    assert two.invoke("diff", "old").out.splitlines()[:2] == ["--- old@latest", "+++ old (work tree)"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["odl"], "did you mean 'old'?"),
        (["zzzz"], "chain runs lists them"),
        (["old", "nwe"], "did you mean 'new'?"),
        (["old", "nwe"], "'nwe' is neither a chain nor a version of 'old'"),
        (["odl@v1", "old"], "odl"),
        (["old", "new", "x", "y"], "too many"),
        (["old@v1", "v2", "v3"], "chain diff old v2 v3"),
        (["old", "new", "--step", "repyl"], "did you mean 'reply'?"),
        (["old", "new", "-i", "message=x"], "add --rendered"),
        (["old", "new", "--rendered", "--stat"], "leave one of them out"),
        (["old", "new", "--rendered", "-i", "mesage=x"], "did you mean 'message'?"),
        (["old", "new", "--rendered", "-i", "intent=nonsense"], "step 'intent': "),
        (["old", "chains/nowhere.yaml"], "there is no file"),
    ],
)
def test_what_does_not_fit_is_said(two: Workspace, words: list[str], says: str) -> None:
    done = two.invoke("diff", *words)
    assert done.code == 2, done
    assert done.out == ""
    assert says in done.err
    assert "Traceback" not in done.err


# -- rendered ----------------------------------------------------------------------------------------------------------


def test_rendered_shows_the_words_that_are_sent(two: Workspace) -> None:
    done = two.invoke("diff", "old", "new", "--rendered")
    assert done.out.splitlines()[2] == "example: made up: each input and each upstream value stands as «name»"
    assert "~   message 1 (system)" in done.out
    assert "Answer in at most [-three-]{+two short+} sentences" in done.out
    assert "Classify" not in done.out  # of the step that was but renamed


def test_rendered_takes_the_first_row_that_can_be_used(two: Workspace) -> None:
    two.write("chains/rows.jsonl", 'nonsense\n{"message": "Where is it?", "id": "1"}\n')
    for name, text in (("x", OLD), ("y", OLD.replace("Draft for", "Write for"))):
        two.write(f"chains/{name}.yaml", text.replace("MODEL", "local/x") + "test: {dataset: rows.jsonl}\n")
    done = two.invoke("diff", "x", "y", "--rendered")
    assert "example: rows.jsonl, line 2" in done.out
    assert "[-Draft-]{+Write+} for card: Where is it?" in done.out
    assert two.invoke("diff", "x", "y", "--rendered", "--json").json["example"] == "rows.jsonl, line 2"


@pytest.mark.parametrize(
    "words",
    [
        ["-i", "message=my own words", "-i", "intent=refund"],
        ["my own words", "-i", "intent=refund"],
        ["--input", "in.json", "-i", "intent=refund"],
    ],
)
def test_rendered_takes_inputs_as_show_does(two: Workspace, words: list[str]) -> None:
    two.write("in.json", '{"message": "my own words"}')
    text = OLD.replace("Draft for {{ intent }}:", "Write for {{ intent }} at once:")
    two.write("chains/y.yaml", text.replace("MODEL", "local/x"))
    done = two.invoke("diff", "old", "y", "--rendered", *words)
    assert "example: as given" in done.out
    assert "[-Draft-]{+Write+} for refund{+ at once+}: my own words" in done.out


def test_rendered_makes_up_what_each_type_takes(two: Workspace) -> None:
    text = """
    inputs: {amount: number, tags(array): string, who(object): {name: string}}
    steps:
      help: {retrieve: {from: x/*.md, query: "{{ who.name }}"}}
      say: {prompt: "WORD {{ amount + 1 }} {{ tags[0] }} {{ who.name }} {% for p in help %}{{ p.title }}{% endfor %}"}
      each: {for_each: "{{ tags }}", prompt: "WORD {{ item }}, {{ say }}"}
      odd: {prompt: "WORD {{ say[0].nothing.here }}"}
    """
    two.write("chains/x/one.md", "# One\n")
    for name, word in (("x", "Old"), ("y", "New")):
        two.write(f"chains/{name}.yaml", text.replace("WORD", word))
    shown = two.invoke("diff", "x", "y", "--rendered").out
    assert "[-Old-]{+New+} 2.5 «tags[]» «who.name» «help.title»" in shown
    assert "[-Old-]{+New+} «tags[]», «say»" in shown
    found = two.invoke("diff", "x", "y", "--rendered", "--json").json["steps"]
    assert "give the values with -i" in next(step for step in found if step["step"] == "odd")["reason"]


# -- runs --------------------------------------------------------------------------------------------------------------


def runs(two: Workspace) -> list[dict[str, Any]]:
    return [
        two.invoke("run", name, text, "--json").json for name, text in (("old", "hi"), ("new", "hi"), ("old", "hi"))
    ]


def test_two_runs_are_compared(two: Workspace) -> None:
    first, second, third = runs(two)
    done = two.invoke("diff", first["id"], second["id"], "--exit-code")
    lines = done.out.splitlines()
    assert done.code == 1
    assert lines[0].startswith(f"--- run {first['id']} (old, 20")
    assert lines[1].startswith(f"+++ run {second['id']} (new, 20")
    assert lines[2].startswith("~ content: ")
    assert "+ topic" in lines
    assert "+   value: card" in lines
    assert "- intent" in lines
    assert lines[-1].startswith("  used: scripted/")
    same = two.invoke("diff", first["id"], third["id"], "--exit-code")
    assert same.code == 0  # what they used is shown, and no difference
    assert [line for line in same.out.splitlines()[2:-1] if line.strip()] == []
    assert two.invoke("diff", first["id"], "last", "--json").json["runs"] == [first["id"], third["id"]]
    assert two.invoke("diff", "last", "last").out == ""


def test_runs_on_other_inputs_differ_by_the_words(two: Workspace) -> None:
    one = two.invoke("run", "old", "Where is it?", "--json").json["id"]
    two.invoke("run", "old", "Where is she?")
    assert "~ inputs.message: Where is [-it-]{+she+}?" in two.invoke("diff", one, "last").out
    (change,) = two.invoke("diff", one, "last", "--json").json["changes"]
    assert change["path"] == ["inputs", "message"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["last"], "two runs"),
        (["last", "nothing"], "'nothing' is not a run"),
        (["last", "old"], "'old' is not a run"),
        (["last", "last", "--rendered"], "for chains"),
        (["last", "last", "--stat"], "for chains"),
    ],
)
def test_a_run_is_compared_with_a_run(two: Workspace, words: list[str], says: str) -> None:
    assert two.invoke("run", "old", "hi").code == 0
    done = two.invoke("diff", *words)
    assert (done.code, done.out) == (2, "")
    assert says in done.err


# -- git ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def repo(two: Workspace) -> Workspace:
    """A repository in which git asks `chain diff` about chains."""
    git(two, "init", "-q")
    git(two, "config", "diff.promptchain.command", f"'{CHAIN}' diff --git-driver")
    two.write(".gitattributes", "chains/*.yaml diff=promptchain\n")
    two.write("chains/old.lock.yaml", "variants:\n  m:\n    score: 0.5\n    text: a b c d\n")
    git(two, "add", "-A")
    git(two, "commit", "-qm", "x")
    return two


def edit(workspace: Workspace, name: str, old: str, new: str) -> None:
    path = workspace.root / name
    path.write_text(path.read_text().replace(old, new))


def test_git_shows_a_chain_step_by_step(repo: Workspace) -> None:
    edit(repo, "chains/old.yaml", "three", "two short")
    shown = git(repo, "diff").splitlines()
    assert shown[:3] == [
        "diff --promptchain a/chains/old.yaml b/chains/old.yaml",
        "--- a/chains/old.yaml",
        "+++ b/chains/old.yaml",
    ]
    assert "~     Answer in at most [-three-]{+two short+} sentences, from the help pages alone." in shown


def test_git_shows_a_lock_value_by_value(repo: Workspace) -> None:
    edit(repo, "chains/old.lock.yaml", "0.5", "0.75")
    edit(repo, "chains/old.lock.yaml", "a b c d", "a x c d")
    assert git(repo, "diff").splitlines()[3:] == [
        "~ variants.m.score: 0.5 → 0.75",
        "~ variants.m.text: a [-b-]{+x+} c d",
    ]


def test_git_shows_files_that_came_went_and_were_renamed(repo: Workspace) -> None:
    (repo.root / "chains/old.lock.yaml").unlink()
    repo.write("chains/added.yaml", "steps: {a: {prompt: hi}}\n")
    git(repo, "mv", "chains/new.yaml", "chains/other.yaml")
    edit(repo, "chains/other.yaml", "two short", "four")
    git(repo, "add", "-A")
    shown = git(repo, "diff", "-M", "HEAD").splitlines()
    assert shown[shown.index("+++ b/chains/added.yaml") - 1 :][:3] == [
        "--- /dev/null", "+++ b/chains/added.yaml", "+ steps: {a: {prompt: hi}}",
    ]  # fmt: skip
    assert "- variants:" in shown[shown.index("--- a/chains/old.lock.yaml") :]
    assert {"rename from chains/new.yaml", "rename to chains/other.yaml"} <= set(shown)
    assert "[-two short-]{+four+}" in "\n".join(shown)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("steps: [\n", "not a chain that can be read: "),
        ("steps: {a: {promt: hi}}\n", "not a chain that can be read: "),
        ("- just\n- a list\n", "it is no mapping"),
        ("\0\x1b[2J\xff\n", "not a chain that can be read"),
        ("", "not a chain that can be read"),
    ],
)
def test_git_is_never_let_down_by_a_file_that_is_no_chain(repo: Workspace, text: str, says: str) -> None:
    (repo.root / "chains/old.yaml").write_bytes(text.encode("latin-1"))
    shown = git(repo, "diff")
    assert says in shown
    assert "- outputs:" in shown
    assert "\x1b" not in shown
    git(repo, "commit", "-qam", "y")
    (repo.root / "chains/old.yaml").write_text("steps: {a: {prompt: hi}}\n")
    assert "+ steps: {a: {prompt: hi}}" in git(repo, "diff")


def test_git_shows_what_only_the_text_has(repo: Workspace) -> None:
    edit(repo, "chains/old.yaml", "outputs:", "# a comment\noutputs:")
    shown = git(repo, "diff")
    assert "(only the layout, the order of steps or comments differ; this is the text)" in shown
    assert "+ # a comment" in shown.splitlines()


def test_git_shows_a_conflict_and_a_mode(repo: Workspace) -> None:
    (repo.root / "chains/old.yaml").chmod(0o755)
    assert git(repo, "diff").splitlines()[1:] == ["old mode 100644", "new mode 100755"]
    done = repo.invoke("diff", "--git-driver", "chains/old.yaml")
    assert (done.code, done.out) == (0, "* unmerged: chains/old.yaml\n")
    assert repo.invoke("diff", "--git-driver", "a", "b").code == 2


def test_git_is_coloured_for_a_pager(repo: Workspace, tmp_path: Path) -> None:
    edit(repo, "chains/old.yaml", "three", "two short")
    for env, coloured in (({"GIT_PAGER_IN_USE": "true"}, True), ({"GIT_PAGER_IN_USE": "true", "NO_COLOR": "1"}, False)):
        words = ["chains/old.yaml", "/dev/null", ".", ".", str(repo.root / "chains/old.yaml"), "0", "100644"]
        assert ("\x1b[" in repo.run("diff", "--git-driver", *words, env=env).out) is coloured


def test_git_needs_no_project_with_sound_settings(repo: Workspace) -> None:
    repo.write("promptchain.toml", "nonsense = [")
    edit(repo, "chains/old.yaml", "three", "four")
    assert "[-three-]{+four+}" in git(repo, "diff")


# -- tools, searches and chains in chains ------------------------------------------------------------------------------


FIRST = "\n# What a card is\n\nA card is plastic.\n"


@pytest.fixture
def sold(empty: Workspace) -> Workspace:
    """The chain `shop` with a version, and a run of it."""
    shop(empty)
    assert empty.invoke(*ASKED).code == 0
    return empty


def test_tools_are_told_in_words_and_inner_chains_by_name(sold: Workspace) -> None:
    replace(
        sold,
        '["shop:lookup", {python: "shop:refund", confirm: true}, ',
        '[{python: "shop:refund"}, ',
        "chains/shop.yaml",
    )
    replace(sold, "select: majority", "select: all", "chains/shop.yaml")
    replace(sold, "top_k: 2", "top_k: 3", "chains/shop.yaml")
    replace(sold, "Tone of", "Which tone has", "chains/inner.yaml")
    done = sold.invoke("diff", "shop")
    assert done.code == 0, done
    out = done.out
    for part in (
        "\n~ help\n~   retrieve.top_k: 2 → 3\n",
        "\n~   select: majority → all\n",
        "\n~ agent\n-   tools: shop:lookup\n-   tools.refund.confirm: true\n",
        "\n~ chain inner\n\n~   tone\n~     prompt: [-Tone of-]{+Which tone has+} {{ text }}\n",
    ):
        assert part in out, part
    assert "chain inner" in sold.invoke("diff", "shop", "--step", "polite").out
    assert "chain inner" not in sold.invoke("diff", "shop", "--step", "word").out


def test_the_messages_of_tools_are_compared(sold: Workspace) -> None:
    replace(
        sold,
        '{python: "shop:refund", confirm: true}',
        '{python: "shop:refund", description: Money back.}',
        "chains/shop.yaml",
    )
    out = sold.invoke("diff", "shop", "--rendered").out
    assert "~ agent\n" in out
    assert "- refund: [-Pay an order-]{+Money+} back." in out
    native = sold.invoke("diff", "shop", "--rendered", "--model", "agent=openai/gpt-4o-mini").out
    assert "(tools)" in native
    assert "- refund: [-Pay an order-]{+Money+} back." not in native
    assert "refund: [-Pay an order-]{+Money+} back." in native


def test_two_runs_differ_in_calls_of_tools_and_passages(sold: Workspace) -> None:
    sold.write("chains/docs/cards.md", FIRST + CARDS)
    asks = {"contains": "Question:", "reply": calls("lookup", item="tea")}
    others = [rule for rule in REPLIES if not (isinstance(rule, dict) and rule["contains"] == "Question:")]
    sold.model(asks, *others, name="shop")
    assert sold.invoke(*ASKED).code == 0
    new, old = (row["id"] for row in sold.invoke("runs", "--json").json)
    out = sold.invoke("diff", old, new).out
    assert "\n~   passages:\n-     chains/docs/cards.md:2 Ordering a card\n" in out
    assert "+     chains/docs/cards.md:2 What a card is\n" in out
    assert '"text"' not in out
    assert "-     refund(order=7) → error: the user did not consent to this call\n" in out
    assert '+     lookup(item="tea") → 12.5\n' in out


def test_what_a_replay_takes_over_is_no_difference(sold: Workspace) -> None:
    sold.write("chains/docs/cards.md", FIRST + CARDS)  # what is taken over is not searched again
    first = sold.invoke("runs", "show", "last", "--json").json
    done = sold.invoke("replay", "last", "--from", [*first["steps"]][-1])
    assert (done.code, done.out) == (0, ""), done
    assert "nothing came out differently" in done.err
    again = sold.invoke("runs", "show", "last", "--json").json
    assert again["steps"]["help"]["fingerprint"] == first["steps"]["help"]["fingerprint"] is not None
    out = sold.invoke("diff", first["id"], again["id"]).out
    assert '-   tools:\n-     lookup(item="tea") → 12.5\n' in out


def test_a_diff_starts_no_server(empty: Workspace) -> None:
    text = 'model: MODEL\nsteps:\n  a: {prompt: "x", tools: [{mcp: [sh, -c, "touch started"]}]}\n  b: {prompt: "y"}\n'
    empty.chain(text, name="far")
    empty.invoke("commit", "far")
    replace(empty, 'prompt: "x"', 'prompt: "z"', "chains/far.yaml")
    replace(empty, 'prompt: "y"', 'prompt: "w"', "chains/far.yaml")
    done = empty.invoke("diff", "far", "--rendered", "--json")
    assert done.code == 0, done
    assert [step["kind"] for step in done.json["steps"]] == ["changed", "changed"]
    system, user = done.json["steps"][0]["messages"]
    assert (system["kind"], user["kind"]) == ("same", "changed")
    assert "as the MCP server 'sh -c 'touch started'' describes it" in system["edits"][0]["text"]
    assert not (empty.root / "started").exists()


def test_calls_of_tools_that_only_one_run_made_are_shown(sold: Workspace) -> None:
    assert sold.invoke(*ASKED).code == 0
    none = [reply for reply in REPLIES if not (isinstance(reply, dict) and "Question:" in reply.get("contains", ""))]
    sold.model(*none, {"contains": "Question:", "reply": {"reasoning": "x", "answer": "Done."}}, name="shop")
    assert sold.invoke(*ASKED).code == 0
    after, before = (run["id"] for run in sold.invoke("runs", "-n", "2", "--json").json)
    for sides, sign in (((before, after), "-"), ((after, before), "+")):
        done = sold.invoke("diff", *sides, "--step", "agent")
        assert done.code == 0, done
        assert any(line.startswith(sign) and "refund(order=7)" in line for line in done.out.splitlines()), done.out
