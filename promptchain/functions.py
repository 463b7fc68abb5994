"""Functions of the user's project, for whoever has them called: assertions, steps, tools of a model.

Which file a name means is said by `modules`, how it is imported by `importing`, what a function takes by `signatures`.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import threading
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from promptchain import docstrings, importing, signatures
from promptchain.errors import FunctionError, Where, known_or_nearest
from promptchain.modules import check, file_of, fingerprint, parameters_of, split
from promptchain.plain import NotJSONError, as_json
from promptchain.threads import in_thread, prints_to_stderr

__all__ = [
    "MAX_RESULT",
    "Function",
    "FunctionError",
    "bind_arguments",
    "call",
    "check",
    "find",
    "fingerprint",
    "load",
    "outcome",
    "parameters_of",
]

MAX_RESULT = 16_000_000
"""Bytes of JSON that a function may return, or a little more."""

_SAID = 300  # characters of an exception in a message


@dataclass(frozen=True, slots=True)
class Function:
    """One that was found. name: `module:function`, as written. parameters: a JSON Schema, closed unless the function
    takes `**kwargs`. description: the first paragraph of the docstring. path: the file that the name means, links
    resolved. root: the project's folder."""

    name: str
    call: Callable[..., Any]
    is_async: bool
    parameters: Mapping[str, Any]
    description: str
    path: Path
    root: Path = Path()


def find(name: str, root: Path) -> Function:
    """The function `module:function` of the project, its module imported: in this thread, and for as long as it takes.

    Raises FunctionError for what is not there, is no function, or whose parameters cannot be told; and for an import
    that fails or ends the program. In the main thread KeyboardInterrupt passes. See `importing` for what comes of a
    file that is edited later.
    """
    called, path = load(name, root)
    return Function(
        name=name,
        call=called,
        is_async=_is_async(called),
        parameters=signatures.schema(called, name),
        description=docstrings.summary(signatures.documentation(called)),
        path=path,
        root=root,
    )


def _is_async(called: Callable[..., Any]) -> bool:
    own = getattr(type(called), "__call__", None)  # noqa: B004 - of an object that is called
    return inspect.iscoroutinefunction(called) or inspect.iscoroutinefunction(own)


