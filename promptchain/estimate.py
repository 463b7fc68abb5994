"""What a compile will take at most, before anything is spent: calls, tokens, dollars, and time where runs tell it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from promptchain import scorer, template, testing
from promptchain.bench import Bench
from promptchain.chain import Demo
from promptchain.compile import allowance, targets, warnings
from promptchain.compiling import Job
from promptchain.lm.calls import Caller
from promptchain.lm.protocol import LM, Price
from promptchain.optimizers import registry
from promptchain.optimizers.pool import MAX_TRACED
from promptchain.optimizers.protocol import demo_tokens, text_tokens
from promptchain.project import Project
from promptchain.store.index import Query

_SHORT_REPLY = 10
_REPLY = 200
"""Tokens of a reply that no limit is set for: of a label or a number, and of a text."""

_QUESTION, _PROPOSAL = 1200, 400
_RUBRIC, _VERDICT = 500, 80
"""Tokens of what a proposer and a judge are asked, and of what they write."""

_TRIALS_A_PROPOSAL = 10
"""A proposal is tried on a few training examples beside those of the prompt before it."""


@dataclass(frozen=True, slots=True)
class ModelEstimate:
    """One model. cost: US dollars, None where its price is unknown."""

    model: str
    calls: int
    tokens: int
    cost: float | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What compiling a chain for a model takes at most, asking again for replies that do not fit apart.

    steps: by step, what will be tried, or why nothing will. seconds: None where no runs on this model are recorded.
    warnings: why it may not be worth it.
    """

    chain: str
    model: str
    parts: str
    steps: dict[str, str]
    models: tuple[ModelEstimate, ...]
    seconds: float | None
    warnings: tuple[str, ...] = ()

    @property
    def cost(self) -> float | None:
        costs = [one.cost for one in self.models]
        return None if None in costs else sum(cost for cost in costs if cost is not None)

    def to_json(self) -> dict[str, Any]:
        return {
            "chain": self.chain,
            "model": self.model,
            "examples": self.parts,
            "steps": self.steps,
            "calls": sum(one.calls for one in self.models),
            "tokens": sum(one.tokens for one in self.models),
            "cost": self.cost,
            "seconds": self.seconds,
            "warnings": list(self.warnings),
            "models": [
                {"model": one.model, "calls": one.calls, "tokens": one.tokens, "cost": one.cost} for one in self.models
            ],
        }


def estimate(project: Project, lm: LM, work: Job, most: int | None = None) -> Estimate:
    """As if all calls that the search may plan for were made. most: what a ceiling leaves of them.

    Raises PromptChainError where so few calls are of no use."""
    caller = Caller(lm)
    bench = Bench(work.bound, work.checks, caller, testing.grader(project, lm, caller, testing.tested(work.chain)))
    calls = allowance(bench, work.parts, work.tuning, work.planned(most)).calls
    why = targets(bench, work.tuning, [*work.parts.dev, *work.parts.test])
    found: dict[str, ModelEstimate] = {}
    for model, share, sent, written in _shares(work, bench, calls, [name for name in why if not why[name]]):
        before = found.get(model, ModelEstimate(model, 0, 0, 0.0))
        cost = _plus(before.cost, lm.capabilities(model).price, sent * share, written * share)
        tokens = before.tokens + round((sent + written) * share)
        found[model] = ModelEstimate(model, before.calls + share, tokens, cost)
    steps = {name: said or _plan(work, bench, name) for name, said in why.items()}
    models = tuple(found.values())
    doubts = tuple(warnings(work.parts, work.chain.steps, work.tuning.max_p))
    return Estimate(work.chain.name, work.model, str(work.parts), steps, models, _seconds(project, work, calls), doubts)


def _plan(work: Job, bench: Bench, name: str) -> str:
    """The optimizers that have something to do: parts that are frozen are left alone, instructions need a writer."""
    alone = "alone" if bench.is_alone(name) else "with what comes after it"
    freeze = work.bound.prompts[name].step.freeze
    frozen = freeze if isinstance(freeze, tuple) else ()
    free = [word for word in registry.plan(work.tuning.optimizer) if registry.PARTS[word] not in frozen]
    nobody = "instructions" in free and not work.proposer
    if nobody:
        free.remove("instructions")
    return f"{', '.join(free) or 'nothing'}; tried {alone}" + "; instructions with --proposer MODEL" * nobody


