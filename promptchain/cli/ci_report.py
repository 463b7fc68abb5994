"""How what a pull request comes to is told: annotations, the step summary, the comment, files, and plain lines."""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from promptchain.cli.output import note, printable, say, warn

if TYPE_CHECKING:
    from promptchain.ci.findings import ChainFindings, Findings
    from promptchain.ci.github import Job
    from promptchain.cli.ci_pull_request import Options
    from promptchain.cli.compile_jobs import Result
    from promptchain.project import Project


@contextmanager
def guarded(job: Job, *, quiet: bool = False) -> Iterator[None]:
    """While models and code of the project run, nothing that is printed is a command to GitHub.

    Its runner keeps no order between the streams, but of what it has of both it reads stderr first. So this begins on
    stderr, and ends on stdout, after all that was printed there; on stderr where stdout is for data (quiet)."""
    if not job.actions:
        yield
        return
    word = secrets.token_hex(16)
    note(f"::stop-commands::{word}")
    sys.stderr.flush()
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        say(f"::{word}::", sys.stderr if quiet else None)
        sys.stdout.flush()


@contextmanager
def ended(*, quiet: bool) -> Iterator[None]:
    """In GitHub Actions an error that ends the command is told where people look: as an annotation, unless stdout is
    for data (quiet), and in the summary."""
    from promptchain.errors import PromptChainError
    from promptchain.reports.github import Note, shown
    from promptchain.reports.sections import escaped

    try:
        yield
    except PromptChainError as exc:
        if os.environ.get("GITHUB_ACTIONS") == "true":
            said = [f"{exc.where}: {exc.message}" if exc.where else exc.message, *([exc.hint] if exc.hint else [])]
            if not quiet:
                say(shown("error", [Note("chain ci", "\n".join(said))], 1, "")[0])
            if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
                text = "\n\n".join(escaped(line, 500) for line in said)
                _append(Path(summary), f"## ❌ {text}\n")
        raise


def publish(project: Project, found: Findings, asked: Options, job: Job) -> str | None:
    """Tell it everywhere; returns the address of the comment. What is not to be had is warned of, and changes nothing
    about what was found. Raises PromptChainError for a file that was asked for and cannot be written."""
    from promptchain.ci.annotate import commands
    from promptchain.ci.comment import MAX_COMMENT
    from promptchain.ci.page import MAX_SUMMARY, page

    text = page(found, limit=MAX_COMMENT)
    files = _files(found, asked.output, text) if asked.output is not None else {}
    address, why = _comment(found, asked, job, text)
    if why:
        warn(why)
    if job.actions and not asked.quiet:
        for line in commands(found, job.folder(project.root)):
            say(line)
    elif not asked.quiet:
        _plain(found)
    if job.summary is not None:
        note_of = f"\nNo comment: {why}\n" if why else ""
        room = MAX_SUMMARY - _size(job.summary) - len(note_of.encode())
        _append(job.summary, page(found, limit=max(0, room), whole=True) + note_of)
    if job.output is not None:
        code = found.exit_code
        values = {
            "passed": "false" if code else "true",
            "exit-code": str(code),
            "new-calls": str(found.new_calls),
            "comment": address or "",
            **files,
        }
        _append(job.output, "".join(f"{name}={' '.join(value.split())}\n" for name, value in values.items()))
    return address


def data(found: Findings, address: str | None) -> dict[str, Any]:
    """As `chain ci pull-request --json` prints it."""
    from promptchain.ci.page import headline

    return {
        "passed": not found.exit_code,
        "exit_code": found.exit_code,
        "headline": headline(found),
        "base": found.base and {"commit": found.base.commit, "name": found.base.name},
        "error": found.error and str(found.error),
        "notes": list(found.notes),
        "removed": list(found.removed),
        "comment": address,
        "chains": [_chain(chain) for chain in found.chains],
    }


def _chain(chain: ChainFindings) -> dict[str, Any]:
    from promptchain.reports.data import data as evaluation

    return {
        "chain": chain.name,
        "file": chain.file,
        "kind": chain.kind.name.lower(),
        "exit_code": chain.exit_code,
        "new": chain.new,
        "was": chain.was,
        "changed": chain.changed,
        "test_changed": chain.tested,
        "problems": [str(problem) for problem in chain.problems],
        "locked": [one.to_json() for one in chain.locked],
        "error": chain.error and str(chain.error),
        "not_compared": chain.uncompared,
        "evaluation": evaluation(chain.verdict) if chain.verdict else None,
    }


