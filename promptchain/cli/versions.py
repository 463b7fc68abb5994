"""`chain commit`, `chain log`, `chain label` and `chain rollback`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Annotated, Any

import typer

from promptchain.cli import complete, options
from promptchain.cli.output import (
    SHORT_ID,
    note,
    plural,
    print_json,
    printable,
    say,
    style,
    table,
    takes_unicode,
    warn,
    when,
)
from promptchain.rounding import fixed

if TYPE_CHECKING:
    from promptchain.diff_uses import UsesDiff
    from promptchain.history import History
    from promptchain.store.versions import Version

_NAMED = 5
"""Files that a warning names."""
_LOOKED_AT = 20
"""The newest evaluations of a version, among which a log looks for its scores."""


def commit(
    name: options.ChainName,
    message: Annotated[
        str | None, typer.Option("-m", "--message", metavar="TEXT", help="What this version is about.")
    ] = None,
    json: options.Json = False,
) -> None:
    """Keep a chain as a version. Runs do that by themselves; a message gives the version a meaning.

    What is kept already is not kept twice: its version is printed.

    Example: chain commit support -m "Shorter replies"
    """
    from promptchain.errors import UsageError
    from promptchain.project import Project

    if message is not None and not message.strip():
        raise UsageError("the message is empty", hint='for example: chain commit support -m "Shorter replies"')
    project = Project.find()
    version, new = project.keep(name, project.load(name), message and message.strip())
    if json:
        with project.history() as history:
            print_json({**history.with_names(version).to_json(), "new": new})
    else:
        say(version.name)
    if not new:
        note(f"nothing to keep: this is {version.name} already" + (f", {_about(version)}" if version.message else ""))
        if message and message.strip() != version.message:
            warn(f"the message is not kept: {version.name} stays as it is")


def log(
    name: Annotated[
        str | None, typer.Argument(help="A chain; all of them without.", autocompletion=complete.chains)
    ] = None,
    limit: Annotated[
        int | None, typer.Option("-n", "--limit", metavar="N", min=0, help="At most so many versions.")
    ] = None,
    json: options.Json = False,
) -> None:
    """List the versions of a chain, the newest first: when, labels, what changed, the message, and its scores.

    A score is the share of examples in which everything held, with its 95 % interval, as `chain test` found it last;
    behind it the mean scores of retrieval. What ends a score, or the message of a compile, is its id: `chain report`
    takes it.

    Example: chain log support -n 5
    """
    from promptchain.history import History

    with History.find() as history:
        if name is not None:
            history.check_chain(name)
        chains = history.versions.chains() if name is None else [name]
        found = [version for chain in chains for version in history.versions.log(chain, limit)]
        found.sort(key=lambda version: (version.created, version.number), reverse=True)
        found = found[:limit]
        evaluations = _evaluations(history, found, None if json else _LOOKED_AT)
        compiles = _compiles(history, found)
    if json:
        rows_of = zip(found, evaluations, compiles, strict=True)
        print_json([{**version.to_json(), "evaluations": own, "compiles": made} for version, own, made in rows_of])
        return
    if not found and limit != 0:
        note("no versions yet; a run keeps one, and so does `chain commit NAME`")
    if found:
        rows = [_row(version, made, name is None) for version, made in zip(found, compiles, strict=True)]
        header: tuple[str, ...] = ("version", "when", "labels", "changes", "message")
        scores = [_scores(own, version) for own, version in zip(evaluations, found, strict=True)]
        if any(scores):
            between = "\n" if sys.stdout.isatty() else "; "
            rows = [(*row, between.join(own)) for row, own in zip(rows, scores, strict=True)]
            header += ("score",)
        table(rows, header=header)


def _evaluations(history: History, versions: Sequence[Version], limit: int | None) -> list[list[Mapping[str, Any]]]:
    """What is kept of testing each version, the newest first."""
    from promptchain.errors import StoreError

    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for chain in dict.fromkeys(version.chain for version in versions):
        contents = [version.content for version in versions if version.chain == chain]
        try:
            own = history.evaluations.summaries(chain, contents, limit)
        except StoreError as exc:  # the versions can be listed all the same
            warn(printable(exc.message))
            continue
        found |= {(chain, content): summaries for content, summaries in own.items()}
    return [found.get((version.chain, version.content), []) for version in versions]


def _compiles(history: History, versions: Sequence[Version]) -> list[list[str]]:
    """The ids of the compiles that made each version, the newest first; of a store that is damaged, none."""
    from promptchain.errors import StoreError

    found: dict[str, dict[str, list[str]]] = {}
    for chain in {version.chain for version in versions if version.compiled}:
        with suppress(StoreError):  # which is told of the evaluations
            found[chain] = history.evaluations.compile_ids(chain)
    return [found.get(version.chain, {}).get(version.content, []) for version in versions]


def _scores(evaluations: Sequence[Mapping[str, Any]], version: Version) -> list[str]:
    """The newest score on each choice of models, in words; the newest of a part of the examples only where there is
    none of them all. Of a version that is compiled, those of the chain file's own words are told apart."""
    found: dict[str, str] = {}
    whole: set[str] = set()
    for evaluation in evaluations:
        score, models = evaluation.get("score"), evaluation.get("models")
        if not isinstance(models, dict) or not (known := _score(score if isinstance(score, dict) else {})):
            continue  # nothing could be scored; or a remote sent it, and it is no evaluation
        name = _cell(" + ".join(dict.fromkeys(map(str, models.values()))))  # empty where no step asks one
        name += " (source)" * bool(version.compiled and not evaluation.get("compiled"))
        part = bool(evaluation.get("words") or evaluation.get("stopped"))
        if name not in found or not (part or name in whole):
            share, examples = known
            of = f"{share} {name}" if name else share
            told = f"{of}, {examples}" + " (a part)" * part + _retrieval(evaluation)
            found[name] = f"{told}, {str(evaluation['id'])[:SHORT_ID]}"
            whole |= set() if part else {name}
    return list(found.values())


