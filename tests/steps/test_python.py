"""Functions of the project as steps."""

# ruff: noqa: E501

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from promptchain import plan
from promptchain.chain import PythonStep
from promptchain.errors import InvalidFileError
from promptchain.events import StepRetried
from promptchain.lm.scripted import ScriptedLM
from promptchain.records import Run, Status, StepRun
from tests.steps.kit import Folder
from tests.workspace import Workspace

CODE = """
    import dataclasses, sys, time

    @dataclasses.dataclass
    class Point:
        x: int
        y: float = 0.5

    def both(message, a): return f"{message}/{a}"
    def whole(n: int, p: Point | None = None): return [n, p and p.x, p and p.y]
    def anything(**values): return values
    async def later(n: int) -> int:
        import asyncio
        await asyncio.sleep(0)
        return n + 1
    def hang(): time.sleep(60)
    def leave(): sys.exit("bye")
    def boom(): return {}["key"]
    def chat(): print("printed"); sys.stdout.write("more\\n"); return "value"
    def given(value): return value
    calls = 0
    def at_third():
        global calls
        calls += 1
        if calls < 3: raise OSError("not yet")
        return calls
"""


@pytest.fixture
def project(folder: Folder) -> Folder:
    folder.code(CODE)
    return folder


def done(folder: Folder, step: dict[str, Any], **options: Any) -> StepRun:
    return folder.once(step, ScriptedLM([]), **options).steps["a"]


# -- inputs ------------------------------------------------------------------------------------------------------------


def test_parameters_take_the_input_and_the_step_of_their_name(project: Folder) -> None:
    project.chain("c", {"z": {"python": "code:both"}, "a": "of {{ message }}"}, inputs={"message": "string"}, model="m")
    chain = project.load("c")
    step = chain.steps["z"]
    assert isinstance(step, PythonStep)
    assert step.inputs == {"message": "{{ message }}", "a": "{{ a }}"}
    assert plan.build(chain).nodes["z"].after == {"a"}
    assert project.run("c", ScriptedLM("x"), {"message": "hi"}).steps["z"].value == "hi/x"


def test_parameters_take_the_item(project: Folder) -> None:
    project.code("def f(word, index, other=3): return f'{word}{index}{other}'", "each")
    step = {"python": "each:f", "for_each": {"in": "{{ ['a', 'b'] }}", "as": "word"}}
    assert done(project, step).value == ["a03", "b13"]


