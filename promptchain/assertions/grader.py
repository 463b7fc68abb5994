"""What asking assertions are given: judges, embeddings, and a count of what they used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from promptchain.assertions.protocol import AssertionFault
from promptchain.chain import PromptStep
from promptchain.errors import BudgetError, Fault, ModelError, ParseError, PromptChainError, UsageError
from promptchain.lm import embed
from promptchain.lm.calls import Answer, Attempt, Caller, CallError, Retry
from promptchain.lm.embed import EmbeddingLM
from promptchain.lm.protocol import LM
from promptchain.records import Call, Variant
from promptchain.steps import prompt
from promptchain.steps.context import Context
from promptchain.steps.outcome import StepError
from promptchain.steps.prompt import BoundPrompt
from promptchain.steps.workshop import Workshop


@dataclass(frozen=True, slots=True)
class JudgeSpent:
    """What judges and embedding models used: calls that reached a model, cached answers, tokens and US dollars of the
    former; cost is None where the price of any is unknown."""

    calls: int = 0
    cached: int = 0
    tokens: int = 0
    cost: float | None = 0.0


class Grader:
    """Asks the judges and embedding models of one evaluation; on one event loop, like its caller.

    lm, caller: what the chain itself runs on, so that judges and embeddings share its cache, ceilings and places in
    flight. judge: the model of assertions that name none; without one, those fail. embedder: likewise for embeddings;
    `local/wordllama` without one. root: the project's folder, which functions are imported from. timeout: seconds for
    one try of a call, and for one call of a function or a webhook.

    It holds nothing that needs closing: `lm` is its owner's to close.
    """

    def __init__(
        self,
        lm: LM,
        caller: Caller,
        *,
        judge: str | None,
        embedder: str | None = None,
        root: Path,
        timeout: float = 120.0,
    ) -> None:
        self.root = root
        self._workshop = Workshop(root, timeout=timeout)
        self.timeout = timeout
        self._lm = lm
        self._caller = caller
        self._judge = judge
        self._embedder = embedder or embed.LOCAL
        self._calls: list[Call] = []

    @cached_property
    def _embedding(self) -> Caller:
        return self._caller.beside(EmbeddingLM(self._lm))

    @property
    def calls(self) -> tuple[Call, ...]:
        """All calls that were made so far, also those that failed."""
        return tuple(self._calls)

    @property
    def spent(self) -> JudgeSpent:
        """What all that was asked so far came to, also where it failed."""
        made = [call for call in self._calls if not call.cached]
        priced = [call.cost for call in made if call.error is None or call.cost is not None]
        return JudgeSpent(
            calls=len(made),
            cached=len(self._calls) - len(made),
            tokens=sum(call.prompt_tokens + call.completion_tokens for call in made),
            cost=None if None in priced else sum(cost for cost in priced if cost is not None),
        )

    async def ask(
        self, step: PromptStep, values: Mapping[str, Any], *, model: str | None = None
    ) -> tuple[Any, tuple[Call, ...]]:
        """What a judge says to a prompt, in the prompt's output type, and the calls that it took.

        model: in place of the evaluation's judge. A local model judges at temperature 0.
        Raises AssertionFault (see `model_failure`); BudgetError and UsageError, unchanged, for a ceiling that is
        reached or can't be held.
        """
        name = model or self._judge
        if name is None:
            hint = "set `test: {judge: MODEL}` in the chain file, or the assertion's `provider`"
            raise AssertionFault("it asks a judge, and no model is named as one", hint=hint)
        calls: list[Call] = []
        try:
            outcome = await prompt.run(
                self._bind(step, name), values, Context(self._caller, self._workshop, calls=calls)
            )
            return outcome.value, outcome.calls
        except StepError as exc:
            failure = exc.__cause__ or exc
        finally:
            self._calls += calls
        if isinstance(failure, BudgetError | UsageError):
            raise failure
        raise _fault(failure, f"the judge {name}") from failure

    async def embed(self, texts: Iterable[str], *, model: str | None = None) -> list[list[float]]:
        """The texts as vectors of one length, in their order. Raises as `ask` does."""
        name = model or self._embedder
        try:
            vectors, answers = await embed.embed(name, texts, self._embedding, timeout=self.timeout)
            self._calls += [call for answer in answers for call in _calls_of(name, answer)]
            return vectors
        except PromptChainError as exc:
            failure = exc
        if isinstance(failure, CallError):
            self._calls += _failed(name, failure.failures)
        if isinstance(failure, BudgetError | UsageError):
            raise failure
        raise _fault(failure, f"the embedding model {name}") from failure

    def _bind(self, step: PromptStep, model: str) -> BoundPrompt:
        try:
            able = self._lm.capabilities(model)
        except PromptChainError as exc:  # a script that is not there
            raise AssertionFault(f"the judge {model} cannot be used: {exc.message}", hint=exc.hint) from exc
        params = {"temperature": 0.0} | step.params if able.local else step.params
        return BoundPrompt(
            step=step,
            variant=Variant.seed(step),
            params=params,
            models=((model, able),),
            timeout=step.timeout or self.timeout,
            retry=Retry(errors=step.retry.errors),
        )


def model_failure(fault: AssertionFault) -> Fault | None:
    """Why the model behind an assertion failed; None where the fault is another: the value, the code, the reply."""
    cause = fault.__cause__
    return cause.fault if isinstance(cause, ModelError) else None


# What promptfoo calls a provider → litellm's name for it, and the kinds of model that may follow it. A name that is not
# here stands for itself.
_PROVIDERS = {
    "azureopenai": "azure",
    "fireworks": "fireworks_ai",
    "google": "gemini",
    "togetherai": "together_ai",
    "vertex": "vertex_ai",
}
_KINDS = frozenset({"chat", "completion", "responses", "messages", "embedding", "embeddings"})
_PROGRAMS = frozenset({"exec", "file", "golang", "http", "https", "javascript", "python", "ruby", "ws", "wss"})


def model_of(provider: Any, kind: str = "text") -> str | None:
    """litellm's name for a model as an assertion's `provider` names it: litellm's own, promptfoo's, {id: …}, or
    {text: …, embedding: …}, of which `kind` is one. None where it names none of that kind. Raises AssertionFault.

    >>> model_of("openai:chat:gpt-4o"), model_of({"embedding": "openai:embedding:ada"}), model_of("ollama:chat:qwen:7b")
    ('openai/gpt-4o', None, 'ollama_chat/qwen:7b')
    """
    if isinstance(provider, Mapping):
        if "id" in provider:
            return model_of(provider["id"], kind)
        if set(provider) & {"text", "embedding"}:
            return model_of(provider.get(kind), kind)
    if provider is None:
        return None
    hint = "name a model as litellm does, for example openai/gpt-4o-mini"
    if not isinstance(provider, str) or not provider.strip():
        raise AssertionFault("its `provider` is no name of a model", hint=hint)
    name = provider.strip()
    head, colon, rest = name.partition(":")
    if not colon or "/" in head:
        return name
    if head in _PROGRAMS:
        raise AssertionFault(f"its `provider` {name} is no model", hint=hint)
    first, colon, last = rest.partition(":")
    if colon and first in _KINDS:
        rest = last
        head = "ollama_chat" if (head, first) == ("ollama", "chat") else head
    return rest if head == "litellm" else f"{_PROVIDERS.get(head, head)}/{rest}"


def _fault(cause: BaseException, who: str) -> AssertionFault:
    message = cause.message if isinstance(cause, PromptChainError) else str(cause)
    hint = cause.hint if isinstance(cause, PromptChainError) else None
    if isinstance(cause, ParseError):
        return AssertionFault(f"{who} gave no verdict: {message}", hint=hint or "take a stronger model as the judge")
    return AssertionFault(f"{who} failed: {message}", hint=hint)


def _failed(model: str, failures: tuple[Attempt, ...]) -> list[Call]:
    return [Call(model=model, error=failure.error, seconds=failure.latency) for failure in failures]


def _calls_of(model: str, answer: Answer) -> list[Call]:
    response = answer.response
    done = Call(
        model=model,
        prompt_tokens=response.usage.prompt_tokens,
        completion_tokens=response.usage.completion_tokens,
        cost=response.cost,
        seconds=response.latency,
        cached=response.cached,
    )
    return [*_failed(model, answer.failures), done]