def _comment(found: Findings, asked: Options, job: Job, text: str) -> tuple[str | None, str | None]:
    """The address of the comment, or why there is none where there should be one."""
    from promptchain.ci.comment import put
    from promptchain.ci.rest import Api, ApiError

    if not asked.comment or job.pull is None or job.pull.fork or not job.actions:
        return None, None  # the page says what a fork cannot have
    if job.repository is None:
        return None, "GITHUB_REPOSITORY does not say where the pull request is"
    if job.token is None:
        return None, "there is no GITHUB_TOKEN to comment with"
    make = bool(found.told or found.removed or found.exit_code)  # a change to other files needs no word from us
    try:
        return put(Api(job.api, job.token), job.repository, job.pull.number, asked.name, text, make=make), None
    except ApiError as exc:
        return None, f"the comment could not be written: {exc.message}" + (f"; {exc.hint}" if exc.hint else "")


_NAMES = {"markdown": "comment.md", "junit": "junit.xml", "html": "report.html"}
"""The files of --output, by what they are called in GITHUB_OUTPUT."""


def check_files(folder: Path | None) -> None:
    """Before anything is spent. Raises UsageError where a report cannot stand in the folder."""
    from promptchain.cli import report_files

    if folder is not None:
        report_files.check(*(folder / name for name in _NAMES.values()))
        report_files.check_html(folder / _NAMES["html"])


def _files(found: Findings, folder: Path, text: str) -> dict[str, str]:
    """Write the reports; their paths by what they are called in GITHUB_OUTPUT."""
    from promptchain.cli import report_files
    from promptchain.reports.junit import junit

    paths = {kind: folder / name for kind, name in _NAMES.items()}
    report_files.write(paths["markdown"], text)
    if not found.verdicts:
        return {"markdown": str(paths["markdown"])}
    report_files.write(paths["junit"], junit(found.verdicts))
    report_files.write_html(paths["html"], found.verdicts)
    return {kind: str(path) for kind, path in paths.items()}


def _plain(found: Findings) -> None:
    """The same for people who see a log."""
    from promptchain.ci.page import headline, reasons, title
    from promptchain.lm.secrets import redact

    say(_bare(headline(found)))
    told = found.told
    for chain in told:
        if len(told) > 1:
            say(f"{'✗' if chain.exit_code else '✓'} {_bare(title(chain))}")
        for reason in reasons(chain):
            say(f"  {_bare(reason)}")
        for line in chain.difference[:40]:
            say(f"    {printable(redact(line))}")
    if found.error is not None and found.failing:
        say(f"✗ {printable(found.error.message)}")
    if found.error is not None and found.error.hint:
        note(f"  hint: {found.error.hint}")
    for told_besides in found.notes:
        warn(told_besides)


def _bare(text: str) -> str:
    """A line of Markdown as plain text."""
    from html import unescape

    from promptchain.lm.secrets import redact

    plain = unescape(text).replace("\u200b", "").replace("**", "").replace("`", "")
    return printable(redact(plain.replace("\\", "")))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _append(path: Path, text: str) -> None:
    """Add to a file of GitHub's; that it cannot be written fails nothing."""
    try:
        with path.open("a", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
    except OSError as exc:
        warn(f"{path} cannot be written: {exc.strerror or exc}")


def compiled(job: Job, results: Sequence[Result], told: str, commit: str | None) -> None:
    """What `chain ci compile` tells GitHub: a table in the summary, the commit as an output."""
    from promptchain.reports.numbers import dollars, part
    from promptchain.reports.sections import escaped, table

    if job.summary is not None:
        rows = []
        for result in results:
            done, test = result.done, result.done.compiled.test
            shares = [part(test.before, test.examples), part(test.after, test.examples)] if test else ["", ""]
            why = done.compiled.kept or ", ".join(done.compiled.variants)
            rows.append([done.job.chain.name, done.job.model, *shares, why, dollars(done.spent.cost)])
        header = ["chain", "model", "held out, before", "after", "compiled", "cost"]
        drawn = table(header, rows, left=2) + "\n\n" if rows else ""
        _append(job.summary, f"## {'✅ Compiled' if rows else 'Nothing was stale'}\n\n{drawn}{escaped(told)}\n")
    if job.output is not None:
        calls = sum(result.calls for result in results)
        _append(job.output, f"commit={commit or ''}\nnew-calls={calls}\n")
