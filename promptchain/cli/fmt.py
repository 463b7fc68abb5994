"""`chain fmt`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptchain.cli import complete
from promptchain.cli.output import note, on_terminal, plural, print_error, say, style
from promptchain.errors import PromptChainError, UsageError

if TYPE_CHECKING:
    from promptchain.formatting.files import LaidOut
    from promptchain.project import Project


def fmt(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="Chains by name or file; all of chains/ without any; - lays out standard input.",
            autocompletion=complete.chains,
        ),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; exit 1 where a file would change.")] = False,
    diff: Annotated[bool, typer.Option("--diff", help="As --check, and print what would change.")] = False,
) -> None:
    """Lay out chain files in one canonical way; comments are kept, and what a chain says stays the same.

    Keys come in the order of the documentation (description, model, params, inputs, steps, outputs, test, compile; in a
    step what it is before how it is run), two spaces indent, quotes stand only where they are needed. Inputs, steps and
    outputs keep their order, block texts and short collections in brackets their style, locks are left alone. Exit code
    1 where a file is no YAML; what else is wrong with a chain is told by `chain check`.

    Example: chain fmt support --diff
    """
    from promptchain.project import Project

    if names == ["-"]:
        _standard_input()
        return
    project = Project.find()
    results = [_lay_out(project, path) for path in _files(project, names or [])]
    found = [result for result in results if result is not None]
    changed = [result for result in found if result.changed]
    for result in changed:
        if diff:
            _print_diff(result)
        elif check:
            say(f"{style('would reformat', '33', sys.stdout)} {result.name}")
        else:
            result.write()
            say(f"{style('reformatted', '32', sys.stdout)} {result.name}")
    sys.stdout.flush()  # the summary comes last, also where both go to one place
    _summary(len(changed), len(found) - len(changed), len(results) - len(found), written=not (check or diff))
    if len(found) < len(results) or (changed and (check or diff)):
        raise typer.Exit(1)


def _files(project: Project, names: list[str]) -> list[Path]:
    """The files of the chains that are named, each once; of all without a name. Locks are not among them."""
    from promptchain.loader import chain_files
    from promptchain.lock import SUFFIX

    if not names and not project.folder.is_dir():
        hint = "go to the project's folder, or make one: chain init"
        raise UsageError("there is no folder chains/ here or above", hint=hint)
    words = names or [str(path) for path in chain_files(project.folder)]
    if not words:
        raise UsageError(f"there are no chains in {project.folder}", hint="write one: chains/NAME.yaml")
    # As a file each is resolved, so that a link stays one, and refused where it lies outside of the project.
    paths = dict.fromkeys(project.path(str(project.path(word))) for word in words)
    return [path for path in paths if not path.name.endswith((SUFFIX, SUFFIX.replace("yaml", "yml")))]


def _lay_out(project: Project, path: Path) -> LaidOut | None:
    """The file in canonical layout; None where that cannot be, which is told."""
    from promptchain.formatting.files import lay_out

    try:
        return lay_out(path, path.relative_to(project.root).as_posix())
    except PromptChainError as exc:
        print_error(exc)
        return None


def _standard_input() -> None:
    """For editors: from standard input to standard output, byte for byte."""
    from promptchain.document import MAX_BYTES
    from promptchain.formatting.files import lay_out_bytes

    content = sys.stdin.buffer.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise PromptChainError("standard input is longer than the 1 MiB that are read", hint="chain fmt NAME")
    sys.stdout.buffer.write(lay_out_bytes(content, "standard input"))


def _print_diff(result: LaidOut) -> None:
    from difflib import unified_diff

    before, after = (text.decode("utf-8-sig", "replace").splitlines() for text in (result.before, result.after))
    shown = [*unified_diff(before, after, f"a/{result.name}", f"b/{result.name}", lineterm="")]
    if not shown:
        say(f"{result.name}: only line breaks differ")
    for line in shown:
        code = {"+": "32", "-": "31", "@": "36"}.get(line[0])
        say(style(on_terminal(line), code, sys.stdout) if code else on_terminal(line))


def _summary(changed: int, same: int, bad: int, *, written: bool) -> None:
    parts = []
    if changed:
        parts.append(f"{plural(changed, 'file')} {'reformatted' if written else 'would be reformatted'}")
    if same:
        parts.append(f"{plural(same, 'file')} left as {'they are' if same != 1 else 'it is'}")
    if bad:
        parts.append(f"{plural(bad, 'file')} could not be read")
    note(", ".join(parts) or "nothing to lay out: locks are left alone")
