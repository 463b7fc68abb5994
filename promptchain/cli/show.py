"""`chain show`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptchain.cli import complete, options
from promptchain.cli.output import console, note, on_terminal, print_json, printable, say, style

if TYPE_CHECKING:
    from promptchain.adopted import Adopted
    from promptchain.chain import Chain
    from promptchain.lm.protocol import Message
    from promptchain.plan import Plan
    from promptchain.project import Project


def show(
    name: options.ChainName,
    text: options.Text = None,
    step: Annotated[str | None, typer.Option("--step", help="Only this step.", autocompletion=complete.steps)] = None,
    rendered: Annotated[
        bool, typer.Option("--rendered", help="Print the exact messages that would be sent, without sending them.")
    ] = False,
    pairs: options.RenderedInputs = None,
    model: options.Models = None,
    source: options.Source = False,
    json: options.Json = False,
) -> None:
    """Show a chain: its steps as a table and as a graph, for which models it is compiled, or the messages that its
    steps send.

    Example: chain show support --rendered -i message="Where is my card?"
    """
    from promptchain import plan
    from promptchain.errors import UsageError, known_or_nearest
    from promptchain.project import Project

    project = Project.find()
    chain = project.load(name)
    if step is not None and step not in chain.steps:
        raise UsageError(f"there is no step '{step}'", hint=known_or_nearest(step, chain.steps, "steps"))
    if (text is not None or pairs) and not rendered:
        raise UsageError("inputs are only of use with --rendered", hint="add --rendered")
    if rendered:
        given = _given(chain, text, pairs or [])
        _print_rendered(_rendered(project, name, chain, model or [], given, step, source=source), json=json)
        return
    found = [] if source else _compiled(project, name, chain, model or [])
    if json:
        print_json({**_as_json(plan.build(chain), step), "compiled": dict(map(_compiled_json, found))})
    else:
        _print_chain(plan.build(chain), step, project.settings.model, found)


def _compiled(project: Project, reference: str, chain: Chain, models: list[str]) -> list[Adopted]:
    """What the lock has for each of its models, held against the chain as it is."""
    from dataclasses import replace

    from promptchain.adopted import choose
    from promptchain.cli import adopted

    lock = adopted.lock_of(project, reference)
    chosen, lm = project.models(models), project.lm()
    try:
        by_model = {model: replace(chosen, default=model).by_step(chain) for model in lock.models}
        return [choose(chain, lock, model, by_step, lm) for model, by_step in by_model.items()]
    finally:
        lm.close()


def _compiled_json(found: Adopted) -> tuple[str, Any]:
    assert found.model is not None
    assert found.entry is not None
    state = {"fresh": found.fresh, "stale": [stale.to_json() for stale in found.stale], "unfit": dict(found.unfit)}
    return found.model, {**found.entry.facts(), **state}


def _compiled_line(found: Adopted) -> str:
    from promptchain.diff_lock import figures

    assert found.entry is not None
    state = "fresh" if found.fresh else "; ".join([*(stale.message for stale in found.stale), *found.unfit.values()])
    what = figures(found.entry) if found.entry.steps else "the seed prompts were kept"
    return f"compiled: {found.model}: {what} ({'' if found.fresh else 'stale: '}{state})"


def _as_json(plan: Plan, step: str | None) -> dict[str, Any]:
    data = plan.chain.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    data["content_id"] = plan.chain.content_id
    data["plan"] = {
        node.id: {"kind": node.step.kind, "needs": sorted(node.needs), "tolerates": sorted(node.tolerates)}
        for node in plan.nodes.values()
    }
    if step:
        data["steps"] = {step: data["steps"][step]}
        data["plan"] = {step: data["plan"][step]}
    return data


def _print_chain(plan: Plan, only: str | None, default: str | None, compiled: list[Adopted]) -> None:
    from rich.table import Table
    from rich.text import Text

    chain = plan.chain
    out = console()
    if only is None:
        out.print(Text(chain.name, style="bold"), *([Text(chain.description)] if chain.description else []))
        out.print(Text(f"model: {chain.model or default or 'none (give --model)'}"))
        for found in compiled:
            out.print(Text(printable(_compiled_line(found))))
        for name, kind in chain.input_type.fields().items():
            mark = "" if name in chain.input_type.required else "?"
            out.print(Text(f"input: {name}{mark}: {kind.describe()}"))
    drawn = {name: lines for lines, name in _draw(plan)}
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in ("step", "kind", "model", "output", "modifiers", "says"):
        table.add_column(title, no_wrap=title in ("step", "kind"), overflow="ellipsis")
    for name in plan.nodes:
        if only in (None, name):
            lines = Text(drawn[name] + " ", style="cyan") + Text(name, style="bold")
            table.add_row(lines, *(Text(cell) for cell in _row(plan, name)))
    out.print(table)
    if only is None:
        for name, template in plan.outputs.items():
            out.print(Text(f"output: {name} = {' '.join(template.split())}"))
    else:
        _print_source(plan, only)


def _draw(plan: Plan) -> Any:
    from promptchain.cli.dag import draw

    return draw(plan)


def _row(plan: Plan, name: str) -> tuple[str, ...]:
    from promptchain.chain import PromptStep

    step = plan.nodes[name].step
    modifiers = [key for key in ("when", "for_each", "assert_") if getattr(step, key)]
    output, model, says = step.type.describe(), "", ""
    if isinstance(step, PromptStep):
        model = step.model or ""
        modifiers += [key for key in ("reasoning", "demos", "fallbacks", "tools") if getattr(step, key)]
        says = step.instructions.text or step.prompt.text
    if step.for_each:
        output += "[]"
    if len(output) > 40:
        output = output[:39] + "…"
    first = says.strip().splitlines()[0] if says.strip() else step.description
    return step.kind, model, output, " ".join(key.removesuffix("_") for key in modifiers), first[:60]


def _print_source(plan: Plan, name: str) -> None:
    from promptchain.chain import PromptStep

    step = plan.nodes[name].step
    if isinstance(step, PromptStep):
        for title, part in (("instructions", step.instructions), ("prompt", step.prompt)):
            if part.text:
                say(style(f"\n{title}" + (f" ({part.file})" if part.file else ""), "1", sys.stdout))
                say(on_terminal(part.text.rstrip()))


def _given(chain: Chain, text: str | None, pairs: list[str]) -> dict[str, Any]:
    """Values for inputs and for steps' outputs, each by its type."""
    from promptchain import inputs

    values = inputs.from_pairs(chain, pairs)
    if text is not None:
        values = {**inputs.from_text(chain, text), **values}
    optional = [name for name in chain.input_type.fields() if name not in chain.input_type.required]
    return {**dict.fromkeys(optional), **typed(chain, values)}


