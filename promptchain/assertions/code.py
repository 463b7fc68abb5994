"""Assertions that run code of the project, or ask a server: `python` as `module:function`, and `webhook`."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import inspect
import json
import re
import sys
import threading
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from http.client import HTTPException
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from promptchain.assertions.expressions import verdict_of
from promptchain.assertions.grader import Grader
from promptchain.assertions.protocol import AskingCheck, AssertionFault, Spec, Subject, Verdict
from promptchain.errors import Where

_REFERENCE = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*)")
_MOST = 1_000_000  # bytes of a webhook's answer
_T = TypeVar("_T")


async def function(subject: Subject, spec: Spec, grader: Grader) -> Verdict:
    """value: `module:function` of a file in the project. It is called with the output and a context (see `_context`),
    or with the output alone where it takes one argument; what it may return is said by `verdict_of`.

    A plain function runs in a thread of its own, an async one on the event loop. option `timeout`: seconds, the
    grader's without it; a plain function that is late goes on, unheard. What it prints goes to stderr.
    Raises AssertionFault for a function that is not there, that fails or that is late.
    """
    name = _name(spec)
    timeout = _timeout(spec, grader)
    with _prints_to_stderr():
        try:
            async with asyncio.timeout(timeout) as limit:
                result = await _called(name, subject, spec, grader.root)
        except AssertionFault:
            raise
        except (Exception, SystemExit) as exc:
            if isinstance(exc, TimeoutError) and limit.expired():
                raise AssertionFault(f"{name} took longer than {timeout:g} s") from exc
            raise _fault(name, exc, grader.root) from exc
    return verdict_of(result, spec)


async def webhook(subject: Subject, spec: Spec, grader: Grader) -> Verdict:
    """value: a URL. It gets {"output": …, "context": …} (see `_context`) by POST, and answers
    {"pass": true, "score": 0.9, "reason": "…"}, of which `pass` alone is needed. option `timeout`: seconds.

    Raises AssertionFault where no such answer comes.
    """
    url, server = _address(spec)
    timeout = _timeout(spec, grader)
    body = json.dumps({"output": subject.output, "context": _context(subject, spec)}, default=str).encode()
    try:
        async with asyncio.timeout(timeout):
            status, answer = await _in_thread(lambda: _post(url, body, timeout + 1))
    except TimeoutError as exc:
        raise AssertionFault(f"{server} did not answer within {timeout:g} s") from exc
    except (OSError, ValueError, HTTPException) as exc:
        reason = getattr(exc, "reason", None) or exc
        raise AssertionFault(f"{server} cannot be reached: {reason}", hint="is it running, and the URL right?") from exc
    if not 200 <= status < 300:
        raise AssertionFault(f"{server} answered with status {status}")
    try:
        said = json.loads(answer)
    except ValueError:
        said = None
    if not isinstance(said, Mapping) or not isinstance(said.get("pass"), bool):
        hint = 'it should answer {"pass": true}, with "score" and "reason" if it likes'
        raise AssertionFault(f"{server} gave no verdict", hint=hint)
    return verdict_of({name: said[name] for name in ("pass", "score", "reason") if said.get(name) is not None}, spec)


def _context(subject: Subject, spec: Spec) -> dict[str, Any]:
    """What code may look at beside the output: `vars`, the values that templates see; `config`, as the assertion gives
    it; `threshold`. A copy, so that nothing that is done to it has an effect."""
    config = spec.options.get("config") or {}
    return copy.deepcopy({"vars": dict(subject.values), "config": config, "threshold": spec.threshold})


def _timeout(spec: Spec, grader: Grader) -> float:
    given = spec.options.get("timeout", grader.timeout)
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given <= 86_400:
        raise AssertionFault(f"`timeout` of {spec.type} is a number of seconds, not {given!r}")
    return float(given)


# --- a function of the project


def _name(spec: Spec) -> str:
    if isinstance(spec.value, str) and _REFERENCE.fullmatch(spec.value.strip()):
        return spec.value.strip()
    raise AssertionFault("python needs a function of the project, such as checks:polite")


async def _called(name: str, subject: Subject, spec: Spec, root: Path) -> Any:
    """What the function returns; it raises what the function, or the import of its module, raises."""
    called = await _in_thread(lambda: _find(name, root))
    arguments: tuple[Any, ...] = (copy.deepcopy(subject.output), _context(subject, spec))
    arguments = arguments[: _takes(called, name)]
    if inspect.iscoroutinefunction(called):
        result = called(*arguments)
    else:
        result = await _in_thread(lambda: called(*arguments))
    return await result if inspect.isawaitable(result) else result


def _takes(called: Callable[..., Any], name: str) -> int:
    """How many arguments the function takes: two, or one."""
    try:
        signature = inspect.signature(called)
    except (ValueError, TypeError):  # made in C, say
        return 2
    for count in (2, 1):
        try:
            signature.bind(*range(count))
        except TypeError:
            continue
        return count
    raise AssertionFault(f"{name} must take the output, or the output and a context")


_importing = threading.Lock()


def _find(name: str, root: Path) -> Callable[..., Any]:
    """The function; its module is imported once. It raises what the module raises."""
    module_name, _, wanted = name.partition(":")
    path = _file(module_name, root)
    with _importing:
        found = getattr(_module(module_name, path, root), wanted, None)
    if not callable(found):
        what = f"has no function '{wanted}'" if found is None else f"'{wanted}' is no function"
        raise AssertionFault(f"{path.relative_to(root.resolve())} {what}")
    return found  # type: ignore[no-any-return]


def _file(module: str, root: Path) -> Path:
    """The module's file, links resolved. Raises AssertionFault where there is none inside of the project."""
    root = root.resolve()
    base = root.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            if not path.resolve().is_relative_to(root):
                raise AssertionFault(f"{path.relative_to(root)} leads out of the project")
            return path.resolve()
    shown = base.relative_to(root).with_suffix(".py")
    raise AssertionFault(f"the project has no file {shown}", hint="write module:function, from the project's folder")


