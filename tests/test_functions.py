"""Functions of the project: which one a name means, how it is called, and how that may fail."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain import functions
from promptchain.errors import FunctionError
from promptchain.functions import Function
from tests.patience import PATIENCE, soon, until

TOOL = '''
from dataclasses import dataclass

@dataclass
class Order:
    id: str
    amount: float = 0.0

def normalise(text: str, limit: int = 3, orders: list[Order] | None = None) -> str:
    """Make a text plain,
    in any language.

    Args:
        text: what the customer wrote
        limit (int): how many words,
            at most
    """
    return " ".join(text.split()[:limit])
'''


@pytest.fixture(autouse=True)
def root(tmp_path: Path) -> Iterator[Path]:
    """An empty project, the first of this process; what is imported from it is forgotten afterwards."""
    modules, paths = set(sys.modules), list(sys.path)
    sys.path[:] = [path for path in paths if not Path(path).is_relative_to(tmp_path.parents[1])]
    yield tmp_path
    sys.path[:] = paths
    for name in set(sys.modules) - modules:
        module = sys.modules[name]
        if str(tmp_path) in f"{getattr(module, '__file__', '')} {getattr(module, '__path__', '')}":
            del sys.modules[name]


def write(root: Path, text: str, name: str = "tools.py") -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def called(root: Path, name: str = "tools:f", *, timeout: float | None = 10, **arguments: Any) -> Any:
    return asyncio.run(functions.call(functions.find(name, root), arguments, timeout=timeout))


def refused(root: Path, name: str = "tools:f", **rest: Any) -> FunctionError:
    with pytest.raises(FunctionError) as raised:
        called(root, name, **rest)
    assert "\n" not in str(raised.value)
    assert "Traceback" not in str(raised.value)
    return raised.value


# --- which function a name means


def test_a_function_is_found_with_all_that_is_said_of_it(root: Path) -> None:
    write(root, TOOL, "support/tools.py")
    found = functions.find("support.tools:normalise", root)
    assert (found.name, found.is_async) == ("support.tools:normalise", False)
    assert found.path == (root / "support/tools.py").resolve()
    assert found.description == "Make a text plain, in any language."
    assert found.call("a b c d") == "a b c"


@pytest.mark.parametrize(
    ("text", "is_async"),
    [
        ("def f(): pass", False),
        ("async def f(): pass", True),
        ("class C:\n    async def __call__(self): pass\nf = C()", True),
        ("import functools\nasync def g(a): pass\nf = functools.partial(g, a=1)", True),
        ("class f:\n    async def __call__(self): pass", False),
    ],
)
def test_which_functions_are_async(root: Path, text: str, is_async: bool) -> None:
    write(root, text)
    assert functions.find("tools:f", root).is_async is is_async


@pytest.mark.parametrize(
    "name", ["", "tools", "tools:", ":f", "..tools:f", "../tools:f", "tools.:f", "a b:c", "tools:f.g", "/etc/x:f", 3]
)
def test_what_names_no_function(root: Path, name: Any) -> None:
    write(root, "def f(): pass")
    error = refused(root, name)
    assert "does not name a function" in error.message
    assert "module:function" in (error.hint or "")
    assert functions.check(name, root) == (error.message, error.hint)
    assert functions.fingerprint(name, root) == {}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("os:system", "the project has no file os.py"),
        ("os.path:join", "the project has no file os/path.py"),
        ("promptchain.errors:nearest", "the project has no file promptchain/errors.py"),
        ("suport.tools:normalise", "the project has no file suport/tools.py; did you mean 'support.tools'?"),
        ("support.tools:normalize", "support/tools.py has no function 'normalize'; did you mean 'normalise'?"),
        ("support.tools:NAMES", "support/tools.py 'NAMES' is no function"),
        (f"{'x' * 300}:f", "the project has no file"),
    ],
)
def test_what_is_not_there_is_told_with_what_is_near(root: Path, name: str, said: str) -> None:
    write(root, TOOL + "\nNAMES = ['a']", "support/tools.py")
    assert str(refused(root, name)).startswith(said)
    message, hint = functions.check(name, root) or ("", None)
    assert f"{message}; {hint}".startswith(said)


@pytest.mark.parametrize("link", ["tools.py", "support/__init__.py", "support"])
def test_a_link_does_not_lead_out_of_the_project(root: Path, link: str) -> None:
    for name in ("tools.py", "__init__.py"):
        write(root, "def f(): pass", f"outside/{name}")
    project = root / "project"
    write(project, "def f(): pass", "support/tools.py" if link.endswith("init__.py") else "other.py")
    target = root / "outside" / ("" if link == "support" else Path(link).name)
    (project / link).symlink_to(target)
    name = "tools:f" if link == "tools.py" else "support.tools:f"
    assert "leads out of the project" in refused(project, name).message
    assert functions.check(name, project)
    assert functions.fingerprint(name, project) == {}


def test_a_link_within_the_project_is_followed(root: Path) -> None:
    write(root, "def f(): return 1", "lib/real.py")
    (root / "tools.py").symlink_to(root / "lib/real.py")
    assert called(root) == 1


def test_a_file_is_found_though_a_library_has_its_name(root: Path) -> None:
    write(root, "import json\n\ndef f(): return json.dumps([1])", "json.py")
    write(root, "from .words import WORD\n\ndef f(): return WORD", "email/own.py")
    write(root, "WORD = 'mine'", "email/words.py")
    assert called(root, "json:f") == "[1]"
    assert called(root, "email.own:f") == "mine"
    import email

    assert json.loads("1") == 1
    assert "words" not in vars(email)


def test_a_library_whose_name_a_file_has_is_not_run(root: Path) -> None:
    sys.modules.pop("this", None)
    write(root, "def f(): return 1", "this.py")
    assert called(root, "this:f") == 1
    assert "this" not in sys.modules


@pytest.mark.parametrize("absolute", [True, False])
def test_projects_with_files_of_one_name_are_not_mixed_up(root: Path, absolute: bool) -> None:
    for name in ("one", "two", "three"):
        write(root / name, f"WORD = {name!r}", "support/words.py")
        write(root / name, f"WHO = {name!r}", "who.py")
        imports = "from support import words\nimport who, support.words as same" if absolute else "from . import words"
        inside = "import who; import support.words as w; return w.WORD" if absolute else "return words.WORD"
        write(root / name, f"{imports}\n\ndef f():\n    {inside}", "support/tools.py")
        write(root / name, "from support.tools import f\nimport who\n\ndef g(): return [f(), who.WHO]", "tools.py")
    (root / "two/support/__init__.py").write_text("")
    for _ in range(2):
        for name in ("one", "two", "three"):
            assert called(root / name, "support.tools:f") == name
            assert called(root / name, "tools:g") == [name, name]


def test_a_second_project_has_libraries_too(root: Path) -> None:
    write(root / "one", "def f(): return 1")
    write(root / "two", "import os.path\nimport email.message as m\nfrom collections import abc\nimport nothing_here")
    called(root / "one")
    error = refused(root / "two")
    assert error.message == "the import of tools.py raised ModuleNotFoundError: No module named 'nothing_here'"
    assert str(error.where) == "tools.py:4"
    write(root / "two", "import support.missing", "other.py")
    write(root / "two", "", "support/__init__.py")
    assert "No module named 'support.missing'" in refused(root / "two", "other:f").message


def test_a_module_is_imported_once_by_many_threads(root: Path) -> None:
    write(root, "import time\nmade = []\ntime.sleep(0.1)\nmade.append(1)\n\ndef f(): return len(made)")
    write(root / "two", "import time\nmade = []\ntime.sleep(0.1)\nmade.append(1)\n\ndef f(): return len(made)")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda place: functions.find("tools:f", place), [root, root / "two"] * 4))
    assert len({id(function.call) for function in found}) == 2
    assert {function.call() for function in found} == {1}


def test_an_edited_module_stays_what_it_was_in_this_process(root: Path) -> None:
    write(root, "def f(): return 'before'")
    assert called(root) == "before"
    write(root, "def f(): return 'afterwards'")
    assert called(root) == "before"


def test_an_import_that_hangs_holds_up_no_other(root: Path) -> None:
    write(
        root,
        "import threading\ngo = threading.Event()\nimport sys\nsys.go = go\ngo.wait(60)\n\ndef f(): pass",
        "slow.py",
    )
    write(root, "def f(): return 1")
    thread = threading.Thread(target=lambda: functions.find("slow:f", root))
    thread.start()
    try:
        until(lambda: hasattr(sys, "go"))
        assert called(root) == 1
        assert thread.is_alive()
    finally:
        vars(sys).pop("go").set()
        thread.join()


@pytest.mark.parametrize(
    ("text", "said", "where"),
    [
        ("def f(:\n    pass", "the import of tools.py raised SyntaxError", "tools.py:1"),
        ("\nraise ValueError('a\\nb')", "the import of tools.py raised ValueError: a b", "tools.py:2"),
        ("import sys\nsys.exit(2)", "the import of tools.py ended the program: sys.exit(2)", "tools.py:2"),
        ("raise GeneratorExit", "the import of tools.py raised GeneratorExit", "tools.py:1"),
        ("x = '\\0'\nf = 1\n\0", "the import of tools.py raised", None),
    ],
)
def test_a_module_that_cannot_be_imported(root: Path, text: str, said: str, where: str | None) -> None:
    write(root, text)
    for _ in range(2):
        error = refused(root)
        assert error.message.startswith(said)
        assert where is None or str(error.where) == where
        assert error.__cause__ is not None


def test_an_interrupt_of_an_import_is_a_fault_only_where_no_signal_comes(root: Path) -> None:
    write(root, "raise KeyboardInterrupt\n\ndef f(): pass")
    with pytest.raises(KeyboardInterrupt):
        functions.find("tools:f", root)
    with ThreadPoolExecutor(1) as pool, pytest.raises(FunctionError, match=r"import of tools\.py raised Keyb"):
        pool.submit(functions.find, "tools:f", root).result()


def test_what_is_printed_is_no_data(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root, "print('import')\n\ndef f(): print('call')\n\nasync def g(): print('async')")
    before = sys.stdout
    called(root)
    called(root, "tools:g")
    print("data")
    assert sys.stdout is before
    assert capsys.readouterr() == ("data\n", "import\ncall\nasync\n")


def module_of(name: str, root: Path) -> Any:
    """The module that a function was imported from: another test's project may have taken its plain name."""
    return sys.modules[functions.find(name, root).call.__module__]


