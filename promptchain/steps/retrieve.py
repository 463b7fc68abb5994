"""A retrieval step: passages of the project's files, of a function or of a server, in the order of their worth."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from promptchain import functions
from promptchain.chain import RetrieveStep
from promptchain.errors import PromptChainError
from promptchain.lm.calls import Answer, Attempt, CallError, Retry
from promptchain.lm.protocol import Capabilities
from promptchain.parts import LOCAL_EMBEDDER, Retrieve
from promptchain.records import Call
from promptchain.retrieval.passages import Passage
from promptchain.steps import rerank, search_server
from promptchain.steps.context import Context
from promptchain.steps.filled import filled
from promptchain.steps.outcome import Outcome, StepError
from promptchain.template import to_text
from promptchain.threads import in_thread

if TYPE_CHECKING:
    from promptchain.retrieval.corpus import Corpus, Embed

MAX_QUERY = 100_000
"""Characters of a query; what is longer is cut."""


@dataclass(frozen=True, slots=True)
class BoundRetrieve:
    """timeout: seconds for one call of code, of a server or of a model. able: what the model that ranks can do."""

    step: RetrieveStep
    timeout: float | None
    able: Capabilities | None = None

    @property
    def models(self) -> tuple[str, ...]:
        """Those that a search calls: for the vector of its query, and to put in order what it found."""
        spec = self.step.retrieve
        embedder = spec.named_embedder if spec.patterns else None
        ranks = (spec.rerank.model,) if spec.rerank else ()
        return ranks if embedder in (None, LOCAL_EMBEDDER) else (str(embedder), *ranks)


async def run(bound: BoundRetrieve, values: Mapping[str, Any], context: Context) -> Outcome:
    """The passages, as a list of mappings. Raises StepError."""
    try:
        return await _run(bound, values, context)
    except PromptChainError as exc:
        place = f"{exc.where}: " if exc.where else ""
        raise StepError(place + exc.message, hint=exc.hint, calls=tuple(context.calls)) from exc


async def _run(bound: BoundRetrieve, values: Mapping[str, Any], context: Context) -> Outcome:
    spec = bound.step.retrieve
    text, where = _query(spec, values), _conditions(spec.where, values)
    wanted = max(spec.top_k, spec.rerank.of) if spec.rerank else spec.top_k
    fingerprint: str | None = None
    warnings: tuple[str, ...] = ()
    if spec.python is not None:
        passages = await _from_function(spec.python, text, wanted, where, bound, context)
    elif spec.url is not None:
        passages = await search_server.ask(spec.url, text, wanted, where, bound, context)
    else:
        corpus = await _corpus(bound, context)
        embed = embedder(bound, context)
        passages = await corpus.search(
            text, top_k=wanted, min_score=spec.min_score, mode=spec.mode, where=where, embed=embed
        )
        fingerprint, warnings = corpus.fingerprint, tuple(corpus.warnings)
    if spec.min_score is not None:
        passages = [passage for passage in passages if passage.score >= spec.min_score]
    if spec.rerank is not None and bound.able is not None:
        passages = await rerank.ordered(spec.rerank, bound.able, text, passages, bound.timeout, context)
    value = [passage.to_json() for passage in passages[: spec.top_k]]
    return Outcome(value, tuple(context.calls), warnings=warnings, fingerprint=fingerprint)


def _query(spec: Retrieve, values: Mapping[str, Any]) -> str:
    """What is searched for, as a text; none where it is null. Raises PromptChainError."""
    query = filled(spec.query, values, "its query")
    return "" if query is None else to_text(query).strip()[:MAX_QUERY]


def _conditions(where: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The conditions with their templates filled in. One whose template gives null is none, so that a filter may be
    left to who asks; in a list it is no alternative. A null that is written so stays. Raises PromptChainError."""
    found: dict[str, Any] = {}
    for name, value in where.items():
        options = value if isinstance(value, list | tuple) else [value]
        given = [(option, filled(option, values, f"its `where: {name}`")) for option in options]
        kept = [own for option, own in given if own is not None or option is None]
        if options is value and (kept or not given):
            found[name] = kept
        elif kept:
            found[name] = kept[0]
    return found


async def of_sources(
    bound: BoundRetrieve, values: Mapping[str, Any], sources: Sequence[str], context: Context
) -> list[dict[str, Any]]:
    """The passages of some of the files that the step searches: first those that fit its query, the best first, then
    all others. Raises PromptChainError."""
    spec = bound.step.retrieve
    text, where = _query(spec, values), {"source": list(sources)}
    embed = embedder(bound, context)
    corpus = await _corpus(bound, context)
    best = await corpus.search(text, top_k=spec.top_k, mode=spec.mode, where=where, embed=embed)
    places = {(passage.source, passage.line) for passage in best}
    others = [passage for passage in await corpus.of(sources) if (passage.source, passage.line) not in places]
    return [passage.to_json() for passage in (*best, *others)]


