"""`chain models` and `chain doctor`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptchain.cli import options
from promptchain.cli.output import animated, note, print_json, say, style, table

if TYPE_CHECKING:
    from promptchain.health import Finding

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.callback(invoke_without_command=True)
def models(
    ctx: typer.Context,
    all: Annotated[bool, typer.Option("--all", help="Also list the providers that cannot be used, and why.")] = False,
    search: Annotated[
        str | None, typer.Option("--search", metavar="TEXT", help="List known models whose name has this in it.")
    ] = None,
    json: options.Json = False,
) -> None:
    """List the models that can be used here, and why the others can't; fetch weights.

    Examples:

      chain models --search claude

      chain models pull bartowski/SmolLM2-360M-Instruct-GGUF
    """
    if ctx.invoked_subcommand:
        return
    if search is not None:
        _search(search, json=json)
        return
    from promptchain.health import usable_models

    found = usable_models()
    if json:
        print_json([{**asdict(model), "usable": model.why_not is None} for model in found])
        return
    shown = [model for model in found if all or model.why_not is None or model.name.startswith("local/")]
    table([(_mark(m.why_not is None), m.name, m.detail, m.why_not or "", m.remedy or "") for m in shown])
    hidden = len(found) - len(shown)
    if hidden:
        note(f"{hidden} providers have no key set here: chain models --all")


def _mark(good: bool) -> str:
    return "✓" if good else "✗"


def _search(text: str, *, json: bool) -> None:
    from promptchain.errors import UsageError
    from promptchain.lm import catalog

    wanted = text.lower()
    names = [name for name in catalog.known_models() if wanted in name.lower()]
    if not names:
        nearest = catalog.nearest_model(text)
        hint = f"did you mean '{nearest}'?" if nearest else "a model that is not listed may still work"
        raise UsageError(f"no known model has '{text}' in its name", hint=hint)
    if json:
        print_json([_describe(name) for name in names])
        return
    rows = []
    for name in names:
        entry = _describe(name)
        price = "" if entry["prompt_price"] is None else f"${entry['prompt_price']:g} / ${entry['completion_price']:g}"
        rows.append((name, str(entry["context"] or ""), price))
    table(rows, header=("model", "context", "$ per million tokens in / out"))


def _describe(name: str) -> dict[str, Any]:
    from promptchain.lm import catalog

    entry = catalog.lookup(name)
    price = entry.price if entry else None
    return {
        "name": name,
        "context": entry.context if entry else None,
        "schema": entry.schema if entry else None,
        "prompt_price": None if price is None else round(price.prompt * 1e6, 6),
        "completion_price": None if price is None else round(price.completion * 1e6, 6),
    }


@app.command("pull")
def pull(
    source: Annotated[str, typer.Argument(metavar="OWNER/REPOSITORY[:FILE]", help="A repository of GGUF files.")],
) -> None:
    """Fetch the weights of a model (a GGUF file) from the Hugging Face hub.

    Example: chain models pull bartowski/SmolLM2-360M-Instruct-GGUF:SmolLM2-360M-Instruct-Q4_K_M.gguf
    """
    from promptchain.lm import weights

    repository, _, file = source.partition(":")
    shown = animated(sys.stderr)

    def progress(done: int, total: int | None) -> None:
        if shown:
            of = f" of {total / 1e6:.0f}" if total else ""
            print(f"\r{done / 1e6:.0f}{of} MB", end="", file=sys.stderr, flush=True)  # noqa: T201

    path = weights.pull(repository, file or None, progress=progress)
    if shown:
        note("")
    say(f"local/{path.stem}")


def doctor(json: options.Json = False) -> None:
    """Find out what keeps chains from running here, and how to mend it. Exit code 1 when something does.

    Example: chain doctor
    """
    from promptchain.health import Level, diagnose

    findings = []
    for finding in diagnose():
        findings.append(finding)
        if not json:
            _print_finding(finding)
    if json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.level is Level.ERROR for finding in findings):
        raise typer.Exit(1)


def _print_finding(finding: Finding) -> None:
    mark, colour = {"ok": ("✓", "32"), "warning": ("!", "33"), "error": ("✗", "31")}[finding.level.value]
    say(f"{style(mark, colour, sys.stdout)} {finding.subject}: {finding.message}")
    if finding.remedy:
        say(f"  → {finding.remedy}")