def test_what_a_late_function_prints_is_no_data_either(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(root, "import threading\ngo = threading.Event()\nout = threading.Event()\n\n"
          "def f():\n    go.wait(60)\n    print('late')\n    out.set()")  # fmt: skip
    assert refused(root, timeout=0.05).message == "tools:f took longer than 0.05 s"
    write(root, "def f(): print('other')", "other.py")
    called(root, "other:f")
    module = module_of("tools:f", root)
    module.go.set()
    assert module.out.wait(PATIENCE)
    print("data")
    assert capsys.readouterr() == ("data\n", "other\nlate\n")


# --- calling


def test_arguments_go_by_their_names(root: Path) -> None:
    write(root, "def f(a, /, b, *rest, c=3, **more): return [a, b, rest, c, more]")
    assert called(root, a=1, b=2, d=4) == [1, 2, [], 3, {"d": 4}]
    write(root, "def g(a=1, b=2, /, *, context=None): return [a, b, context]", "other.py")
    assert called(root, "other:g", b=5, context={"x": 1}) == [1, 5, {"x": 1}]


def test_a_function_cannot_change_what_it_gets(root: Path) -> None:
    write(root, "def f(items): items.append(1)\n\nasync def g(items): items.append(1)")
    items: list[int] = []
    called(root, items=items)
    called(root, "tools:g", items=items)
    assert items == []


def test_a_plain_function_that_gives_an_awaitable_is_awaited(root: Path) -> None:
    write(root, "async def g():\n    return {1}\n\ndef f(): return g()")
    assert called(root) == [1]


@pytest.mark.parametrize("kind", ["def", "async def"])
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise KeyError('a')", "tools:f raised KeyError: 'a'"),
        ("raise ValueError('a\\nb')", "tools:f raised ValueError: a b"),
        ("raise TimeoutError('mine')", "tools:f raised TimeoutError: mine"),
        ("raise SystemExit(3)", "tools:f ended the program: sys.exit(3)"),
        ("raise KeyboardInterrupt", "tools:f raised KeyboardInterrupt"),
        ("import asyncio; raise asyncio.CancelledError", "tools:f raised asyncio.exceptions.CancelledError"),
        ("raise BaseException('x' * 10_000_000)", "tools:f raised BaseException: xxx"),
        ("import json; json.loads('{')", "tools:f raised json.decoder.JSONDecodeError"),
    ],
)
def test_what_a_function_raises_is_told_with_its_place(root: Path, kind: str, body: str, said: str) -> None:
    write(root, f"{kind} f():\n    {body}", "support/tools.py")
    error = refused(root, "support.tools:f")
    assert error.message.startswith(said.replace("tools:f", "support.tools:f"))
    assert len(error.message) < 400
    assert str(error.where) == "support/tools.py:2"
    assert error.__cause__ is not None


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return next(iter(()))", "StopIteration"),
        ("return f()", "RecursionError"),
        ("raise GeneratorExit", "GeneratorExit"),
    ],
)
def test_what_only_a_plain_function_can_raise(root: Path, body: str, said: str) -> None:
    write(root, f"def f():\n    {body}")
    error = refused(root)
    assert error.message.startswith(f"tools:f raised {said}")
    assert str(error.where) == "tools.py:2"


