"""`chain show --rendered`: what each step would send, search or call, without doing it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promptchain.binding import BoundPlan
    from promptchain.chain import Chain
    from promptchain.lm.protocol import LM, Message, Request
    from promptchain.plan import AnyStep, Plan
    from promptchain.project import Project
    from promptchain.steps.context import Context
    from promptchain.steps.prompt import BoundPrompt
    from promptchain.steps.retrieve import BoundRetrieve
    from promptchain.types import Type

_NO_MODEL = "none"
"""Stands in for the models of steps that are not shown."""


def given(chain: Chain, text: str | None, pairs: list[str]) -> dict[str, Any]:
    """Values for inputs and for steps' outputs, each by its type. Raises InputError."""
    from promptchain import inputs

    values = inputs.from_pairs(chain, pairs)
    if text is not None:
        values = {**inputs.from_text(chain, text), **values}
    optional = [name for name in chain.input_type.fields() if name not in chain.input_type.required]
    return {**dict.fromkeys(optional), **typed(chain, values)}


def typed(chain: Chain, values: dict[str, Any]) -> dict[str, Any]:
    """The values with those of steps read by the steps' types; `reasoning` is a text for each step. Raises InputError,
    also for a name that is unknown."""
    from promptchain.errors import InputError, known_or_nearest
    from promptchain.template import REASONING
    from promptchain.types import Type

    known = [*chain.input_type.fields(), *chain.steps]
    for name, value in values.items():
        if name in chain.steps:
            kind, what, hint = _given_type(chain.steps[name]), f"step '{name}'", None
        elif name == REASONING and name not in known:
            kind, what, hint = Type({"type": "object"}), name, """for example -i reasoning='{"STEP": "…"}'"""
        elif name in known:
            continue
        else:
            hint = known_or_nearest(name, known, "inputs and steps")
            raise InputError(f"the chain '{chain.name}' has no input or step '{name}'", hint=hint)
        try:
            values[name] = kind.coerce(value) if isinstance(value, str) else value
        except ValueError as exc:
            raise InputError(f"{what}: {exc}", hint=hint) from None
    return values


def _given_type(step: AnyStep) -> Type:
    """The type of what a step is said to have given."""
    from promptchain.types import ANY, Type

    if step.for_each or step.kind == "retrieve":
        return Type({"type": "array"})
    if step.kind == "chain":
        return Type({"type": "object"})
    return ANY if step.kind == "python" and not step.output else step.type


