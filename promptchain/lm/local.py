"""Models that run in this process: any GGUF file, through llama.cpp (the package `xllamacpp`).

One llama.cpp server per weights file, loaded when it is first asked, with `slots` sequences that are decoded together
(continuous batching). A slot keeps the tokens of its last prompt, so a system prompt that requests share is computed
once per slot. Each server has `slots` worker threads that take requests from one queue: a thread per request in flight,
and no tie to one event loop.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from promptchain.errors import Fault, ModelError
from promptchain.lm.local_request import body_of, utf8
from promptchain.lm.protocol import Capabilities, Finish, OnText, Price, Request, Response, Usage
from promptchain.lm.weights import find_weights, fingerprint, has_own_system_message, is_gguf, train_context

DEFAULT_SLOTS = 4
DEFAULT_CONTEXT = 4096

# Prompt tokens computed in one go. A request that is cancelled lets go between two of them: under a second here for
# SmolLM2 on two cores, where 512 took two and was 4 % faster.
_BATCH = 256
# Prompts that were pushed out of their slots, as when the steps of a chain take turns; llama.cpp's default is 8 GiB.
_PROMPT_CACHE_MIB = 512
_JOIN_SECONDS = 10.0


class LocalLM:
    """`local/…` models. See the LM protocol for what the methods promise.

    slots: requests in flight per model; default 4. context: tokens of prompt and reply that one request may have;
    default what the model was trained for, 4096 at most. threads: default one per core. The key-value cache takes
    slots x context x (bytes per token of the model: 23 KB for SmolLM2-135M, 128 KB for an 8B Llama).

    The seed is 0 where a request has none, plus the request's `sample`, so that a run can be repeated. Not bit for bit:
    what is batched together and what of a prompt is kept from before changes the last digits of the logits, and a near
    tie may fall another way. A new LocalLM(slots=1) that gets the same requests in the same order repeats exactly.
    Any number of event loops and threads may use one LocalLM. It is closed at interpreter exit if not before.
    """

    def __init__(self, slots: int | None = None, context: int | None = None, threads: int | None = None) -> None:
        self._settings = _Settings(slots or DEFAULT_SLOTS, context, threads or _cores())
        self._engines: dict[tuple[Path, int, int], _Engine] = {}
        self._lock = threading.Lock()
        self._closed = False
        # Not atexit: this one also runs when the object is collected, and does not keep it alive.
        self._finalizer = weakref.finalize(self, _close_all, self._engines)

    @property
    def slots(self) -> int:
        """How many requests one model answers at the same time; more of them wait."""
        return self._settings.slots

    async def complete(self, request: Request, on_text: OnText | None = None) -> Response:
        """Answer one request; `latency` counts from when it got its slot. Loads the model if need be.

        What is special here: max_tokens is 1024 where not given; a request with `schema` or `choices` is held to them
        by a grammar, token by token. An exception of `on_text` stops the generation and comes out here.
        """
        body = body_of(request)
        engine = self._engine(request.model)
        if (
            request.messages[:1]
            and request.messages[0].role != "system"
            and has_own_system_message(find_weights(request.model))
        ):
            # Nothing is said behind the user's back: an empty message keeps out the one of the template.
            body["messages"].insert(0, {"role": "system", "content": ""})
        loop = asyncio.get_running_loop()
        job = _Job(request, body, on_text, loop, loop.create_future())
        engine.submit(job)
        try:
            return await job.future
        finally:
            job.stopped = True

    def capabilities(self, model: str) -> Capabilities:  # noqa: ARG002 - all of them can do the same
        price = Price(0.0, 0.0)
        return Capabilities(
            schema=True, grammar=True, price=price, local=True, slots=self.slots, images=False, files=False
        )

    def identity(self, model: str) -> str:
        """The fingerprint of the weights; empty where there are none."""
        try:
            return fingerprint(find_weights(model))
        except (ModelError, OSError):
            return ""

    def close(self) -> None:
        """Stop what is being generated and free the models. Takes as long as one token, or one batch of a prompt."""
        with self._lock:
            self._closed = True
        self._finalizer()

    def _engine(self, model: str) -> _Engine:
        path = find_weights(model)
        try:
            stat = path.stat()
            genuine = is_gguf(path)
        except OSError as exc:
            message = f"the weights {path} cannot be read: {exc.strerror}"
            raise ModelError(message, fault=Fault.NO_WEIGHTS, model=model, hint="check its permissions") from exc
        if not genuine:
            hint = "llama.cpp runs GGUF files only; convert the weights, or download them as GGUF"
            raise ModelError(f"{path} is not a GGUF file", fault=Fault.NO_WEIGHTS, model=model, hint=hint)
        with self._lock:
            if self._closed:
                raise _closed_error(model)
            # With the size and time in the key, a file that was replaced is loaded anew, as its identity is new.
            key = (path, stat.st_size, stat.st_mtime_ns)
            if key not in self._engines:
                self._engines[key] = _Engine(path, self._settings)
            return self._engines[key]


@dataclass(frozen=True, slots=True)
class _Settings:
    slots: int
    context: int | None
    threads: int


@dataclass(slots=True, eq=False)
class _Job:
    """One request on its way through a worker thread. `stopped` is set on either side and read by the worker."""

    request: Request
    body: dict[str, Any]
    on_text: OnText | None
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Response]
    stopped: bool = False

    def settle(self, outcome: Response | BaseException) -> None:
        """From a worker: end the waiting on the event loop's thread, after all text that was sent before."""
        self._on_loop(self._settle, outcome)

    def send(self, text: str) -> None:
        """From a worker: hand a piece of text to `on_text` on the event loop's thread."""
        if self.on_text is not None:
            self._on_loop(self._deliver, text)

    def _on_loop(self, function: Callable[[Any], None], argument: object) -> None:
        try:
            self.loop.call_soon_threadsafe(function, argument)
        except RuntimeError:  # the loop was closed: nobody waits any more
            self.stopped = True

    def _settle(self, outcome: Response | BaseException) -> None:
        if self.future.done():
            return
        if isinstance(outcome, BaseException):
            self.future.set_exception(outcome)
        else:
            self.future.set_result(outcome)

    def _deliver(self, text: str) -> None:
        if self.future.done() or self.on_text is None:
            return
        try:
            self.on_text(text)
        except Exception as exc:
            self.stopped = True
            self.future.set_exception(exc)