@pytest.mark.parametrize(
    "body",
    [
        "def f():\n    go.wait(60)",
        "async def f():\n    import asyncio; await asyncio.sleep(60)",
        "def f():\n    while True:\n        yield go.wait(6)",
        "import time\nend = time.time() + 60\n\ndef f():\n    while time.time() < end and not go.is_set(): pass",
    ],
)
def test_a_function_that_hangs_is_given_up(root: Path, body: str) -> None:
    write(root, f"import threading\ngo = threading.Event()\n{body}")
    started = time.monotonic()
    assert refused(root, timeout=0.05).message == "tools:f took longer than 0.05 s"
    assert time.monotonic() - started < 30
    module_of("tools:f", root).go.set()


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_cancelling_stops_waiting_at_once(root: Path, kind: str) -> None:
    head = "import threading\nhere, go = threading.Event(), threading.Event()"
    body = "go.wait(60)" if kind == "def" else "import asyncio; await asyncio.sleep(60)"
    write(root, f"{head}\n\n{kind} f():\n    here.set(); {body}")

    async def cancelled() -> float:
        task = asyncio.create_task(functions.call(functions.find("tools:f", root), {}, timeout=None))
        await soon(module_of("tools:f", root).here.is_set)
        started = time.monotonic()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return time.monotonic() - started

    assert asyncio.run(cancelled()) < 30
    module_of("tools:f", root).go.set()