def first_item(step: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a `for_each` step sees on its first round, where the list is known."""
    from promptchain import template

    if step.for_each is None:
        return {}
    try:
        items = template.expression(step.for_each.in_).value(values)
    except template.TemplateFault:
        return {}
    return {step.for_each.as_: items[0], "index": 0} if isinstance(items, list) and items else {}


def entries(
    project: Project,
    reference: str,
    chain: Chain,
    models: list[str],
    values: dict[str, Any],
    only: str | None,
    *,
    source: bool,
) -> list[dict[str, Any]]:
    """For each step what it would do, or the names that it lacks for that. Raises PromptChainError, also for tools
    that cannot be had."""
    from promptchain.cli import adopted, interrupt

    lm = project.lm()
    try:
        bound = adopted.bind(_for_one(project, chain, models, only), reference, chain, lm, models, source=source)
        return interrupt.run(_Rendering(bound, lm, values).entries(only))
    finally:
        lm.close()


def _for_one(project: Project, chain: Chain, models: list[str], only: str | None) -> Project:
    """The project, with a model for the steps that have none where a step is shown that needs none of theirs."""
    step = chain.steps.get(only or "")
    if step is None or project.settings.model is not None:
        return project
    if step.kind == "prompt" and only not in project.models(models).by_step(chain):
        return project
    return replace(project, settings=project.settings.model_copy(update={"model": _NO_MODEL}))


@dataclass(frozen=True)
class _Rendering:
    """The steps of a plan on some values."""

    bound: BoundPlan
    lm: LM
    values: Mapping[str, Any]

    async def entries(self, only: str | None) -> list[dict[str, Any]]:
        from promptchain.lm.calls import Caller
        from promptchain.steps.context import Context

        found = []
        for name in self.bound.plan.nodes:
            if only in (None, name):
                found.append(await self._entry(name, Context(Caller(self.lm), self.bound.workshop, step=name)))
        return found

    async def _entry(self, name: str, context: Context) -> dict[str, Any]:
        from promptchain.steps.prompt import BoundPrompt
        from promptchain.steps.python import BoundPython
        from promptchain.steps.retrieve import BoundRetrieve

        lacking, bound = _lacking(self.bound.plan, name, self.values), self.bound.step(name)
        if isinstance(bound, BoundPrompt):
            return await self._prompt(name, bound, lacking, context)
        entry: dict[str, Any] = {"step": name, "kind": bound.step.kind}
        entry |= {"needs": lacking} if lacking else {}
        if isinstance(bound, BoundRetrieve):
            return entry | await self._retrieve(name, bound, context, known=not lacking)
        inputs = {key: self._filled(name, value, known=not lacking) for key, value in bound.step.inputs.items()}
        if isinstance(bound, BoundPython):
            return entry | {"function": bound.step.python, "arguments": inputs}
        inner = bound.step.chain
        return entry | {"chain": inner, "inputs": inputs, "see": _command(inner, {} if lacking else inputs)}

    async def _prompt(self, name: str, prompt: BoundPrompt, lacking: list[str], context: Context) -> dict[str, Any]:
        from promptchain.errors import PromptChainError
        from promptchain.steps.toolbox import NO_TOOLS, Toolbox

        entry: dict[str, Any] = {"step": name, "model": prompt.model, "format": prompt.format().value}
        adopted = self.bound.adopted
        if adopted and adopted.variant and name in adopted.variant.steps:
            entry["compiled"] = True
        if lacking:
            return {**entry, "needs": lacking}
        try:
            toolbox = await Toolbox.of(prompt.tools, context) if prompt.tools else NO_TOOLS
        except PromptChainError as exc:
            exc.message = f"the tools of step '{name}': {exc.message}"
            raise
        request = prompt.request(self._seen(name), tools=toolbox.specs)
        return entry | _request(request)

    async def _retrieve(self, name: str, bound: BoundRetrieve, context: Context, *, known: bool) -> dict[str, Any]:
        """What would be searched; and the passages, where neither a model nor foreign code has to be asked for them."""
        from promptchain.retrieval.files import listing
        from promptchain.steps import rerank, retrieve

        spec = bound.step.retrieve
        entry: dict[str, Any] = {"query": self._filled(name, spec.query, known=known), "top_k": spec.top_k}
        entry |= {"where": self._filled(name, spec.where, known=known)} if spec.where else {}
        entry |= {"min_score": spec.min_score} if spec.min_score is not None else {}
        if not spec.patterns:
            return entry | ({"python": spec.python} if spec.python else {"url": spec.url})
        workshop = self.bound.workshop
        entry |= {"mode": spec.mode, "from": list(spec.patterns)}
        entry["files"] = [*listing(workshop.root, workshop.folder, spec.patterns).files]
        if known and _is_free(spec):
            entry["passages"] = (await retrieve.run(_unranked(bound), self._seen(name), context)).value
        if spec.rerank and bound.able:
            entry["rerank"] = {"model": spec.rerank.model, "of": spec.rerank.of}
            if len(entry.get("passages", ())) > 1:
                asked = rerank.request(spec.rerank, bound.able, entry["query"], entry["passages"])
                entry["rerank"] |= _request(asked)
        return entry

    def _seen(self, name: str) -> dict[str, Any]:
        """What the templates of a step see; null is what is not known, and need not be."""
        plan = self.bound.plan
        return {**dict.fromkeys(plan.chain.steps), **self.values, **first_item(plan.nodes[name].step, self.values)}

    def _filled(self, name: str, value: Any, *, known: bool) -> Any:
        from promptchain.steps.filled import filled

        return filled(value, self._seen(name), f"step '{name}'") if known else value


def _request(request: Request) -> dict[str, Any]:
    found: dict[str, Any] = {
        "messages": [_message(message) for message in request.messages],
        "params": dict(request.params),
    }
    found |= {"tools": [asdict(tool) for tool in request.tools]} if request.tools else {}
    found |= {"schema": request.schema} if request.schema else {}
    return found | ({"choices": list(request.choices)} if request.choices else {})


def _message(message: Message) -> dict[str, Any]:
    """As it is shown: images and files stand in the text by name and size, and beside it as they are."""
    from promptchain import media

    shown: dict[str, Any] = {"role": message.role, "content": media.as_text(message)}
    return shown | ({"media": [asdict(one) for one in message.media]} if message.media else {})


def _is_free(spec: Any) -> bool:
    """Whether files are searched without asking a model for vectors."""
    from promptchain.lm import embed

    return spec.mode == "lexical" or (spec.embedder or embed.LOCAL) == embed.LOCAL


def _unranked(bound: BoundRetrieve) -> BoundRetrieve:
    """The search without the model that orders what is found: all that this would be shown."""
    spec = bound.step.retrieve
    wanted = max(spec.top_k, spec.rerank.of) if spec.rerank else spec.top_k
    plain = spec.model_copy(update={"rerank": None, "top_k": wanted})
    return replace(bound, step=bound.step.model_copy(update={"retrieve": plain}), able=None)


def _command(chain: str, inputs: Mapping[str, Any]) -> str:
    """How to see what an inner chain sends."""
    import shlex

    from promptchain import template

    words = [f"-i {shlex.quote(f'{name}={template.to_text(value)}')}" for name, value in inputs.items()]
    return " ".join(["chain", "show", chain, "--rendered", *words])


def _lacking(plan: Plan, name: str, values: Mapping[str, Any]) -> list[str]:
    """The names that are not there and without which what a step sends cannot be told."""
    from promptchain import template

    step = plan.nodes[name].step
    lacking = _needed(plan, name) - set(values) - set(first_item(step, values))
    if step.for_each and lacking & {step.for_each.as_, "index"}:  # the item is had by giving the list
        lists = {ref.name for ref in template.expression(step.for_each.in_).references}
        lacking = (lacking - {step.for_each.as_, "index"}) | lists
    return sorted(lacking)


def _needed(plan: Plan, name: str) -> set[str]:
    """The names that what a step sends is made of, but for those that may be null."""
    from promptchain import template

    needed: set[str] = set()
    for text in plan.nodes[name].step.texts():
        if text.path[0] in ("instructions", "prompt", "retrieve", "inputs"):
            needed |= {ref.name for ref in template.parse(text.text).references if not ref.tolerant}
    return needed