async def _corpus(bound: BoundRetrieve, context: Context) -> Corpus:
    """The passages of the step's files, brought up to date once for each command."""
    from promptchain.retrieval.corpus import Corpus

    spec, workshop = bound.step.retrieve, context.workshop

    async def make() -> Corpus:
        corpus = Corpus(workshop.root, workshop.folder, spec, workshop.state)
        try:
            await corpus.refresh(embedder(bound, context))
        except BaseException:
            await corpus.aclose()
            raise
        return corpus

    kind = (spec.patterns, spec.split, spec.named_embedder)
    return await workshop.once(("corpus", kind), make)


def embedder(bound: BoundRetrieve, context: Context) -> Embed | None:
    """What makes vectors of texts, where the step needs them. What it asks of models goes into the context's calls."""
    name = bound.step.retrieve.named_embedder
    if name is None:
        return None
    from promptchain.lm import embed
    from promptchain.lm.embed import EmbeddingLM

    async def vectors(texts: Sequence[str]) -> list[list[float]]:
        if name == embed.LOCAL:  # costs nothing, and so many need no cache
            return await in_thread(lambda: embed.local_vectors(texts))
        caller = context.caller.beside(EmbeddingLM(context.caller.lm))
        retry = Retry(errors=bound.step.retry.errors)
        try:
            found, answers = await embed.embed(name, texts, caller, timeout=bound.timeout, retry=retry)
        except CallError as exc:
            context.calls.extend(_failed(name, exc.failures))
            raise
        context.calls.extend(_calls_of(name, answers, context))
        return found

    return vectors


def _calls_of(model: str, answers: Sequence[Answer], context: Context) -> Iterator[Call]:
    """The embeddings of many texts in the record: one call for each request that a model answered, and one for all that
    a cache did; and the tries before that failed."""
    yield from _failed(model, [failure for answer in answers for failure in answer.failures])
    made = [answer.response for answer in answers if not answer.response.cached]
    known = [answer.response for answer in answers if answer.response.cached]
    for responses in (*([response] for response in made), *([known] if known else ())):
        costs = [response.cost for response in responses]
        cached, seconds = responses is known, max(response.latency for response in responses)
        yield Call(
            model=model,
            prompt_tokens=sum(response.usage.prompt_tokens for response in responses),
            cost=None if None in costs else sum(cost for cost in costs if cost is not None),
            seconds=seconds,
            cached=cached,
            started=round(max(0.0, context.clock() - (0.0 if cached else seconds)), 6),
            purpose="embed",
        )


def _failed(model: str, failures: Iterable[Attempt]) -> Iterator[Call]:
    for failure in failures:
        yield Call(model=model, error=failure.error, seconds=failure.latency, purpose="embed")


async def _from_function(
    name: str, query: str, top_k: int, where: Mapping[str, Any], bound: BoundRetrieve, context: Context
) -> list[Passage]:
    """The passages that a function of the project finds: it takes `query`, and `top_k` and `where` if it likes."""
    function = await context.workshop.function(name)
    takes = function.parameters.get("properties", {})
    given = {"query": query, "top_k": top_k, "where": where}
    if not function.parameters.get("additionalProperties"):  # of `**more` it takes all
        given = {key: value for key, value in given.items() if key in takes}
    if "query" not in given and takes:
        given = {next(iter(takes)): query}
    arguments = functions.bind_arguments(function, given)
    async with context.workshop.code:
        found = await functions.call(function, arguments, timeout=bound.timeout)
    return passages_of(found, name)


def _score(value: Any, number: int) -> float:
    """The score that is given; one by the place where none is that can be."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        with suppress(OverflowError):
            return float(value)
    return 1.0 / number


_TEXT_KEYS = ("text", "content", "page_content", "body")


def passages_of(found: Any, who: str) -> list[Passage]:
    """Passages as others give them: texts, or mappings with a `text`. Raises PromptChainError."""
    if isinstance(found, Mapping):
        found = next((found[key] for key in ("passages", "results", "documents", "hits") if key in found), None)
    if not isinstance(found, list):
        raise PromptChainError(f"{who} gave no list of passages", hint='a list of texts, or of {"text": …, "title": …}')
    return [_passage(item, number, who) for number, item in enumerate(found, 1)]


def _passage(item: Any, number: int, who: str) -> Passage:
    fields: Mapping[str, Any] = {"text": item} if isinstance(item, str) else item if isinstance(item, Mapping) else {}
    key = next((key for key in _TEXT_KEYS if isinstance(fields.get(key), str)), None)
    if key is None:
        raise PromptChainError(f"passage {number} of {who} has no text", hint='give it as {"text": …}')
    known = {key, "title", "source", "line", "score", "meta"}
    others = {name: value for name, value in fields.items() if name not in known}
    meta, line, score = fields.get("meta"), fields.get("line"), fields.get("score")
    return Passage(
        text=fields[key],
        title=str(fields.get("title") or ""),
        source=str(fields.get("source") or ""),
        line=line if isinstance(line, int) and not isinstance(line, bool) else 1,
        score=_score(score, number),
        meta={**(meta if isinstance(meta, Mapping) else {}), **others},
    )