def test_an_async_function_that_blocks_is_late_when_it_awaits(root: Path) -> None:
    write(root, "import time, asyncio\n\nasync def f():\n    time.sleep(0.1)\n    await asyncio.sleep(5)")
    assert "took longer" in refused(root, timeout=0.05).message


def test_functions_run_beside_each_other(root: Path) -> None:
    write(root, "import threading\nhere = threading.Barrier(20)\n\ndef f(): return here.wait(60) >= 0")

    async def many() -> list[Any]:
        found = functions.find("tools:f", root)
        return await asyncio.gather(*(functions.call(found, {}, timeout=60) for _ in range(20)))

    assert asyncio.run(many()) == [True] * 20


def test_context_variables_are_seen(root: Path) -> None:
    write(root, "from contextvars import ContextVar\nuser = ContextVar('user')\n\ndef f(): return user.get()")

    async def work() -> Any:
        found = functions.find("tools:f", root)
        module_of("tools:f", root).user.set("me")
        return await functions.call(found, {}, timeout=5)

    assert asyncio.run(work()) == "me"


def test_a_function_that_empties_the_path_harms_no_other(root: Path) -> None:
    write(root, "import sys\n\ndef f(): sys.path.clear()")
    write(root, "def f(): return 2", "other.py")
    before = list(sys.path)
    called(root)
    try:
        assert called(root, "other:f") == 2
    finally:
        sys.path[:] = before