def _score(score: Mapping[str, Any]) -> tuple[str, str] | None:
    """As "72 % [65-78]" and "168 examples"."""
    found = [score.get(name) for name in ("value", "low", "high")]
    shares = [float(share) for share in found if isinstance(share, int | float) and 0 <= share <= 1]
    count = score.get("n")
    if len(shares) < 3 or not isinstance(count, int):
        return None
    value, low, high = (int(fixed(100 * share, 0)) for share in shares)
    if 0 < shares[0] < 1:
        value = min(99, max(1, value))  # not quite all, or nearly none
    dash = "–" if takes_unicode(sys.stdout) else "-"
    return f"{value} % [{low}{dash}{high}]", plural(count, "example")


def _retrieval(evaluation: Mapping[str, Any]) -> str:
    """As ", help recall@2 0.875": how well passages were found."""
    means = evaluation.get("retrieval")
    told = ""
    for name, mean in means.items() if isinstance(means, dict) else ():
        value = mean.get("value") if isinstance(mean, dict) else None
        if isinstance(value, int | float) and 0 <= value <= 1:
            told += f", {_cell(str(name))} {fixed(value, 3)}"
    return told


def _row(version: Version, compiles: Sequence[str], with_chain: bool) -> tuple[str, ...]:
    name = version.name if with_chain else f"v{version.number}"
    labels = ", ".join((*version.labels, *version.aliases))
    message = ", ".join((version.message or "auto", *(made[:SHORT_ID] for made in compiles[:1])))
    return tuple(map(_cell, (name, when(version.created), labels, version.changes, message)))


def _cell(text: str) -> str:
    """In one line, and without what would command the terminal: others may have written it."""
    return printable(" ".join(text.split()))


def _about(version: Version) -> str:
    return f'"{_cell(version.message or "")}"'


