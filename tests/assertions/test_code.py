"""Functions of the project and webhooks as assertions: what they get, what they may say, and how they may fail."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from promptchain.assertions.code import CODE
from promptchain.assertions.grader import Grader
from promptchain.assertions.protocol import AssertionFault, Spec, Subject, Verdict
from promptchain.lm.calls import Caller
from promptchain.lm.scripted import ScriptedLM
from tests.loopback import Fate, Loopback, Reply
from tests.patience import until


@pytest.fixture(autouse=True)
def root(tmp_path: Path) -> Iterator[Path]:
    """An empty project; what is imported from it is forgotten afterwards."""
    modules, paths = set(sys.modules), list(sys.path)
    yield tmp_path
    sys.path[:] = paths
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def write(root: Path, text: str, name: str = "checks.py") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def check(
    root: Path, value: Any = "checks:f", *, kind: str = "python", output: Any = "Hello", values: Any = (), **rest: Any
) -> Verdict:
    lm = ScriptedLM([])
    grader = Grader(lm, Caller(lm), judge=None, root=root, timeout=rest.pop("limit", 20.0))
    spec = Spec(kind, value, rest.pop("threshold", None), rest)
    return asyncio.run(_check(kind, Subject(output, dict(values)), spec, grader))


async def _check(kind: str, subject: Subject, spec: Spec, grader: Grader) -> Verdict:
    return await CODE[kind](subject, spec, grader)


def refused(root: Path, value: Any = "checks:f", **rest: Any) -> AssertionFault:
    with pytest.raises(AssertionFault) as raised:
        check(root, value, **rest)
    assert "\n" not in raised.value.message
    return raised.value


# --- functions


@pytest.mark.parametrize(
    "head",
    [
        "def f(output, context):",
        "async def f(output, context):",
        "def f(output, context, *, strict=False):",
        "def f(*arguments):\n    output, context = arguments",
    ],
)
def test_a_function_gets_the_output_and_a_context(root: Path, head: str) -> None:
    write(root, f"{head}\n    return output['n'] == context['vars']['wanted'] + context['config']['more']")
    options = {"values": {"wanted": 2}, "config": {"more": 1}}
    assert check(root, output={"n": 3}, **options).passed
    assert not check(root, output={"n": 4}, **options).passed


def test_a_function_may_take_the_output_alone(root: Path) -> None:
    write(root, "f = lambda output: output == 'Hello'")
    assert check(root).passed


def test_a_function_may_return_an_awaitable(root: Path) -> None:
    write(
        root,
        "import asyncio\n\nasync def g(output):\n    await asyncio.sleep(0)\n    return True\n\nf = lambda o: g(o)",
    )
    assert check(root).passed


@pytest.mark.parametrize(
    ("returned", "threshold", "passed", "score"),
    [
        ("True", None, True, 1.0),
        ("False", None, False, 0.0),
        ("0.4", None, True, 0.4),
        ("0", None, False, 0.0),
        ("0.4", 0.5, False, 0.4),
        ("0.5", 0.5, True, 0.5),
        ("{'pass': False, 'score': 0.3, 'reason': 'too long'}", None, False, 0.3),
    ],
)
def test_what_a_function_may_say(
    root: Path, returned: str, threshold: float | None, passed: bool, score: float
) -> None:
    write(root, f"def f(output):\n    return {returned}")
    verdict = check(root, threshold=threshold)
    assert (verdict.passed, verdict.score) == (passed, score)
    if "reason" in returned:
        assert verdict.reason == "too long"


def test_a_verdict_of_the_wrong_kind_is_a_fault(root: Path) -> None:
    write(root, "def f(output):\n    return object()")
    refused(root)


def test_what_a_function_does_to_its_arguments_has_no_effect(root: Path) -> None:
    write(root, "def f(output, context):\n    output.clear()\n    context['vars']['list'].clear()\n    return True")
    output, values = {"a": 1}, {"list": [1]}
    check(root, output=output, values=values)
    assert (output, values) == ({"a": 1}, {"list": [1]})


def test_modules_in_folders_and_packages_import_each_other(root: Path) -> None:
    write(root, "WORD = 'Hello'", "support/words.py")
    write(root, "from .words import WORD\nfrom support.words import WORD as SAME", "support/__init__.py")
    write(
        root,
        "from support import WORD\n\ndef f(output):\n    from support import SAME\n    return output == WORD == SAME",
    )
    write(root, "from .words import WORD\n\ndef f(output):\n    return output == WORD", "support/own.py")
    assert check(root).passed
    assert check(root, "support.own:f").passed


def test_a_module_is_imported_once(root: Path) -> None:
    write(root, "made = []\nmade.append(1)\n\ndef f(output):\n    made.append(1)\n    return len(made) == 3")
    assert not check(root).passed
    assert check(root).passed


def test_a_file_whose_name_another_module_has_is_still_the_one(root: Path) -> None:
    write(root, "def f(output):\n    return output == 'Hello'", "json.py")
    write(root, "def f(output):\n    return output == 'Hello'", "tests/loopback.py")
    assert check(root, "json:f").passed
    assert check(root, "tests.loopback:f").passed
    import json

    assert json.loads("1") == 1


def test_two_projects_may_have_files_of_one_name(root: Path) -> None:
    write(root, "def f(output):\n    return True", "one/checks.py")
    write(root, "def f(output):\n    return False", "two/checks.py")
    assert check(root / "one").passed
    assert not check(root / "two").passed


# --- functions that fail


@pytest.mark.parametrize(
    ("body", "said", "line"),
    [
        ("raise KeyError('colour')", "checks:f raised KeyError: 'colour'", 2),
        ("raise ValueError('two\\nlines')", "checks:f raised ValueError: two", 2),
        ("return output.nothing", "checks:f raised AttributeError: 'str' object has no attribute 'nothing'", 2),
        ("import sys; sys.exit(3)", "checks:f ended the program: sys.exit(3)", 2),
        ("import json; json.loads('{')", "checks:f raised json.decoder.JSONDecodeError: Expecting property name", 2),
        ("raise TimeoutError('of mine')", "checks:f raised TimeoutError: of mine", 2),
    ],
)
@pytest.mark.parametrize("kind", ["def", "async def"])
def test_what_a_function_raises_is_told_with_its_place(root: Path, kind: str, body: str, said: str, line: int) -> None:
    write(root, f"{kind} f(output):\n    {body}")
    error = refused(root)
    assert said in error.message
    assert str(error.where) == f"checks.py:{line}"
    assert error.__cause__ is not None


@pytest.mark.parametrize(
    ("body", "said"),
    [("return next(iter([]))", "StopIteration"), ("return f(output)", "checks:f raised RecursionError")],
)
def test_what_only_a_plain_function_can_raise(root: Path, body: str, said: str) -> None:
    write(root, f"def f(output):\n    {body}")
    assert said in refused(root).message


@pytest.mark.parametrize(
    ("text", "said", "where"),
    [
        ("def f(output:\n    pass", "SyntaxError", "checks.py:1"),
        ("import nothing_of_this_name", "No module named 'nothing_of_this_name'", "checks.py:1"),
        ("\nimport sys\nsys.exit()", "ended the program: sys.exit(None)", "checks.py:3"),
        ("f = 3", "checks.py 'f' is no function", None),
        ("g = 3", "checks.py has no function 'f'", None),
        ("def f(): pass", "checks:f must take the output, or the output and a context", None),
        ("def f(a, b, c): pass", "checks:f must take the output", None),
    ],
)
def test_a_module_that_cannot_be_used(root: Path, text: str, said: str, where: str | None) -> None:
    write(root, text)
    for _ in range(2):
        error = refused(root)
        assert said in error.message
        assert (str(error.where) if error.where else None) == where


@pytest.mark.parametrize("value", [None, 3, "", "checks", "checks:", "a b:c", "../checks:f", "checks.py:f:g"])
def test_what_names_no_function_is_a_fault(root: Path, value: Any) -> None:
    assert "needs a function of the project" in refused(root, value).message


@pytest.mark.parametrize("name", ["os:getcwd", "checks:f", "promptchain.errors:nearest", "os.path:join"])
def test_nothing_from_outside_of_the_project_is_run(root: Path, name: str) -> None:
    assert refused(root, name).message.startswith("the project has no file ")


def test_a_link_does_not_lead_out_of_the_project(root: Path) -> None:
    write(root, "def f(output):\n    return True", "outside.py")
    (root / "project").mkdir()
    (root / "project" / "checks.py").symlink_to(root / "outside.py")
    assert refused(root / "project").message == "checks.py leads out of the project"


@pytest.mark.parametrize(
    "head",
    [
        "def f(output):\n    go.wait(60)",
        "async def f(output):\n    import asyncio; await asyncio.sleep(60)",
    ],
)
def test_a_function_that_hangs_is_given_up(root: Path, head: str) -> None:
    write(root, f"import threading\ngo = threading.Event()\nthreading.go_on = go\n\n{head}")
    started = time.monotonic()
    assert refused(root, timeout=0.05).message == "checks:f took longer than 0.05 s"
    assert refused(root, limit=0.05).message == "checks:f took longer than 0.05 s"
    assert time.monotonic() - started < 30
    vars(threading).pop("go_on").set()


@pytest.mark.parametrize("timeout", [0, -1, "5", True, float("inf")])
def test_a_wrong_timeout_is_a_fault(root: Path, timeout: Any) -> None:
    assert "`timeout` of python is a number of seconds" in refused(root, timeout=timeout).message


def test_functions_run_beside_each_other(root: Path) -> None:
    write(
        root,
        "import threading\nall_here = threading.Barrier(3)\n\ndef f(output):\n    all_here.wait(60)\n    return True",
    )
    lm = ScriptedLM([])
    grader = Grader(lm, Caller(lm), judge=None, root=root)

    async def three() -> list[Verdict]:
        spec = Spec("python", "checks:f")
        return await asyncio.gather(*(CODE["python"](Subject("x"), spec, grader) for _ in range(3)))

    assert all(verdict.passed for verdict in asyncio.run(three()))


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_what_a_function_prints_is_no_data(root: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    write(root, f"print('on import')\n\n{kind} f(output):\n    print('mine')\n    return True")
    before = sys.stdout
    check(root)
    print("data")
    assert sys.stdout is before
    captured = capsys.readouterr()
    assert captured.out == "data\n"
    assert captured.err == "on import\nmine\n"


def test_others_print_as_ever_while_a_function_hangs(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(
        root, "import time\n\nasync def f(output):\n    import asyncio\n    await asyncio.sleep(0.1)\n    return True"
    )
    lm = ScriptedLM([])
    grader = Grader(lm, Caller(lm), judge=None, root=root)

    async def beside() -> None:
        task = asyncio.create_task(_check("python", Subject("x"), Spec("python", "checks:f"), grader))
        await asyncio.sleep(0.05)
        print("data")
        await task

    asyncio.run(beside())
    assert capsys.readouterr().out == "data\n"


# --- webhooks


def hook(*replies: Any, value: str | None = None, **rest: Any) -> tuple[Verdict, Loopback]:
    with Loopback(list(replies)) as server:
        return check(Path.cwd(), value or f"{server.url}/check?key=5ecr3t", kind="webhook", **rest), server


def unanswered(*replies: Any, **rest: Any) -> AssertionFault:
    with pytest.raises(AssertionFault) as raised:
        hook(*replies, **rest)
    assert "5ecr3t" not in str(raised.value)
    assert "\n" not in raised.value.message
    return raised.value


@pytest.mark.parametrize(
    ("answer", "passed", "score"),
    [
        ({"pass": True}, True, 1.0),
        ({"pass": False}, False, 0.0),
        ({"pass": True, "score": 0.4, "reason": "so so"}, True, 0.4),
        ({"pass": False, "score": 0.4, "reason": None, "more": 1}, False, 0.4),
    ],
)
def test_a_webhook_decides(answer: dict[str, Any], passed: bool, score: float) -> None:
    verdict, server = hook(Reply(body=answer), output={"reply": "Hé"}, values={"a": 1}, config={"b": 2})
    assert (verdict.passed, verdict.score) == (passed, score)
    if answer.get("reason"):
        assert verdict.reason == "so so"
    (asked,) = server.requests
    assert (asked.method, asked.path) == ("POST", "/v1/check?key=5ecr3t")
    assert asked.headers["content-type"] == "application/json"
    assert asked.body["output"] == {"reply": "Hé"}
    assert asked.body["context"]["vars"] == {"a": 1}
    assert asked.body["context"]["config"] == {"b": 2}


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(body="<html>"), "gave no verdict"),
        (Reply(body="[]"), "gave no verdict"),
        (Reply(body={"score": 1}), "gave no verdict"),
        (Reply(body={"pass": "yes"}), "gave no verdict"),
        (Reply(body=b"\xff\xfe"), "gave no verdict"),
        (500, "answered with status 500"),
        (404, "answered with status 404"),
        (Reply(body={"pass": True}, fate=Fate.CUT), "gave no verdict"),
    ],
)
def test_a_webhook_that_gives_no_verdict_is_a_fault(reply: Any, said: str) -> None:
    assert unanswered(reply).message.startswith(f"the webhook at 127.0.0.1 {said}")


def test_a_webhook_that_hangs_is_given_up() -> None:
    threads = threading.active_count()
    started = time.monotonic()
    error = unanswered(Reply(fate=Fate.HANG), timeout=0.1)
    assert error.message == "the webhook at 127.0.0.1 did not answer within 0.1 s"
    assert time.monotonic() - started < 30
    until(lambda: threading.active_count() <= threads)


def test_a_server_that_is_not_there_is_a_fault() -> None:
    with Loopback() as server:
        url = server.url
    error = unanswered(value=url)
    assert "cannot be reached" in error.message
    assert error.hint


@pytest.mark.parametrize("value", [None, 3, "checks", "file:///etc/passwd", "ftp://x/y", "http://", "http://[", "//x"])
def test_what_is_no_url_is_a_fault(value: Any, root: Path) -> None:
    assert "webhook needs a URL" in refused(root, value, kind="webhook").message