# --- what comes of it


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("None", None),
        ("(1, 2.5, True, 'é')", [1, 2.5, True, "é"]),
        ("{'b', 'a', 'c'}", ["a", "b", "c"]),
        ("frozenset({3, 1})", [1, 3]),
        ("(n for n in range(3))", [0, 1, 2]),
        ("{1: 'a', None: 'b', True and 'x': 'c'}", {"1": "a", "null": "b", "x": "c"}),
        ("{}.values()", []),
        ("collections.deque([1])", [1]),
        ("decimal.Decimal('1.50')", "1.50"),
        ("datetime.datetime(2024, 1, 2, 3)", "2024-01-02T03:00:00"),
        ("datetime.date(2024, 1, 2)", "2024-01-02"),
        ("b'text'", "text"),
        ("pathlib.Path('a/b')", "a/b"),
        ("uuid.UUID(int=1)", "00000000-0000-0000-0000-000000000001"),
        ("Colour.RED", "red"),
        ("{Colour.RED: Number.ONE}", {"red": 1}),
        ("Order('a', [Order('b', [])])", {"id": "a", "more": [{"id": "b", "more": []}]}),
        ("Model(at=datetime.date(2024, 1, 2))", {"at": "2024-01-02"}),
        ("Array()", [[1, 2]]),
        ("Text('x')", "x"),
        ("'\\ud83d'", "\ufffd"),
    ],
)
def test_results_as_json(root: Path, text: str, expected: Any) -> None:
    write(
        root,
        "import collections, datetime, decimal, enum, pathlib, uuid, dataclasses, pydantic\n"
        "class Colour(enum.Enum):\n    RED = 'red'\n"
        "class Number(enum.IntEnum):\n    ONE = 1\n"
        "class Text(str): pass\n"
        "class Array:\n    def tolist(self): return [[1, 2]]\n"
        "@dataclasses.dataclass\nclass Order:\n    id: str\n    more: list\n"
        f"class Model(pydantic.BaseModel):\n    at: datetime.date\n\ndef f(): return {text}",
    )
    result = called(root)
    assert result == expected
    assert json.loads(json.dumps(result)) == result
    assert type(result) in (str, int, float, bool, list, dict, type(None))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("float('nan')", "nan, which is not a JSON value"),
        ("[float('inf')]", "inf, which is not a JSON value"),
        ("object()", "a value of the type object, which JSON cannot say"),
        ("{'a': [f]}", "a value of the type function"),
        ("b'\\xff'", "bytes that are no text"),
        ("open(__file__)", "a value of the type TextIOWrapper"),
        ("itertools.count()", "more than 16,000,000 bytes"),
        ("'x' * 17_000_000", "more than 16,000,000 bytes"),
        ("10 ** 10_000", "a whole number of 33,220 bits"),
        ("loop", "a value that is nested more than 100 deep"),
        ("{(1, 2): 3}", "a mapping with a key"),
        ("agen()", "a value of the type async_generator"),
        ("Model(n=1)", "a value of the type Model, which JSON cannot say: Error calling function `s`: ValueError: no"),
    ],
)
def test_results_that_json_cannot_say(root: Path, text: str, said: str) -> None:
    head = "import itertools, pydantic\nclass Model(pydantic.BaseModel):\n    n: int\n"
    head += "    @pydantic.field_serializer('n')\n    def s(self, n): raise ValueError('no')\n"
    head += "loop = []\nloop.append(loop)\nasync def agen(): yield 1\n"
    write(root, f"{head}def f(): return {text}")
    if "open" in text:
        write(root, "import io\n\ndef f(): return io.TextIOWrapper(io.BytesIO(b'x'))")
    assert refused(root, timeout=60).message.startswith(f"tools:f returned {said}")


def test_a_large_result_passes(root: Path) -> None:
    write(root, "def f(): return ['x' * 1_000_000] * 10")
    assert len(called(root)) == 10