def _module(name: str, path: Path, root: Path) -> ModuleType:
    """The module of a file: by its own name where that means this file, else by one that nothing else has."""
    if str(root.resolve()) not in sys.path:
        # Last, so that a file of the project never stands in for a library; it stays, for imports within functions.
        sys.path.append(str(root.resolve()))
    unique = f"promptchain_{sha256(str(path).encode()).hexdigest()[:12]}"
    if unique in sys.modules:
        return sys.modules[unique]
    try:
        module = import_module(name)
        if Path(getattr(module, "__file__", None) or "").resolve() == path:
            return module
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise  # something that the module itself imports
    spec = spec_from_file_location(unique, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[unique] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[unique]
        raise
    return module


def _fault(name: str, exc: BaseException, root: Path) -> AssertionFault:
    """What went wrong in the project's code, and the line of it where it did."""
    if isinstance(exc, SystemExit):
        said = f"ended the program: sys.exit({exc.code!r})"
    else:
        lines = traceback.format_exception_only(exc)
        said = "raised " + lines[-1 if isinstance(exc, SyntaxError) else 0].strip().splitlines()[0]
    where = None
    if isinstance(exc, SyntaxError) and exc.filename:
        where = _place(exc.filename, exc.lineno, root)
    for frame in traceback.extract_tb(exc.__traceback__):
        where = _place(frame.filename, frame.lineno, root) or where
    return AssertionFault(f"{name} {said}", where=where)


def _place(file: str, line: int | None, root: Path) -> Where | None:
    """The place, where it is in the project's own code: a virtual environment in it is not."""
    path, root = Path(file), root.resolve()
    if not path.is_absolute() or not path.resolve().is_relative_to(root):
        return None
    own = path.resolve().relative_to(root)
    return None if any(part.startswith(".") or part == "site-packages" for part in own.parts) else Where(str(own), line)


# --- threads, and what is printed in them


def _in_thread(work: Callable[[], _T]) -> Awaitable[_T]:
    """What `work` returns or raises. The thread is a daemon of its own: one of a pool that hangs would keep the event
    loop from ending."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[_T] = loop.create_future()

    def settle(result: _T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def run() -> None:
        result: _T | None = None
        error: BaseException | None = None
        try:
            result = work()
        except StopIteration as exc:  # no future takes it
            error = RuntimeError(f"StopIteration: {exc}")
        except BaseException as exc:  # sys.exit() too
            error = exc
        with suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(settle, result, error)

    context = contextvars.copy_context()
    threading.Thread(target=lambda: context.run(run), name="assertion", daemon=True).start()
    return future


_inside: contextvars.ContextVar[bool] = contextvars.ContextVar("inside", default=False)
_counting = threading.Lock()
_users = 0


class _Diverted:
    """Standard output, but for what functions of the project print: stdout is for the command's data."""

    def __init__(self, real: Any) -> None:
        self.real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr if _inside.get() else self.real, name)


@contextmanager
def _prints_to_stderr() -> Iterator[None]:
    """Divert what is printed within, in this task and the threads that it starts. Others print as ever."""
    global _users
    with _counting:
        _users += 1
        if not isinstance(sys.stdout, _Diverted):
            sys.stdout = _Diverted(sys.stdout)
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)
        with _counting:
            _users -= 1
            if not _users and isinstance(sys.stdout, _Diverted):
                sys.stdout = sys.stdout.real


# --- a server


def _address(spec: Spec) -> tuple[str, str]:
    """The URL, and what to call it: a URL may hold a secret."""
    with suppress(ValueError):
        parts = urlsplit(spec.value) if isinstance(spec.value, str) else None
        if parts and parts.scheme in ("http", "https") and parts.hostname:
            return parts.geturl(), f"the webhook at {parts.hostname}"
    raise AssertionFault("webhook needs a URL, such as https://example.org/check")


def _post(url: str, body: bytes, timeout: float) -> tuple[int, bytes]:
    """The status and the body of the answer. Raises OSError, ValueError or HTTPException."""
    request = Request(url, body, {"Content-Type": "application/json", "Accept": "application/json"})
    try:
        with urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.read(_MOST)
    except HTTPError as exc:
        with exc:
            return exc.code, b""


CODE: dict[str, AskingCheck] = {"python": function, "webhook": webhook}
"""Assertions that ask code, by their names. `python` as an expression is in `expressions.py`."""