def load(name: str, root: Path) -> tuple[Callable[..., Any], Path]:
    """The function and its file, whatever it takes. Raises FunctionError as `find` does."""
    module_name, wanted = split(name)
    root = root.resolve()
    path = file_of(module_name, root)
    shown = path.relative_to(root).as_posix()
    with prints_to_stderr():
        try:
            module = importing.import_file(module_name, path, root)
            found = getattr(module, wanted, None)
        except BaseException as exc:  # sys.exit() too
            if isinstance(exc, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
                raise  # Ctrl-C; to no other thread comes a signal
            raise _failed(f"the import of {shown}", exc, root) from exc
    if found is None and not hasattr(module, wanted):
        functions = [name for name, value in vars(module).items() if callable(value) and not name.startswith("__")]
        hint = known_or_nearest(wanted, functions, "functions")
        raise FunctionError(f"{shown} has no function '{wanted}'", hint=hint)
    if not callable(found):
        raise FunctionError(f"{shown} '{wanted}' is no function", hint=f"it is of the type {type(found).__name__}")
    return found, path


def bind_arguments(function: Function, values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON values as the function's annotations want them: a dataclass or a pydantic model is made of an object.

    Raises FunctionError, naming the argument, for one that is unknown, missing or of the wrong type.
    """
    return signatures.bind(function.call, function.name, values)


async def call(function: Function, arguments: Mapping[str, Any], *, timeout: float | None) -> Any:
    """What the function makes of the arguments, by their names and as `bind_arguments` gives them; as JSON, see
    `plain`.

    A plain function runs in a thread of its own. An async one runs on the event loop, and holds up all else while it
    does not await. timeout: seconds, None for no end. A plain function that is late, or whose caller was cancelled,
    goes on unheard; an async one is cancelled. What it prints goes to stderr. It gets copies of the arguments.

    Raises FunctionError for what it raises, for what is late, and for a result that JSON cannot say or that is larger
    than `MAX_RESULT`.
    """

    def work() -> Any:
        positional, named = signatures.placed(function.call, copy.deepcopy(dict(arguments)))
        return function.call(*positional, **named)

    def finish(result: Any) -> Any:
        try:
            return as_json(result, MAX_RESULT)
        except NotJSONError as exc:
            raise FunctionError(f"{function.name} returned {exc}", hint=exc.hint) from exc

    return await outcome(work, function.name, function.root, timeout=timeout, finish=finish, on_loop=function.is_async)


async def outcome(
    work: Callable[[], Any],
    name: str,
    root: Path,
    *,
    timeout: float | None,
    finish: Callable[[Any], Any] = lambda result: result,
    on_loop: bool = False,
) -> Any:
    """What `work`, which has the project's code run, returns, awaited if it can be; `finish` makes of that what is
    wanted.

    Both run in a thread, what is awaited on the event loop, and so does `work` with `on_loop`. Raises FunctionError, in
    the words of `call`; one that they raise themselves stays as it is.
    """
    try:
        async with asyncio.timeout(timeout):
            result = await (_on_loop(work, root) if on_loop else _in_thread(work, finish))
            if inspect.isawaitable(result):  # a plain function may return one
                awaitable = result
                result = await _on_loop(lambda: awaitable, root)
                on_loop = True
            if on_loop and not isinstance(result, _Raised):
                returned = result
                result = await _in_thread(lambda: returned, finish)
    except TimeoutError as exc:
        raise FunctionError(f"{name} took longer than {timeout:g} s") from exc
    if not isinstance(result, _Raised):
        return result
    if isinstance(result.error, FunctionError):
        raise result.error
    raise _failed(name, result.error, root.resolve()) from result.error


@dataclass(frozen=True, slots=True)
class _Raised:
    """What foreign code raised, as a value: some of it no future takes, and some would end the event loop."""

    error: BaseException


def _in_thread(work: Callable[[], Any], finish: Callable[[Any], Any]) -> Awaitable[Any]:
    """What `finish` makes of what `work` returns, a _Raised, or an awaitable, which is yet to be finished."""

    def attempt() -> Any:
        with prints_to_stderr():
            try:
                result = work()
                return result if inspect.isawaitable(result) else finish(result)
            except BaseException as exc:  # KeyboardInterrupt too: no signal comes to this thread
                return _Raised(exc)

    return in_thread(attempt, "function")


async def _on_loop(work: Callable[[], Any], root: Path) -> Any:
    """What `work` returns, awaited; or a _Raised."""
    with prints_to_stderr():
        try:
            result = work()
            return await result if inspect.isawaitable(result) else result
        except BaseException as exc:
            task = asyncio.current_task()
            cancelled = isinstance(exc, asyncio.CancelledError) and task is not None and task.cancelling()
            if cancelled or _is_from_outside(exc, root.resolve()):
                raise
            return _Raised(exc)


# --- what went wrong


def _is_from_outside(exc: BaseException, root: Path) -> bool:
    """Whether this is no doing of the project's code: Ctrl-C, or the end of a coroutine that nobody awaits."""
    if isinstance(exc, GeneratorExit):
        return True
    last = [frame.f_code.co_filename for frame, _ in traceback.walk_tb(exc.__traceback__)][-1:]
    return isinstance(exc, KeyboardInterrupt) and not any(_place(file, None, root) for file in last)


def _failed(what: str, exc: BaseException, root: Path) -> FunctionError:
    """What went wrong in the project's code, and the line of it where it did."""
    if isinstance(exc, SystemExit):
        said = f"ended the program: sys.exit({exc.code!r})"
    else:
        lines = traceback.format_exception_only(exc)
        text = lines[-1] if isinstance(exc, SyntaxError) else "".join(lines)
        said = "raised " + importing.plain(" ".join(text.split()))
    where = None
    if isinstance(exc, SyntaxError) and exc.filename:
        where = _place(exc.filename, exc.lineno, root)
    places: dict[str, Where | None] = {}  # by file: of a recursion, a thousand frames
    for frame, line in traceback.walk_tb(exc.__traceback__):
        file = frame.f_code.co_filename
        if file not in places:
            places[file] = _place(file, None, root)
        if place := places[file]:
            where = Where(place.file, line)
    return FunctionError(f"{what} {said if len(said) <= _SAID else said[:_SAID] + '…'}", where=where)


def _place(file: str, line: int | None, root: Path) -> Where | None:
    """The place, where it is in the project's own code: a virtual environment in it is not."""
    path = Path(file)
    if not path.is_absolute() or not path.resolve().is_relative_to(root):
        return None
    own = path.resolve().relative_to(root)
    if any(part.startswith(".") or part == "site-packages" for part in own.parts):
        return None
    return Where(own.as_posix(), line)