def _shares(work: Job, bench: Bench, calls: int, tuned: Sequence[str]) -> Iterator[tuple[str, int, float, float]]:
    """Models, with the calls that each may get, and the tokens of one, sent and written.

    A trial is about as many calls of each step that is tuned, or that a whole run needs, and of each judge; the
    proposer is asked at most once for so many, and the teacher about the training examples."""
    examples = [*work.parts.dev, *work.parts.test]
    looked_at = scorer.looked_at(work.bound.plan, (*work.checks, *(a for one in examples for a in one.assertions)))
    steps = [name for name in work.bound.prompts if name in looked_at]
    sent, written = ({name: tokens(work, name) for name in steps} for tokens in (_prompt_tokens, _reply_tokens))
    judged = max(0, bench.calls_of(examples) - sum(map(work.bound.calls_of, looked_at))) if work.judges else 0
    proposed = taught = 0
    if tuned and work.proposer and "instructions" in registry.plan(work.tuning.optimizer):
        proposed = calls // _TRIALS_A_PROPOSAL
        yield work.proposer, proposed, _QUESTION, _PROPOSAL
    if work.tuning.teacher and (untold := _untold(work, tuned)):
        rows = min(MAX_TRACED, len(work.parts.train)) * len(untold)
        taught = min(rows * len(steps), (calls - proposed) // 3)
        yield work.tuning.teacher, taught, _mean(sent.values()), _mean(written.values())
    each = (calls - proposed - taught) / max(1, len(steps) + judged)
    for name in steps:
        yield work.bound.prompts[name].model, round(each), sent[name], written[name]
    for judge in work.judges:
        yield judge, round(each * judged / len(work.judges)), _RUBRIC, _VERDICT


def _untold(work: Job, tuned: Sequence[str]) -> list[str]:
    """The steps that get demos from what a model answers, since the training examples expect nothing of them."""
    if not {"nearest", "demos"} & set(registry.plan(work.tuning.optimizer)):
        return []
    told = {name for example in work.parts.train for name in example.gold(work.chain)}
    return [name for name in tuned if name not in told]


def _prompt_tokens(work: Job, name: str) -> float:
    step = work.bound.prompts[name].step
    gold = [example.gold(work.chain) for example in work.parts.train]
    demos = [
        demo_tokens(Demo(inputs=dict(example.inputs), output=own[name]))
        for example, own in zip(work.parts.train, gold, strict=True)
        if name in own
    ]
    shown = min(work.tuning.max_demos * _mean(demos) / 2, work.tuning.max_demo_tokens)
    own = _mean(text_tokens("".join(map(template.to_text, example.inputs.values()))) for example in work.parts.dev)
    return text_tokens(step.instructions.text + step.prompt.text) + own + shown


def _reply_tokens(work: Job, name: str) -> float:
    prompt = work.bound.prompts[name]
    limit = prompt.params.get("max_tokens") or prompt.params.get("max_completion_tokens") or _REPLY
    return min(limit, _SHORT_REPLY) if prompt.step.type.kind in ("enum", "scalar") else float(limit)


def _mean(values: Iterable[float]) -> float:
    found = list(values)
    return sum(found) / len(found) if found else 0.0


def _plus(cost: float | None, price: Price | None, sent: float, written: float) -> float | None:
    if cost is None or price is None:
        return None
    return cost + sent * price.prompt + written * price.completion


def _seconds(project: Project, work: Job, planned: int) -> float | None:
    """By what the last runs of the chain on this model took for each call."""
    with project.history() as history:
        runs = history.runs.select(Query(chain=work.chain.name, model=work.model, status="done", limit=50))
    calls = sum(run.calls for run in runs)
    return planned * sum(run.seconds for run in runs) / calls if calls else None