def typed(chain: Chain, values: dict[str, Any]) -> dict[str, Any]:
    """The values with those of steps read by the steps' types. Raises InputError, also for a name that is unknown."""
    import json

    from promptchain.errors import InputError, known_or_nearest

    known = [*chain.input_type.fields(), *chain.steps]
    for name, value in values.items():
        if name not in known:
            hint = known_or_nearest(name, known, "inputs and steps")
            raise InputError(f"the chain '{chain.name}' has no input or step '{name}'", hint=hint)
        if name in chain.steps:
            step = chain.steps[name]
            try:
                values[name] = json.loads(value) if step.for_each else step.type.coerce(value)
            except ValueError as exc:
                raise InputError(f"step '{name}': {exc}") from None
    return values


def _rendered(
    project: Project,
    reference: str,
    chain: Chain,
    models: list[str],
    values: dict[str, Any],
    only: str | None,
    *,
    source: bool,
) -> list[dict[str, Any]]:
    """For each prompt step its request, or the names it lacks."""
    from promptchain.cli import adopted

    lm = project.lm()
    bound = adopted.bind(project, reference, chain, lm, models, source=source)
    found = []
    for name, prompt in bound.prompts.items():
        if only not in (None, name):
            continue
        lacking = _lacking(bound.plan, name, values)
        entry: dict[str, Any] = {"step": name, "model": prompt.model, "format": prompt.format().value}
        if bound.adopted and bound.adopted.variant and name in bound.adopted.variant.steps:
            entry["compiled"] = True
        if lacking:
            found.append({**entry, "needs": lacking})
            continue
        request = prompt.request({**dict.fromkeys(chain.steps), **values, **first_item(prompt.step, values)})
        entry["messages"] = [_message(message) for message in request.messages]
        entry["params"] = dict(request.params)
        entry |= {"tools": [asdict(tool) for tool in request.tools]} if request.tools else {}
        entry |= {"schema": request.schema} if request.schema else {}
        entry |= {"choices": list(request.choices)} if request.choices else {}
        found.append(entry)
    return found