def label(
    reference: Annotated[
        str, typer.Argument(metavar="NAME[@REF]", help="A chain, or a version of it.", autocompletion=complete.versions)
    ],
    label: Annotated[str | None, typer.Argument(help="The label to set there.", autocompletion=complete.labels)] = None,
    delete: Annotated[bool, typer.Option("-d", "--delete", help="Delete the label.")] = False,
    expect: Annotated[
        str | None,
        typer.Option(
            "--expect", metavar="REF", help="Only if the label is at this version.", autocompletion=complete.refs
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Move a label that the settings protect.")] = False,
    json: options.Json = False,
) -> None:
    """Set a label on a version, or list a chain's labels. Without @REF the newest version is meant.

    Examples:

      chain label support@v7 production

      chain label support@v8 production --expect v7

      chain label support
    """
    from promptchain.errors import UsageError
    from promptchain.history import History

    with History.find() as history:
        if label is None:
            if delete or expect or force:
                raise UsageError("which label?", hint=f"chain label {reference} production")
            _list_labels(history, reference, json=json)
            return
        if delete:
            if "@" in reference:
                raise UsageError(
                    "a label is deleted from a chain", hint=f"chain label {reference.partition('@')[0]} {label} -d"
                )
            history.delete_label(reference, label, expect=expect, force=force)
            version = None
        else:
            version = history.label(reference, label, expect=expect, force=force)
        if json:
            name = reference.partition("@")[0]
            print_json({"chain": name, "label": label, "version": version and f"v{version.number}"})
        else:
            note(f"{label} is at {version.name}" if version else f"{label} is deleted")


def _list_labels(history: History, name: str, *, json: bool) -> None:
    from promptchain.errors import UsageError

    if "@" in name:
        raise UsageError("which label?", hint=f"chain label {name} production")
    history.check_chain(name)
    tree = history.versions.tree(name)
    found = [(label, tree.at(label)) for label in tree.labels().values()]
    if json:
        print_json({label.name: version and f"v{version.number}" for label, version in found})
        return
    rows = [
        tuple(map(_cell, (label.name, f"v{version.number}" if version else "?", when(label.moved), label.author)))
        for label, version in found
    ]
    if rows:
        table(rows, header=("label", "version", "moved", "by"))
    else:
        note(f"'{name}' has no labels; set one: chain label {name}@v1 production")


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A chain.", autocompletion=complete.versions)],
    ref: Annotated[
        str | None,
        typer.Argument(
            help="v5, a label, or a content id.  [required, unless NAME has it: NAME@v5]", autocompletion=complete.refs
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label", metavar="LABEL", help="Only move this label; the files stay.", autocompletion=complete.labels
        ),
    ] = None,
    message: Annotated[str | None, typer.Option("-m", "--message", metavar="TEXT", help="Why.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Overwrite files that no version has; move a protected label.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Bring an older version back: as a new version, and into the files of the work tree. Nothing is removed.

    With --label only the label moves back, and the work tree stays as it is.

    Examples:

      chain rollback support v5

      chain rollback support v5 --label production
    """
    from promptchain.diff_uses import UsesDiff
    from promptchain.history import History

    name, ref = _old(name, ref)
    with History.find() as history:
        new, changed, others = False, list[str](), UsesDiff()
        if label is not None:
            _check_label_only(message)
            version = history.label(f"{name}@{ref}", label, force=force)
        else:
            from promptchain.project import Project

            newest = history.versions.tree(name).last()
            project = Project.find()
            version, changed = project.rollback(name, ref, message=message, force=force)
            new, others = version.number > newest, project.not_restored(version)
        if json:
            told = {"files": changed, "not_restored": others.to_json(), "label": label}
            print_json({**history.with_names(version).to_json(), "new": new, **told})
        elif label is not None:
            note(f"{label} is at {version.name}")
        else:
            say(version.name)
            for file in changed:
                became = "restored" if (history.root / file).exists() else "removed"
                note(f"{became} {style(printable(file), '1', sys.stderr)}")
            if not new:
                rest = "" if changed or others else ", and the files are as it has them"
                note(f"no new version: {version.name} is the newest, and has that content{rest}")
            _tell_others(others)


def _tell_others(others: UsesDiff) -> None:
    """Warn of code and passages that a rollback leaves as they are."""
    if not others:
        return
    named = ", ".join(printable(change.file) for change in others.files[:_NAMED])
    more = f" and {plural(len(others.files) - _NAMED, 'file')} more" if len(others.files) > _NAMED else ""
    warn(f"not as that version had them, for it keeps no code and no passages: {named}{more}")
    note("  hint: git log -- FILE has what they were")


def _old(name: str, ref: str | None) -> tuple[str, str]:
    """The chain and the reference, however they were given: `NAME v5` or `NAME@v5`."""
    from promptchain.errors import UsageError

    chain, at, own = name.partition("@")
    if at and ref is not None:
        raise UsageError(f"two versions are named, '{own}' and '{ref}'", hint=f"chain rollback {chain} {own or ref}")
    if not at and ref is None:
        raise UsageError("to which version?", hint=f"chain rollback {chain} v5; `chain log {chain}` lists them")
    return chain, own if ref is None else ref.removeprefix(f"{chain}@").removeprefix("@")


def _check_label_only(message: str | None) -> None:
    from promptchain.errors import UsageError

    if message is not None:
        raise UsageError("-m does not go with --label: no version is made", hint="leave it out")