def test_what_a_result_raises_while_it_is_read_is_the_function_s(root: Path) -> None:
    write(root, "def f():\n    yield 1\n    raise ValueError('half way')")
    error = refused(root)
    assert (error.message, str(error.where)) == ("tools:f raised ValueError: half way", "tools.py:3")


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_json_stays_what_it_is(value: Any) -> None:
    from promptchain.plain import as_json

    if "\\ud" not in json.dumps(value):
        assert as_json(value, 1_000_000) == value


# --- parameters


def test_parameters_are_a_schema(root: Path) -> None:
    write(root, TOOL)
    schema = functions.find("tools:normalise", root).parameters
    assert schema["properties"]["text"] == {"type": "string", "description": "what the customer wrote"}
    expected = {"type": "integer", "default": 3, "description": "how many words, at most"}
    assert schema["properties"]["limit"] == expected
    assert schema["properties"]["orders"]["anyOf"][0]["items"] == {"$ref": "#/$defs/Order"}
    assert schema["$defs"]["Order"]["properties"]["amount"] == {"type": "number", "default": 0.0}
    assert (schema["required"], schema["additionalProperties"]) == (["text"], False)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ("a", {"a": {}}),
        ("a: Any", {"a": {}}),
        ("a: 'int'", {"a": {"type": "integer"}}),
        ("a: int = None", {"a": {"anyOf": [{"type": "integer"}, {"type": "null"}]}}),
        ("a: Literal['x', 'y']", {"a": {"enum": ["x", "y"], "type": "string"}}),
        ("a: Annotated[int, Field(ge=1, description='how many')]",
         {"a": {"type": "integer", "minimum": 1, "description": "how many"}}),
        ("*a: int", {}),
        ("a: int, /, *, b: str = 'x'", {"a": {"type": "integer"}, "b": {"type": "string", "default": "x"}}),
        ("a: int, client: socket.socket = None", {"a": {"type": "integer"}}),
        ("a=object()", {"a": {}}),
    ],
)  # fmt: skip
def test_the_schema_of_a_parameter(root: Path, head: str, expected: dict[str, Any]) -> None:
    imports = "import socket\nfrom typing import *\nfrom pydantic import Field\n"
    write(root, f"{imports}\ndef f({head}): pass")
    schema = functions.find("tools:f", root).parameters
    assert schema["properties"] == expected
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(("head", "expected"), [("**more", True), ("**more: int", {"type": "integer"})])
def test_other_arguments_are_open_where_the_function_takes_them(root: Path, head: str, expected: Any) -> None:
    write(root, f"def f({head}): return more")
    found = functions.find("tools:f", root)
    assert found.parameters["additionalProperties"] == expected
    assert functions.bind_arguments(found, {"x": 1}) == {"x": 1}
    if expected is not True:
        with pytest.raises(FunctionError, match="the argument 'x' of tools:f"):
            functions.bind_arguments(found, {"x": "1"})


@pytest.mark.parametrize(
    "doc",
    [
        "Do it.\n\n    Args:\n        a: first\n        b (str, optional): second\n            one\n\n"
        "    Returns:\n        c: no",
        "Do it.\n\n    Parameters\n    ----------\n    a : int\n        first\n    b : str\n        second\n"
        "        one\n\n    Returns\n    -------\n    c : int\n        no",
        "Do it.\n\n    :param a: first\n    :param str b: second\n        one\n    :returns: no",
    ],
    ids=["google", "numpy", "sphinx"],
)
def test_descriptions_come_from_the_docstring(root: Path, doc: str) -> None:
    write(root, f'def f(a, b, c=1):\n    """{doc}\n    """')
    found = functions.find("tools:f", root)
    assert found.description == "Do it."
    said = {name: part.get("description") for name, part in found.parameters["properties"].items()}
    assert said == {"a": "first", "b": "second one", "c": None}


