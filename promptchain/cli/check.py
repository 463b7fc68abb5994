"""`chain check`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from promptchain.cli import options
from promptchain.cli.output import note, plural, print_json, say, style

if TYPE_CHECKING:
    from promptchain.errors import Problem
    from promptchain.project import Project


_MOST_STEPS = 20
"""Steps of a chain that are named."""


def check(
    names: options.ChainNames = None,
    json: options.Json = False,
) -> None:
    """Check chain files, and the locks beside them, without running them: no model, no tokens.

    Every problem is listed with file, line and column. Exit code 1 when there is any.

    Example: chain check support
    """
    from promptchain.errors import UsageError
    from promptchain.project import Project

    project = Project.find()
    files = {project.path(name): name for name in names} if names else all_files(project)
    if not files:
        hint = "write one: chains/NAME.yaml, with a step that has a prompt; chain init makes an example"
        if not project.folder.is_dir():
            raise UsageError("there is no folder chains/ here or above", hint="go to the project's folder, or " + hint)
        raise UsageError(f"there are no chains in {project.folder}", hint=hint)
    results = [check_one(project, path, name) for path, name in files.items()]
    bad = sum(not result["ok"] for result in results)
    if json:
        print_json({"ok": not bad, "chains": [{k: v for k, v in result.items() if k != "found"} for result in results]})
    else:
        _print(project, results, bad)
    if bad:
        raise typer.Exit(1)


def all_files(project: Project) -> dict[Path, str]:
    """The files of the project's chains, also those whose names cannot be chains' names, with a reference to each."""
    from promptchain.loader import chain_files

    return {path: os.path.relpath(path) for path in chain_files(project.folder)}


def check_one(project: Project, path: Path, reference: str) -> dict[str, Any]:
    """The result for one chain, as `--json` prints it; `found` holds the problems as objects."""
    from promptchain import told
    from promptchain.errors import InvalidFileError, Problem, PromptChainError, Where

    file = path.relative_to(project.root).as_posix()
    problems: tuple[Problem, ...] = ()
    kinds: dict[str, str] = {}
    try:
        kinds = {name: told.kind(step) for name, step in project.load(reference).steps.items()}
        project.lock(reference)
    except InvalidFileError as exc:
        problems = exc.problems
    except PromptChainError as exc:  # its name, or that it cannot be read: the others are checked all the same
        problems = (Problem(exc.message, exc.where or Where(file), exc.hint),)
    return {
        "chain": path.stem,
        "file": file,
        "ok": not problems,
        "steps": len(kinds),
        "kinds": kinds,
        "problems": [
            {
                "message": problem.message,
                "hint": problem.hint,
                "file": problem.where.file,
                "line": problem.where.line,
                "column": problem.where.column,
            }
            for problem in problems
        ],
        "found": problems,
    }


def _print(project: Project, results: list[dict[str, Any]], bad: int) -> None:
    for result in results:
        for problem in result["found"]:
            _print_problem(project, problem)
        if result["ok"]:
            mark = style("ok", "32", sys.stdout)
            say(f"{mark} {result['file']}: {plural(result['steps'], 'step')}{_kinds(result['kinds'])}")
    sys.stdout.flush()  # the summary comes last, also where both go to one place
    count = sum(len(result["problems"]) for result in results)
    chains = plural(len(results), "chain")
    if bad:
        note(f"{chains} checked: {plural(count, 'problem')} in {plural(bad, 'file')}")
    else:
        note(f"{chains} checked: no problems")


def _kinds(kinds: dict[str, str]) -> str:
    """What the steps are, where they are not all plain prompts."""
    from promptchain.told import limited

    if {*kinds.values()} <= {"prompt"}:
        return ""
    return f" ({limited([f'{name}: {kind}' for name, kind in kinds.items()], _MOST_STEPS)})"


def _print_problem(project: Project, problem: Problem) -> None:
    """One line in a pipe; on a terminal also the line of the file, with a mark under the place."""
    where = problem.where
    if not sys.stdout.isatty() or where.line is None:
        say(str(problem))
        return
    say(style(f"{where}: ", "1", sys.stdout) + style(problem.message, "31", sys.stdout))
    try:
        source = (project.root / where.file).read_text(encoding="utf-8", errors="replace").splitlines()[where.line - 1]
    except (OSError, IndexError):
        source = ""
    number = f"{where.line:>5}"
    if source and len(source) < 500:
        say(f"{number} │ {source}")
        mark = " " * ((where.column or 1) - 1) + "^"
        say(f"      │ {mark} " + style(problem.hint or "", "36", sys.stdout))
    elif problem.hint:
        say("      " + style(problem.hint, "36", sys.stdout))
