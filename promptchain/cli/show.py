"""`chain show`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptchain.cli import options
from promptchain.cli.output import console, on_terminal, print_json, printable, say, stacked, style, too_narrow

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from promptchain.adopted import Adopted
    from promptchain.chain import Chain
    from promptchain.plan import AnyStep, Plan
    from promptchain.project import Project


def show(
    name: options.ChainName,
    text: options.Text = None,
    step: options.Step = None,
    rendered: Annotated[
        bool, typer.Option("--rendered", help="Print what would be sent, searched and called, without doing it.")
    ] = False,
    pairs: options.RenderedInputs = None,
    model: options.Models = None,
    source: options.Source = False,
    json: options.Json = False,
) -> None:
    """Show a chain: its steps as a table and as a graph, for which models it is compiled; or the messages that its
    steps send, with their tools, and what they search.

    Examples:

      chain show support

      chain show support --rendered -i message="Where is my card?"

      chain show support --rendered --step reply -i message="Where is my card?" -i help=@passages.json
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
        from promptchain.cli import show_rendered, show_view

        given = show_rendered.given(chain, text, pairs or [])
        found = show_rendered.entries(project, name, chain, model or [], given, step, source=source)
        show_view.show(found, json=json)
        return
    compiled = [] if source else _compiled(project, name, chain, model or [])
    if json:
        print_json({**_as_json(plan.build(chain), step), "compiled": dict(map(_compiled_json, compiled))})
    else:
        _print_chain(plan.build(chain), step, project.settings.model, compiled)


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
    _print_steps(plan, drawn, only, out)
    if only is None:
        for name, template in plan.outputs.items():
            out.print(Text(f"output: {name} = {' '.join(template.split())}"))
    else:
        _print_source(plan, only)


def _print_steps(plan: Plan, drawn: Mapping[str, str], only: str | None, out: Console) -> None:
    """The steps as a table; from top to bottom where a terminal is too narrow for that."""
    from rich.table import Table
    from rich.text import Text

    rows = {name: _row(plan, name) for name in plan.nodes if only in (None, name)}
    titles = ("step", "kind", "model", "output", "modifiers", "says")
    if sys.stdout.isatty() and too_narrow([titles, *((f"{drawn[name]} {name}", *row) for name, row in rows.items())]):
        for name, row in rows.items():
            stacked((f"{drawn[name]} {name}", *row), titles)
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for title in titles:
        table.add_column(title, no_wrap=title in ("step", "kind"), overflow="ellipsis")
    for name, row in rows.items():
        lines = Text(drawn[name] + " ", style="cyan") + Text(name, style="bold")
        table.add_row(lines, *(Text(cell) for cell in row))
    out.print(table)


def _draw(plan: Plan) -> Any:
    from promptchain.cli.dag import draw

    return draw(plan)


def _row(plan: Plan, name: str) -> tuple[str, ...]:
    from promptchain import told
    from promptchain.chain import PromptStep

    step = plan.nodes[name].step
    modifiers = [key for key in ("when", "for_each", "assert_") if getattr(step, key)]
    output, model, says = _output(step), "", told.does(step)
    if isinstance(step, PromptStep):
        model = step.model or ""
        modifiers += [key for key in ("reasoning", "demos", "fallbacks", "tools") if getattr(step, key)]
        modifiers += ["samples"] if step.samples > 1 else []
        says = step.instructions.text or step.prompt.text
    if step.for_each:
        output += "[]"
    if len(output) > 40:
        output = output[:39] + "…"
    first = says.strip().splitlines()[0] if says.strip() else step.description
    if len(first) > 60:
        first = first[:59] + "…"
    return step.kind, model, output, " ".join(key.removesuffix("_") for key in modifiers), first


def _output(step: AnyStep) -> str:
    """The type of what a step gives; that of passages, of code and of a chain's outputs is not the default, a text."""
    if step.output is not None or step.kind == "prompt":
        return step.type.describe()
    return {"retrieve": "passages", "chain": "outputs"}.get(step.kind, "")


def _print_source(plan: Plan, name: str) -> None:
    from promptchain import told
    from promptchain.chain import PromptStep

    step = plan.nodes[name].step
    if not isinstance(step, PromptStep):
        say(printable(f"\n{told.does(step)}"))
        return
    if step.samples > 1:
        say(f"\n{told.samples(step.samples, step.select)}")
    if step.tools:
        say(style("\ntools", "1", sys.stdout))
        for tool in step.tools:
            say(printable(f"  {told.tool(tool)}"))
    for title, part in (("instructions", step.instructions), ("prompt", step.prompt)):
        if part.text:
            say(style(f"\n{title}" + (f" ({part.file})" if part.file else ""), "1", sys.stdout))
            say(on_terminal(part.text.rstrip()), exact=True)