@pytest.mark.parametrize(
    ("step", "fault"),
    [
        ({"python": "code:both"}, "code:both needs the parameter 'message'; no input or step is called so"),
        ({"python": "code:both", "inputs": {"message": "x"}}, "code:both needs the parameter 'a'; inputs: {a: "),
        ({"python": "code:both", "inputs": {"message": 1, "a": 2, "mesage": 3}}, "code:both has no parameter 'mesage'; did you mean 'message'?"),
        ({"python": "code:bth"}, "code.py has no function 'bth'; did you mean 'both'?"),
        ({"python": "cod:both"}, "the project has no file cod.py; did you mean 'code'?"),
        ({"python": "code:calls"}, "code.py 'calls' is no function"),
        ({"python": "code:given", "inputs": {"value": "{{ nothing }}"}}, "step 'a' uses unknown input or step 'nothing'"),
        ({"python": "code:given", "inputs": {"value": ["{{ nothing }}"]}}, "step 'a' uses unknown input or step 'nothing'"),
        ({"python": "code:given", "inputs": {"value": "{{ a }}"}}, "step 'a' uses its own output"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_told_before_anything_runs(project: Folder, step: dict[str, Any], fault: str) -> None:
    project.chain("c", {"a": step})
    with pytest.raises(InvalidFileError) as caught:
        project.load("c")
    assert fault in str(caught.value)
    assert str(caught.value).startswith("chains/c.yaml:")


def test_two_functions_that_wait_for_each_other_are_a_circle(project: Folder) -> None:
    project.code("def f(b): return b\ndef g(a): return a\n", "circle")
    project.chain("c", {"a": {"python": "circle:f"}, "b": {"python": "circle:g"}})
    with pytest.raises(InvalidFileError, match="the steps wait for each other: a → b → a"):
        project.load("c")


def test_templates_are_filled_in_wherever_they_stand_and_the_rest_is_as_written(project: Folder) -> None:
    value = {"list": ["{{ message }}", 1, None, {"deep": "{{ n + 1 }}"}], "text": "n is {{ n }}", "{{ n }}": True}
    project.chain(
        "c", {"a": {"python": "code:given", "inputs": {"value": value}}}, inputs={"message": "string", "n": "integer"}
    )
    assert project.run("c", ScriptedLM([]), {"message": "hi", "n": 4}).steps["a"].value == {
        "list": ["hi", 1, None, {"deep": 5}], "text": "n is 4", "{{ n }}": True
    }  # fmt: skip


def test_an_expression_gives_the_very_value(project: Folder) -> None:
    project.chain("c", {"a": {"python": "code:given", "inputs": {"value": "{{ rows | map('upper') }}"}}},
                  inputs={"rows(array)": "string"})  # fmt: skip
    assert project.run("c", ScriptedLM([]), {"rows": ["a", "b"]}).steps["a"].value == ["A", "B"]


def test_an_argument_that_cannot_be_made_fails_the_step(project: Folder) -> None:
    project.chain("c", {"a": {"python": "code:given", "inputs": {"value": "{{ rows | sum }}"}}}, inputs={"rows": "any"})
    run = project.run("c", ScriptedLM([]), {"rows": ["a", "b"]})
    assert str(run.error).startswith("step 'a' failed: the argument 'value': ")


@pytest.mark.parametrize(
    ("inputs", "value", "said"),
    [
        ({"n": 3}, [3, None, None], ""),
        ({"n": 3, "p": {"x": 1}}, [3, 1, 0.5], ""),
        ({"n": "{{ 1 + 2 }}", "p": {"x": 1, "y": "{{ 2 }}"}}, [3, 1, 2.0], ""),
        ({"n": "three"}, None, "'n'"),
        ({"n": 3, "p": {"z": 1}}, None, "'p.x'"),
    ],
)
def test_values_become_what_the_annotations_say(project: Folder, inputs: Any, value: Any, said: str) -> None:
    step = done(project, {"python": "code:whole", "inputs": inputs})
    assert step.value == value
    assert said in (step.error or "")
    assert bool(step.error) is bool(said)


def test_a_function_of_any_arguments(project: Folder) -> None:
    assert done(project, {"python": "code:anything", "inputs": {"x": 1, "y": "{{ 2 }}"}}).value == {"x": 1, "y": 2}


# -- what it gives -----------------------------------------------------------------------------------------------------


def test_an_async_function_is_awaited(project: Folder) -> None:
    assert done(project, {"python": "code:later", "inputs": {"n": 4}}).value == 5


def test_what_it_gives_must_fit_the_output(project: Folder) -> None:
    step = {"python": "code:given", "inputs": {"value": {"n": "x"}}, "output": {"n": "integer"}}
    run = done(project, step)
    assert str(run.error) == "code:given gave what does not fit the step's output: n: 'x' is not an integer"
    assert done(project, {**step, "inputs": {"value": {"n": 3}}}).value == {"n": 3}
    assert done(project, {"python": "code:given", "inputs": {"value": {"n": "x"}}}).value == {"n": "x"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("boom", "code.py:18: code:boom raised KeyError: 'key'"),
        ("leave", "code.py:17: code:leave ended the program: sys.exit('bye')"),
    ],
)
def test_a_function_that_fails_names_its_line(project: Folder, name: str, said: str) -> None:
    project.chain("c", {"a": {"python": f"code:{name}"}, "b": {"python": "code:later", "inputs": {"n": 1}}})
    run = project.run("c", ScriptedLM([]))
    assert (run.steps["a"].error, run.steps["b"].value) == (said, 2)
    assert run.status is Status.FAILED
    assert Run.model_validate_json(run.model_dump_json()) == run


def test_a_function_that_hangs_is_given_up(project: Folder) -> None:
    step = done(project, {"python": "code:hang", "timeout": 0.05})
    assert (step.error, step.seconds < 30) == ("code:hang took longer than 0.05 s", True)


@pytest.mark.parametrize(
    ("retry", "value", "again"),
    [(None, None, 0), ({"parse": 5}, None, 0), (1, None, 1), (2, 3, 2), ({"errors": 5}, 3, 2)],
)
def test_it_is_called_again_only_where_the_step_says_so(project: Folder, retry: Any, value: Any, again: int) -> None:
    events: list[Any] = []
    step: dict[str, Any] = {"python": "code:at_third"}
    run = done(project, {**step, "retry": retry} if retry is not None else step, observe=events.append)
    assert run.value == value
    assert len([event for event in events if isinstance(event, StepRetried)]) == again


def test_prints_stay_off_stdout(empty: Workspace) -> None:
    from textwrap import dedent

    (empty.root / "code.py").write_text(dedent(CODE))
    empty.chain("steps: {a: {python: 'code:chat'}}\noutputs: {a: '{{ a }}'}\n")
    result = empty.run("run", "demo", "--json")
    assert (result.code, result.json["outputs"]) == (0, {"a": "value"})
    assert "printed" not in result.out
    assert "printed\nmore" in result.err


def test_sys_exit_in_a_function_does_not_end_the_command(empty: Workspace) -> None:
    (empty.root / "code.py").write_text("import sys\ndef leave(): sys.exit(0)\n")
    empty.chain("steps: {a: {python: 'code:leave'}}\n")
    result = empty.run("run", "demo")
    assert result.code == 1
    assert "code.py:2: code:leave ended the program: sys.exit(0)" in result.err
    assert "Traceback" not in result.err


# -- templates reach nothing but values --------------------------------------------------------------------------------

ESCAPES = [
    "{{ v.__class__ }}",
    "{{ v['__class__'] }}",
    "{{ v | attr('__class__') }}",
    "{{ v.rows.__class__.__mro__[1].__subclasses__() }}",
    "{{ v.text.format.__self__ }}",
    "{{ '{0.__class__}'.format(v) }}",
    "{{ v.text.format(v) }}",
    "{{ v.rows.append(1) }}",
    "{{ v.update({'x': 1}) }}",
    "{{ v.keys.__globals__ }}",
    "{{ (v | tojson).__class__ }}",
    "{{ cycler.__init__.__globals__ }}",
    "{{ self.__init__ }}",
    "{{ v.rows | map(attribute='__class__') | list }}",
]


@pytest.mark.parametrize("template", ESCAPES)
@pytest.mark.parametrize("source", ["python", "passages", "tool"])
def test_a_template_reaches_only_values(folder: Folder, template: str, source: str) -> None:
    """What functions, tools and files give is plain JSON to a template, whatever it was before."""
    folder.code('''
        class Sly(dict):
            secret = "s3cret"
            def __getattr__(self, name): return self.secret
        def f(): return Sly(rows=["a", "b"], text="{0.__class__}", own=Sly())
        def search(query, top_k): return [Sly(text="{0.__class__}", title="t", rows=["a"])]
    ''')  # fmt: skip
    first: dict[str, Any] = {"python": "code:f"}
    if source == "passages":
        first = {"retrieve": {"python": "code:search", "query": "x"}}
    elif source == "tool":
        first = {"prompt": "go", "output": "any", "tools": ["code:f"]}
    folder.chain("c", {"v": first, "b": template}, model="m")
    seen = []

    def reply(request: Any) -> Any:
        if request.messages[-1].content == "go":
            return '{"tool": "f", "arguments": {}}'
        if request.messages[-1].content.startswith("f gave: "):
            return '{"answer": ' + request.messages[-1].content.removeprefix("f gave: ") + "}"
        seen.append(request.messages[-1].content)
        return "x"

    try:
        run = folder.run("c", ScriptedLM(reply))
    except InvalidFileError:
        return
    assert run.steps["v"].status is Status.DONE, run.error
    assert not any(word in text for text in seen for word in ("s3cret", "class", "Sly", "<", "built-in"))
    assert run.steps["v"].value == folder.run("c", ScriptedLM(reply)).steps["v"].value  # nothing has changed it


def test_the_file_of_the_code_may_lie_deep(folder: Folder) -> None:
    path = Path(folder.root / "support/deep")
    path.mkdir(parents=True)
    (path / "tools.py").write_text("from .own import one\ndef f(): return one\n")
    (path / "own.py").write_text("one = 1\n")
    assert done(folder, {"python": "support.deep.tools:f"}).value == 1


def test_a_function_that_closes_the_standard_output_closes_nothing(tmp_path: Path, capfd: Any) -> None:
    folder = Folder(tmp_path)
    folder.code("import sys\ndef f():\n    sys.stdout.close()\n    print('still')\n    return 1\n")
    assert folder.once({"python": "code:f"}, ScriptedLM([])).steps["a"].value == 1
    print("here")
    sys.stderr.write("there")
    out, err = capfd.readouterr()
    assert ("here" in out, "still" in err, "there" in err) == (True, True, True)