class _Engine:
    """One weights file: its llama.cpp server, the queue before it and the threads that wait on it."""

    def __init__(self, path: Path, settings: _Settings) -> None:
        self._path = path
        self._settings = settings
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self._running: set[_Job] = set()
        self._lock = threading.Lock()
        self._closing = False
        self._server: Any = None
        self._failure: ModelError | None = None
        # Daemons, because other threads are joined at exit before anything can tell them to stop.
        self._workers = [
            threading.Thread(target=self._work, name=f"{path.stem}-{n}", daemon=True) for n in range(settings.slots)
        ]
        for worker in self._workers:
            worker.start()

    def submit(self, job: _Job) -> None:
        self._jobs.put(job)

    def close(self) -> None:
        """Stop every generation, wait for the threads, free the server."""
        self._closing = True
        for job in list(self._running):
            job.stopped = True
        for _ in self._workers:
            self._jobs.put(None)
        deadline = time.monotonic() + _JOIN_SECONDS
        for worker in self._workers:
            if worker is not threading.current_thread():
                worker.join(max(0.0, deadline - time.monotonic()))
        if not any(worker.is_alive() for worker in self._workers):
            self._server = None  # its destructor waits for llama.cpp's own thread

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._running.add(job)
            try:
                job.settle(self._answer(job))
            except Exception as exc:
                job.settle(exc)
            finally:
                self._running.discard(job)

    def _answer(self, job: _Job) -> Response:
        if self._closing or job.stopped:
            raise _closed_error(job.request.model)
        server = self._load(job.request.model)
        if self._closing or job.stopped:
            raise _closed_error(job.request.model)
        response = _generate(server, job)
        if response is None:
            raise _closed_error(job.request.model)
        return response

    def _load(self, model: str) -> Any:
        """The server, loaded by the first who asks while the others wait. A failure is remembered: the file is what
        it is, and a changed one gets an engine of its own."""
        with self._lock:
            if self._server is None and self._failure is None:
                try:
                    self._server = _load(self._path, self._settings, model)
                except ModelError as error:
                    self._failure = error
            if self._failure is not None:
                failure = self._failure
                raise ModelError(failure.message, fault=failure.fault, model=model, hint=failure.hint)
            return self._server


