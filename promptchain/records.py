"""What is kept: a `Run` with its `StepRun`s and their model calls, and the compiled `Variant` of a chain."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError

from promptchain.chain import Demo, Format, PromptStep
from promptchain.errors import NEWER, Fault, StoreError
from promptchain.lm.protocol import Usage

MAX_DEPTH = 100
"""How deep lists and mappings may be nested in a value that is kept."""


def storable(value: Any, depth: int = MAX_DEPTH) -> Any:
    """`value` as JSON in UTF-8 can carry it: what can be iterated over as a list, text by `whole_text`.

    Raises ValueError, with a sentence, for what JSON cannot say or what is nested deeper than `depth`.
    """
    if isinstance(value, str):
        return whole_text(value)
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    if depth == 0:
        raise ValueError(f"it is nested more than {MAX_DEPTH} deep")
    if isinstance(value, Mapping):
        return {whole_text(str(name)): storable(item, depth - 1) for name, item in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, bytes):
        return [storable(item, depth - 1) for item in value]
    raise ValueError(
        f"{value!r} is not a JSON value" if isinstance(value, float) else f"a {type(value).__name__} is no JSON value"
    )


def whole_text(text: str) -> str:
    """`text` as UTF-8 can carry it: half of a surrogate pair becomes U+FFFD, two halves the character they stand for.

    >>> whole_text("\\ud83d!"), whole_text("\\ud83d\\ude00")
    ('\ufffd!', '😀')
    """
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


_Text = Annotated[str, BeforeValidator(lambda text: whole_text(text) if isinstance(text, str) else text)]


_SELDOM = Field(exclude_if=lambda told: not told)
"""What most records have nothing of, and then do not name."""


class Record(BaseModel):
    """Data that is written to disk and read back, by newer versions too."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Status(StrEnum):
    """How a step or a run ended."""

    DONE = "done"
    FAILED = "failed"
    SKIPPED = "skipped"  # its `when` was false, or what it needs was skipped
    BLOCKED = "blocked"  # a step that it needs failed
    INTERRUPTED = "interrupted"


class Call(Record):
    """One try at a model. cost: US dollars, None where the price is unknown. seconds: until the reply was whole.

    cached: the reply came from the response cache; cost and seconds are those of the call that it was had with, and
    are not spent again. reply: the raw text, kept where the step's value is not that very text. error: why the try did
    not count. max_tokens: what a ceiling lowered the limit to. logprobs: of each token written, where they were told.
    started: seconds after the run began. sample: which of a step's samples it was made for, from 0. purpose: what for,
    where it was not for the step's value itself: `judge`, `rank` or `embed`.
    """

    model: str
    format: Format | None = None
    finish: str | None = None
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cached_tokens: int = 0
    cost: float | None = None
    seconds: float = 0.0
    cached: bool = False
    reply: _Text | None = None
    error: _Text | None = None
    max_tokens: int | None = None
    logprobs: Annotated[tuple[float, ...], Field(exclude_if=lambda told: not told)] = ()
    started: Annotated[float, _SELDOM] = 0.0
    sample: Annotated[int, _SELDOM] = 0
    purpose: Annotated[Literal["judge", "rank", "embed"] | None, _SELDOM] = None


class ToolRun(Record):
    """One call of a tool by a model. turn: after how many calls of the model; those of one turn ran side by side.
    arguments: as the model gave them, text where they were no JSON. value: what the model was given. error: why it was
    given none. run: what came of a tool that is a chain. sample: see `Call`."""

    name: str
    arguments: JsonValue = None
    value: JsonValue = None
    error: _Text | None = None
    turn: int = 1
    started: float = 0.0
    seconds: float = 0.0
    sample: Annotated[int, _SELDOM] = 0
    run: Annotated[Run | None, _SELDOM] = None


class StepRun(Record):
    """One step of a run. started: seconds after the run began. items: the runs of a `for_each`, in order. fault: why
    the model's call failed, where it is that which failed the step. tools: the calls of tools, in the order in which
    they began. run: of a step that is a chain. fingerprint: of the passages that were searched. sample: whose value was
    taken of several samples (see `Call`)."""

    status: Status
    value: JsonValue = None
    reasoning: _Text | None = None
    started: float = 0.0
    seconds: float = 0.0
    calls: tuple[Call, ...] = ()
    items: tuple[StepRun, ...] = ()
    error: _Text | None = None
    hint: _Text | None = None
    fault: Fault | None = None
    warnings: tuple[str, ...] = ()
    tools: Annotated[tuple[ToolRun, ...], _SELDOM] = ()
    run: Annotated[Run | None, _SELDOM] = None
    fingerprint: Annotated[str | None, _SELDOM] = None
    sample: Annotated[int | None, Field(exclude_if=lambda told: told is None)] = None

    def all_calls(self) -> Iterator[Call]:
        """The calls of models by the step, its items, its tools and the chains in it."""
        yield from self.calls
        for item in self.items:
            yield from item.all_calls()
        for run in (self.run, *(tool.run for tool in self.tools)):
            for step in run.steps.values() if run else ():
                yield from step.all_calls()

    def all_tools(self) -> Iterator[ToolRun]:
        """The calls of tools by the step and its items."""
        yield from self.tools
        for item in self.items:
            yield from item.all_tools()