def _message(message: Message) -> dict[str, Any]:
    """As it is shown: images and files stand in the text by name and size, and beside it as they are."""
    from promptchain import media

    shown: dict[str, Any] = {"role": message.role, "content": media.as_text(message)}
    return shown | ({"media": [asdict(one) for one in message.media]} if message.media else {})


def first_item(step: Any, values: dict[str, Any]) -> dict[str, Any]:
    """What a `for_each` step sees on its first round, where the list is known."""
    from promptchain import template

    if step.for_each is None:
        return {}
    try:
        items = template.expression(step.for_each.in_).value(values)
    except template.TemplateFault:
        return {}
    return {step.for_each.as_: items[0], "index": 0} if isinstance(items, list) and items else {}


def _lacking(plan: Plan, name: str, values: dict[str, Any]) -> list[str]:
    """The names that are not there and without which the messages of a step cannot be rendered."""
    from promptchain import template

    step = plan.nodes[name].step
    lacking = _needed(plan, name) - set(values) - set(first_item(step, values))
    if step.for_each and lacking & {step.for_each.as_, "index"}:  # the item is had by giving the list
        lists = {ref.name for ref in template.expression(step.for_each.in_).references}
        lacking = (lacking - {step.for_each.as_, "index"}) | lists
    return sorted(lacking)


def _needed(plan: Plan, name: str) -> set[str]:
    """The names that the messages of a step are made of, but for those that may be null."""
    from promptchain import template

    needed: set[str] = set()
    for text in plan.nodes[name].step.texts():
        if text.path[0] in ("instructions", "prompt"):
            needed |= {ref.name for ref in template.parse(text.text).references if not ref.tolerant}
    return needed


def _print_rendered(entries: list[dict[str, Any]], *, json: bool) -> None:
    if json:
        print_json(entries)
        return
    for entry in entries:
        if "needs" in entry:
            give = " ".join(f"-i {name}=…" for name in entry["needs"])
            note(f"step '{entry['step']}' is not rendered: it needs {', '.join(entry['needs'])}; give {give}")
            continue
        compiled = ", compiled" if entry.get("compiled") else ""
        say(style(f"━━ {entry['step']} → {entry['model']} (format: {entry['format']}{compiled})", "1", sys.stdout))
        for message in entry["messages"]:
            say(style(f"── {message['role']}", "36", sys.stdout))
            say(on_terminal(message["content"]))
        if "tools" in entry:
            say(style("── may call", "36", sys.stdout))
            for tool in entry["tools"]:
                say(on_terminal(f"{tool['name']}: {tool['description']}"))
        for key in ("schema", "choices"):
            if key in entry:
                what = "held to the schema" if key == "schema" else "held to one of"
                say(style(f"── {what}", "36", sys.stdout))
                say(on_terminal(_compact(entry[key])))
        say("")


def _compact(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)