def _close_all(engines: dict[tuple[Path, int, int], _Engine]) -> None:
    for engine in engines.values():
        engine.close()
    engines.clear()


def _closed_error(model: str) -> ModelError:
    return ModelError("the local model was closed before it had answered", fault=Fault.BAD_RESPONSE, model=model)


# --- llama.cpp: loading


def _load(path: Path, settings: _Settings, model: str) -> Any:
    """An `xllamacpp.Server` for the weights. It keeps the GIL while it loads, so nothing else in Python runs then."""
    xllamacpp = _import_xllamacpp(model)
    os.environ.setdefault("LLGUIDANCE_LOG_LEVEL", "0")  # the grammar engine reads it again for each request
    context = settings.context or min(train_context(path) or DEFAULT_CONTEXT, DEFAULT_CONTEXT)
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.verbosity = -1  # nothing of llama.cpp's log, errors included, reaches the terminal
    params.n_parallel = settings.slots
    params.n_ctx = settings.slots * context  # shared out evenly, so that one request never takes another's room
    params.n_batch = params.n_ubatch = _BATCH
    params.cache_ram_mib = _PROMPT_CACHE_MIB
    # Unset, ggml takes four threads, which on fewer cores wait for each other by spinning.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings.threads
    params.warmup = False  # an empty run that a command line's user would wait for
    # The server always listens too. Only we need it and not through HTTP: loopback, a port that is free, one thread,
    # and a key that nobody knows.
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_threads_http = 1
    params.api_keys = [os.urandom(16).hex()]
    params.endpoint_slots = params.ui = False
    try:
        return xllamacpp.Server(params)
    except (RuntimeError, ValueError, MemoryError) as exc:
        message = f"llama.cpp could not load {path}"
        hint = "the file may be cut short or damaged, its kind too new for this xllamacpp, or the memory too small"
        raise ModelError(message, fault=Fault.NO_WEIGHTS, model=model, hint=hint) from exc


def _import_xllamacpp(model: str) -> Any:
    try:
        with _patient_openmp():
            import xllamacpp
    except ImportError as exc:
        hint = "pip install 'promptchain[local]'"
        message = "local models need the package xllamacpp"
        raise ModelError(message, fault=Fault.NOT_INSTALLED, model=model, hint=hint) from exc
    return xllamacpp


@contextmanager
def _patient_openmp() -> Iterator[None]:
    """Let OpenMP's threads sleep soon when they wait for each other; libgomp reads this when it is loaded.

    By default they spin for milliseconds, and where another process wants a core as well, every layer of every token
    then waits for a thread that is not running. Measured on two cores, four slots, seconds for 192 tokens, alone and
    beside one busy process: default 1.0 and over 6; 1000 turns 1.1 and 2.3; no spinning at all 1.9 and 2.3.
    """
    if "OMP_WAIT_POLICY" in os.environ or "GOMP_SPINCOUNT" in os.environ:
        yield
        return
    os.environ["GOMP_SPINCOUNT"] = "1000"
    try:
        yield
    finally:
        os.environ.pop("GOMP_SPINCOUNT", None)