class Totals(Record):
    """What a run used. cost is None where the price of any call is unknown."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = 0.0

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class UsedVariant(Record):
    """The compiled prompts that a run was made with: for which model the version has them, and of which steps."""

    model: str
    steps: tuple[str, ...]


class Run(Record):
    """One execution of a chain. source: the content id of the version that ran; version: its number then, which a sync
    may change. started: UTC, ISO 8601.

    replay_of: the run whose inputs, and whose values of some steps, this one took over. compiled: what it took from the
    chain's lock; None where it ran on the words of the chain file, as all did before there were locks.
    """

    format: Literal[1] = 1
    id: str
    chain: str
    source: str
    version: int | None = None
    model: str | None
    started: str
    seconds: float = 0.0
    status: Status
    inputs: dict[str, JsonValue] = {}
    outputs: dict[str, JsonValue] = {}
    steps: dict[str, StepRun] = {}
    error: _Text | None = None
    hint: _Text | None = None
    totals: Totals = Totals()
    replay_of: str | None = None
    compiled: Annotated[UsedVariant | None, Field(exclude_if=lambda used: used is None)] = None


ToolRun.model_rebuild()
StepRun.model_rebuild()


def checked(data: Mapping[str, Any]) -> Run:
    """A record that was read. Raises StoreError for one that is none, or of another release."""
    try:
        return Run.model_validate(data)
    except ValidationError as exc:
        hint = NEWER
        raise StoreError(f"the record of the run {data.get('id')} is of another release", hint=hint) from exc


class Nearest(Record):
    """Demos that are picked anew for each request: those of the `pool` whose inputs are most like the request's.

    count: how many. by: what likeness is, `lexical` (see `similarity`) or the embedding model `local/wordllama`.
    """

    count: Annotated[int, Field(ge=1, le=100)]
    by: Literal["lexical", "local/wordllama"] = "lexical"
    pool: tuple[Demo, ...]


class StepVariant(Record):
    """The tunable parts of a prompt step, as compiled: what stands here replaces what the chain file says."""

    instructions: str | None = None
    demos: tuple[Demo, ...] | None = None
    nearest: Nearest | None = None
    format: Format | None = None
    reasoning: bool | None = None

    def over(self, below: StepVariant) -> StepVariant:
        """These parts, and those of `below` where this one says nothing."""
        own = {name: value for name in StepVariant.model_fields if (value := getattr(self, name)) is not None}
        return below.model_copy(update=own)


class Variant(Record):
    """The compiled parameters of a chain for one model."""

    model: str
    steps: Annotated[dict[str, StepVariant], Field(default_factory=dict)]

    @staticmethod
    def seed(step: PromptStep) -> StepVariant:
        """The parameters that the chain file itself gives a step."""
        return StepVariant(
            instructions=step.instructions.text, demos=step.demos, format=step.format, reasoning=step.reasoning
        )

    def of(self, name: str, step: PromptStep) -> StepVariant:
        """The parameters of step `name`: the compiled ones, else the chain file's."""
        own = self.steps.get(name)
        return own.over(Variant.seed(step)) if own else Variant.seed(step)


def total(steps: Mapping[str, StepRun]) -> Totals:
    """What the steps used together; answers from the cache cost nothing and are no calls."""
    calls = [call for step in steps.values() for call in step.all_calls() if not call.cached]
    priced = [call.cost for call in calls if call.error is None or call.cost is not None]
    return Totals(
        calls=len(calls),
        prompt_tokens=sum(call.prompt_tokens for call in calls),
        completion_tokens=sum(call.completion_tokens for call in calls),
        cost=None if None in priced else sum(cost for cost in priced if cost is not None),
    )


def usage(call: Call) -> Usage:
    return Usage(call.prompt_tokens, call.completion_tokens, call.cached_tokens)


def new_run_id() -> str:
    """26 characters that sort by time: 10 of the milliseconds since 1970 and 16 of chance, in Crockford's base 32
    (the layout of https://github.com/ulid/spec)."""
    number = (int(time.time() * 1000) << 80) | secrets.randbits(80)
    return "".join([_BASE1024[(number >> shift) & 1023] for shift in range(120, -1, -10)])


_BASE32 = "0123456789abcdefghjkmnpqrstvwxyz"
_BASE1024 = [high + low for high in _BASE32 for low in _BASE32]


def now() -> str:
    """The time in UTC, ISO 8601 with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