@given(st.text(alphabet="ab:*-(), \n\t`Args:Parameters", max_size=200))
def test_no_docstring_is_too_odd(text: str) -> None:
    from promptchain import docstrings

    assert "\n" not in docstrings.summary(text)
    assert all(name.isidentifier() or name[0].isdigit() for name in docstrings.parameters(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("from __future__ import annotations\ndef f(order: Order): pass",
         "the annotation of the parameter 'order' of tools:f cannot be resolved: name 'Order' is not defined"),
        ("def f(x, order: 'no type at all'): pass", "the annotation of the parameter 'order' of tools:f"),
        ("import socket\ndef f(conn: socket.socket): pass",
         "the parameter 'conn' of tools:f is of a type that JSON cannot say: socket"),
        ("from typing import Callable\ndef f(back: Callable[[], int]): pass", "the parameter 'back' of tools:f"),
        ("f = type", "what tools:f takes cannot be told"),
    ],
)  # fmt: skip
def test_parameters_that_cannot_be_told(root: Path, text: str, said: str) -> None:
    write(root, text)
    assert refused(root).message.startswith(said)


def bound(root: Path, text: str, **values: Any) -> dict[str, Any]:
    write(root, text)
    return functions.bind_arguments(functions.find("tools:f", root), values)


BINDING = """
import dataclasses, datetime, enum, pydantic
@dataclasses.dataclass
class Order:
    id: str
    items: tuple[int, ...] = ()
    def __post_init__(self):
        if self.id == "bad": raise RuntimeError("bad order")
class Model(pydantic.BaseModel):
    order: Order
class Colour(enum.Enum):
    RED = "red"
"""


def test_values_become_what_the_annotations_say(root: Path) -> None:
    head = "def f(order: Order, model: 'Model', day: datetime.date, colour: Colour, share: float, any, x=1):"
    head += " return order.id"
    values = {"order": {"id": "a", "items": [1]}, "model": {"order": {"id": "b"}}, "day": "2024-01-02"}
    given = bound(root, BINDING + head, **values, colour="red", share=1, any={"k": []})
    assert type(given["order"]).__name__ == "Order"
    assert given["order"].items == (1,)
    assert given["model"].order.id == "b"
    assert (given["day"].year, given["colour"].name, given["any"]) == (2024, "RED", {"k": []})
    assert "x" not in given
    assert called(root, **given) == "a"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "tools:f lacks the arguments 'n', 'order'"),
        ({"n": 1}, "tools:f lacks the argument 'order'"),
        ({"n": 1, "ordre": {}}, "tools:f takes no argument 'ordre'; did you mean 'order'?"),
        ({"n": "3", "order": {"id": "a"}}, "the argument 'n' of tools:f does not fit: input should be a valid integer"),
        ({"n": True, "order": {"id": "a"}}, "the argument 'n' of tools:f does not fit"),
        (
            {"n": 1, "order": {"id": 2}},
            "the argument 'order.id' of tools:f does not fit: input should be a valid string",
        ),
        ({"n": 1, "order": {"id": "a", "items": [1, "x"]}}, "the argument 'order.items[1]' of tools:f does not fit"),
        ({"n": 1, "order": {"id": "bad"}}, "the argument 'order' of tools:f does not fit: RuntimeError: bad order"),
        ({"n": None, "order": {"id": "a"}}, "the argument 'n' of tools:f does not fit"),
    ],
)
def test_values_that_do_not_fit(root: Path, values: dict[str, Any], said: str) -> None:
    with pytest.raises(FunctionError) as raised:
        bound(root, BINDING + "def f(n: int, order: Order): pass", **values)
    assert str(raised.value).startswith(said)


# --- by the source alone


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_fingerprint_is_of_all_that_is_imported_from_the_project(root: Path) -> None:
    files = {
        "support/__init__.py": "",
        "support/tools.py": "import os, json, yaml\nfrom . import words\nfrom .deep.more import X\nimport shared\n",
        "support/words.py": "def late():\n    from support.lazy import Y",
        "support/lazy.py": "import support.tools  # a ring\nraise RuntimeError('never run')",
        "support/deep/more.py": "from ...beyond import Z\nfrom ..words import late",
        "shared/__init__.py": "def broken(:",
        "json.py": "the library is meant",
        "unused.py": "",
    }
    for name, text in files.items():
        write(root, text, name)
    found = functions.fingerprint("support.tools:f", root)
    assert found == {name: digest(files[name]) for name in files if name not in ("json.py", "unused.py")}
    assert list(found) == sorted(found)
    write(root, "Y = 2", "support/lazy.py")
    assert functions.fingerprint("support.tools:f", root)["support/lazy.py"] == digest("Y = 2")
    assert functions.fingerprint("json:f", root) == {"json.py": digest(files["json.py"])}
    assert functions.fingerprint("missing:f", root) == {}
    assert "support" not in sys.modules