def _cores() -> int:
    """Threads to compute with: one per core that this process may use, half of them where they are many, for those
    come in pairs that share an arithmetic unit (llama.cpp's own rule)."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return count if count <= 4 else count // 2


# --- llama.cpp: one request


def _generate(server: Any, job: _Job) -> Response | None:
    """Run one request on the server; None where it was stopped. Always streamed: only the callback can stop it."""
    model = job.request.model
    reply = _Reply(job)
    start = time.perf_counter()
    try:
        server.handle_chat_completions(job.body, reply.take)
    except ValueError as exc:
        raise ModelError(f"llama.cpp refused the request: {exc}", fault=Fault.BAD_REQUEST, model=model) from exc
    except RuntimeError as exc:
        raise ModelError(f"llama.cpp failed: {exc}", fault=Fault.SERVER, model=model) from exc
    latency = time.perf_counter() - start
    if reply.failure is not None:
        raise reply.failure
    if job.stopped:
        return None
    if reply.finish is None:
        raise ModelError("llama.cpp ended its reply too early", fault=Fault.BAD_RESPONSE, model=model)
    text = "".join(reply.pieces)
    if job.request.schema is not None and reply.finish is Finish.STOP and "stop" not in job.body and not _is_json(text):
        raise _unheld(model)
    return Response(text, reply.finish, reply.usage, cost=0.0, latency=latency, logprobs=tuple(reply.logprobs))


class _Reply:
    """Collects the chunks of one streamed reply, on the worker's thread."""

    def __init__(self, job: _Job) -> None:
        self._job = job
        self.pieces: list[str] = []
        self.finish: Finish | None = None
        self.usage = Usage()
        self.logprobs: list[float] = []
        self.failure: ModelError | None = None

    def take(self, chunk: dict[str, Any]) -> bool:
        """One chunk; True stops the generation. Must not raise: xllamacpp would swallow it."""
        try:
            self._take(chunk)
        except ModelError as error:
            self.failure = error
        except Exception as exc:
            message = f"llama.cpp's reply was not understood: {exc}"
            self.failure = ModelError(message, fault=Fault.BAD_RESPONSE, model=self._job.request.model)
            self.failure.__cause__ = exc
        return self._job.stopped or self.failure is not None

    def _check_held(self) -> None:
        """Stop as soon as it shows that the grammar was dropped."""
        request = self._job.request
        if request.schema is not None:
            if len(self.pieces) == 1 and self.pieces[0][0] not in _JSON_STARTS:
                raise _unheld(request.model)
        elif request.choices:
            text = "".join(self.pieces)
            if not any(utf8(choice).startswith(text) for choice in request.choices):
                message = f"{request.model} cannot write one of the choices: its vocabulary lacks some character"
                hint = "use choices of ordinary letters"
                raise ModelError(message, fault=Fault.BAD_REQUEST, model=request.model, hint=hint)

    def _take(self, chunk: dict[str, Any]) -> None:
        model = self._job.request.model
        if "error" in chunk:
            raise _translate(chunk["error"], model)
        for choice in chunk.get("choices") or ():
            if piece := choice.get("delta", {}).get("content"):
                self.pieces.append(piece)
                self._check_held()
                if not self._job.stopped:
                    self._job.send(piece)
            if told := choice.get("logprobs"):
                self.logprobs += [token["logprob"] for token in told.get("content") or ()]
            if reason := choice.get("finish_reason"):
                self.finish = _FINISHES.get(reason, Finish.STOP)
        if usage := chunk.get("usage"):
            cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
            self.usage = Usage(usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0), cached)


_FINISHES = {"stop": Finish.STOP, "length": Finish.LENGTH, "tool_calls": Finish.TOOLS}
_JSON_STARTS = '{["-0123456789tfn'


def _translate(error: Mapping[str, Any], model: str) -> ModelError:
    """llama.cpp's error object as ours."""
    text, code = str(error.get("message", "unknown error")), error.get("code")
    if error.get("type") == "exceed_context_size_error":
        prompt, room = error.get("n_prompt_tokens"), error.get("n_ctx")
        message = f"the prompt has {prompt} tokens, and {model} has room for {room} with the reply"
        hint = "shorten the prompt, use fewer demos or pages, or load the model with a larger context"
        return ModelError(message, fault=Fault.CONTEXT, model=model, hint=hint)
    if code == 400:
        return ModelError(f"llama.cpp refused the request: {text}", fault=Fault.BAD_REQUEST, model=model, status=400)
    return ModelError(f"llama.cpp failed: {text}", fault=Fault.SERVER, model=model, status=code)


def _unheld(model: str) -> ModelError:
    """llama.cpp drops a grammar that its engine does not take, and says so only in its log: the reply tells."""
    message = f"{model} cannot be held to the step's JSON Schema: llama.cpp's grammar engine does not take it"
    hint = "look for a misspelt type, a $ref that leads nowhere, a wrong pattern or bounds that exclude each other"
    return ModelError(message, fault=Fault.BAD_REQUEST, model=model, hint=hint)


def _is_json(text: str) -> bool:
    try:
        json.loads(text, strict=False)
    except ValueError:
        return False
    return True
