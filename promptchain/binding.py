"""A plan with all that does not depend on inputs settled: models, parameters, formats, prompts, tools and chains."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from promptchain import sources
from promptchain.adopted import Adopted
from promptchain.chain import ChainStep, PromptStep, PythonStep, RetrieveStep, digest
from promptchain.errors import PromptChainError, UsageError, known_or_nearest
from promptchain.lm.calls import Retry
from promptchain.lm.protocol import LM
from promptchain.models import Models
from promptchain.parts import Tool
from promptchain.plan import Plan, build
from promptchain.records import StepVariant, Variant
from promptchain.steps.prompt import BoundPrompt
from promptchain.steps.python import BoundPython
from promptchain.steps.retrieve import BoundRetrieve
from promptchain.steps.subchain import BoundChain
from promptchain.steps.toolbox import ToolSource
from promptchain.steps.workshop import Workshop

BoundOther = BoundRetrieve | BoundPython | BoundChain
"""A step that is no prompt, ready to run."""

DEFAULT_TIMEOUT = 120.0
"""Seconds for one call of a step that sets no `timeout`."""


@dataclass(frozen=True)
class BoundPlan:
    """A plan whose steps know their models, parameters and formats: ready to run on any number of inputs.

    others: its steps that are no prompts. chains: the chains that it runs, bound likewise. adopted: what its prompts
    are of the chain's lock, where that was looked at.
    """

    plan: Plan
    prompts: Mapping[str, BoundPrompt]
    model: str | None
    workshop: Workshop
    others: Mapping[str, BoundOther] = field(default_factory=dict)
    chains: Mapping[str, BoundPlan] = field(default_factory=dict)
    adopted: Adopted | None = None

    def sampled(self, sample: int) -> BoundPlan:
        """The plan for the `sample`-th draw of the same: its answers are kept apart from those of the others."""
        prompts = {name: replace(bound, sample=sample) for name, bound in self.prompts.items()}
        return replace(self, prompts=prompts)._on({name: own.sampled(sample) for name, own in self.chains.items()})

    def varied(self, variants: Mapping[str, StepVariant]) -> BoundPlan:
        """The plan with other parameters for some steps: complete ones, as `Variant.of` gives them."""
        changed = {name: replace(self.prompts[name], variant=variant) for name, variant in variants.items()}
        return replace(self, prompts={**self.prompts, **changed})

    def _on(self, chains: Mapping[str, BoundPlan]) -> BoundPlan:
        """The plan with these chains in place of those that its steps and tools run."""
        if not chains:
            return self
        prompts = {
            name: replace(bound, tools=tuple(_with_chain(source, chains) for source in bound.tools))
            for name, bound in self.prompts.items()
        }
        others = {
            name: replace(bound, plan=chains[bound.chain.name]) if isinstance(bound, BoundChain) else bound
            for name, bound in self.others.items()
        }
        return replace(self, prompts=prompts, others=others, chains=chains)

    @property
    def models(self) -> tuple[str, ...]:
        """Every model that a run may call."""
        own = [model for bound in self.prompts.values() for model, _ in bound.models]
        own += [model for bound in self.others.values() if isinstance(bound, BoundRetrieve) for model in bound.models]
        return tuple(dict.fromkeys([*own, *(model for chain in self.chains.values() for model in chain.models)]))

    @cached_property
    def beside(self) -> str:
        """A hash of what decides a run beside the chain itself and the models and prompts of its own steps: the code
        and the passages that it uses, as they are when this is first asked, and the models and prompts of the chains in
        it. Empty where it uses nothing."""
        chain, place = self.plan.chain, self.workshop
        used = sources.fingerprints(chain, place.folder, place.root)
        inner = [
            [own.plan.chain.name, own.models, own.adopted.fingerprint if own.adopted else None]
            for own in self.all_chains()
        ]
        return digest([used, inner]) if used or inner else ""

    def all_chains(self) -> Iterator[BoundPlan]:
        """The chains that a run may run, and those that these may."""
        for chain in self.chains.values():
            yield chain
            yield from chain.all_chains()

    def calls_of(self, name: str) -> int:
        """The model calls that a step takes at most, or each of its items, if no reply is asked for again."""
        bound = self.step(name)
        if isinstance(bound, BoundPrompt):
            inner = sum(int(source.plan.calls) for source in bound.tools if source.plan is not None)
            turns = bound.step.max_turns if bound.tools else 1
            return bound.step.samples * (turns + (turns - 1) * inner)
        if isinstance(bound, BoundChain):
            return int(bound.plan.calls)
        return len(bound.models) if isinstance(bound, BoundRetrieve) else 0

    @property
    def calls(self) -> int:
        """The model calls that a run takes at most, as `calls_of` counts them."""
        return sum(map(self.calls_of, self.plan.nodes))

    def step(self, name: str) -> BoundPrompt | BoundOther:
        """What runs the step `name`."""
        return self.prompts.get(name) or self.others[name]


def _with_chain(source: ToolSource, chains: Mapping[str, BoundPlan]) -> ToolSource:
    return source if source.chain is None else replace(source, plan=chains[source.chain.name])


def bind(
    plan: Plan,
    lm: LM,
    models: Models | None = None,
    variant: Variant | None = None,
    *,
    timeout: float = DEFAULT_TIMEOUT,
    workshop: Workshop | None = None,
    chains: Mapping[str, BoundPlan] | None = None,
) -> BoundPlan:
    """Settle everything that does not depend on the inputs.

    timeout: seconds for a call where the step says nothing. workshop: what its steps use beside models; that of the
    current folder without one. chains: those that its steps name, bound; the words of their files without.
    Raises UsageError for a step without a model or an unknown step in `models`; PromptChainError for what cannot run.
    """
    models = models or Models()
    workshop = workshop or Workshop(Path.cwd(), timeout=timeout)
    chain = plan.chain
    for name in models.steps:
        if name not in chain.steps:
            raise UsageError(f"unknown step '{name}'", hint=known_or_nearest(name, chain.steps, "steps"))
    if chains is None:
        inner = replace(models, steps={}, last=models.of_chain(chain))
        chains = {
            name: bind(build(own), lm, inner, timeout=timeout, workshop=workshop) for name, own in chain.chains.items()
        }
    binding = _Binding(plan, lm, models, variant, timeout, chains)
    prompts: dict[str, BoundPrompt] = {}
    others: dict[str, BoundOther] = {}
    for name, node in plan.nodes.items():
        if isinstance(node.step, PromptStep):
            prompts[name] = binding.prompt(name, node.step)
        else:
            others[name] = binding.other(node.step)
    return BoundPlan(plan, prompts, models.of_chain(chain), workshop, others, chains)


@dataclass(frozen=True)
class _Binding:
    """What the steps of one plan are bound with."""

    plan: Plan
    lm: LM
    models: Models
    variant: Variant | None
    timeout: float
    chains: Mapping[str, BoundPlan]

    def prompt(self, name: str, step: PromptStep) -> BoundPrompt:
        chain = self.plan.chain
        model = self.models.of(name, step, chain)
        if model is None:
            hint = "set `model:` in the chain file or give --model; `chain models` lists what is usable here"
            raise UsageError(f"step '{name}' has no model", hint=hint)
        names = (model, *(fallback.model for fallback in step.fallbacks))
        own = self.variant.of(name, step) if self.variant else Variant.seed(step)
        if own.nearest and own.nearest.by != "lexical":
            _refuse_without_embedder(name, own.nearest.by)
        return BoundPrompt(
            step=step,
            variant=own,
            params={**chain.params, **step.params},
            models=tuple((name, self.lm.capabilities(name)) for name in names),
            timeout=step.timeout or self.timeout,
            retry=Retry(errors=step.retry.errors),
            tools=tuple(map(self._tool, step.tools)),
        )

    def _tool(self, tool: Tool) -> ToolSource:
        if tool.chain is None:
            return ToolSource(tool)
        return ToolSource(tool, self.plan.chain.chains[tool.chain], self.chains[tool.chain])

    def other(self, step: RetrieveStep | PythonStep | ChainStep) -> BoundOther:
        timeout = step.timeout or self.timeout
        if isinstance(step, RetrieveStep):
            rerank = step.retrieve.rerank
            return BoundRetrieve(step, timeout, self.lm.capabilities(rerank.model) if rerank else None)
        if isinstance(step, PythonStep):
            return BoundPython(step, timeout)
        return BoundChain(step, self.plan.chain.chains[step.chain], self.chains[step.chain], step.timeout)


def _refuse_without_embedder(name: str, by: str) -> None:
    from promptchain.lm import embed

    if not embed.installed():
        message = f"step '{name}' was compiled to pick its examples by {by}, which needs the package wordllama"
        raise PromptChainError(message, hint=embed.INSTALL)