def test_a_fingerprint_is_bounded(root: Path) -> None:
    for number in range(600):
        write(root, f"import m{number + 1}", f"m{number}.py")
    assert len(functions.fingerprint("m0:f", root)) == 500


@pytest.mark.parametrize(
    "text",
    [
        "def f(): pass",
        "async def f(): pass",
        "class f: pass",
        "from os import getcwd as f",
        "import os as f",
        "from os import *",
        "f = lambda: 1",
        "import os\nf, g = os.getcwd, 1",
        "f: object = print",
        "if True:\n    pass\nelse:\n    def f(): pass",
        "try:\n    from x import f\nexcept ImportError:\n    f = None",
        "def __getattr__(name): return print",
        "print(f := print)",
        "for f in [print]: pass",
    ],
)
def test_a_check_sees_what_a_module_defines(root: Path, text: str) -> None:
    write(root, "raise RuntimeError('it is not run')\n" + text)
    assert functions.check("tools:f", root) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("f = 3", "tools.py 'f' is no function"),
        ("f = {'a': 1}", "tools.py 'f' is no function"),
        ("def g(): pass", "tools.py has no function 'f'"),
        ("def g():\n    def f(): pass", "tools.py has no function 'f'"),
        ("[f for f in ()]", "tools.py has no function 'f'"),
        ("\ndef f(:", "tools.py:2: it is not Python: invalid syntax"),
        ("\0", "tools.py: it is not Python"),
        ("(" * 5000, "tools.py"),
    ],
)
def test_a_check_tells_what_is_wrong(root: Path, text: str, said: str) -> None:
    write(root, text)
    message, _ = functions.check("tools:f", root) or ("", None)
    assert message.startswith(said)


def test_the_functions_that_are_named_are_the_modules_own(root: Path) -> None:
    others = "import asyncio\nfrom os import getcwd\nLIMIT = 3\nclass Order: ...\n"
    write(root, others + "def price(): pass\nasync def sum(): pass\n")
    assert functions.check("tools:wholly_other", root) == (
        "tools.py has no function 'wholly_other'",
        "known functions: price, sum",
    )
    assert functions.check("tools:getcw", root) == ("tools.py has no function 'getcw'", "did you mean 'getcwd'?")
    write(root, "from os import getcwd\n")
    assert functions.check("tools:wholly_other", root) == (
        "tools.py has no function 'wholly_other'",
        "known functions: getcwd",
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def f(a, b=1, /, c=2, *rest, d, e=3): pass",
         (("a", True), ("b", False), ("c", False), ("d", True), ("e", False))),
        ("async def f(a, **more): pass", (("a", True), ("**", False))),
        ("f = lambda a, b=1: 1", (("a", True), ("b", False))),
        ("def f(): pass", ()),
        ("@functools.lru_cache(3)\ndef f(a): pass", (("a", True),)),
        ("@wonderful\ndef f(a): pass", None),
        ("class f: pass", None),
        ("if x:\n    def f(a): pass\nelse:\n    def f(b): pass", None),
        ("from support.words import g as f", (("w", True),)),
        ("from os import getcwd as f", None),
        ("from tools import f", None),
        ("def g(a): pass", None),
        ("def f(:", None),
    ],
)  # fmt: skip
def test_parameters_by_the_source(root: Path, text: str, expected: Any) -> None:
    write(root, text)
    write(root, "from .own import g", "support/words.py")
    write(root, "def g(w): pass", "support/own.py")
    assert functions.parameters_of("tools:f", root) == expected


def test_a_function_is_a_value() -> None:
    found = Function("a:f", print, False, {}, "", Path("a.py"))
    assert found == Function("a:f", print, False, {}, "", Path("a.py"))
