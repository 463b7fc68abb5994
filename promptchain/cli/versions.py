"""`chain commit`, `chain log`, `chain label` and `chain rollback`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from promptchain.cli import complete, options
from promptchain.cli.output import note, print_json, printable, say, style, table, when

if TYPE_CHECKING:
    from promptchain.history import History
    from promptchain.store.versions import Version


def commit(
    name: options.ChainName,
    message: Annotated[str | None, typer.Option("-m", "--message", help="What this version is about.")] = None,
    json: options.Json = False,
) -> None:
    """Keep a chain as a version. Runs do that by themselves; a message gives the version a meaning.

    What is kept already is not kept twice: its version is printed.

    Example: chain commit support -m "Shorter replies"
    """
    from promptchain.errors import UsageError
    from promptchain.project import Project

    if message is not None and not message.strip():
        raise UsageError("the message is empty", hint='-m "Shorter replies"')
    project = Project.find()
    version, new = project.keep(name, project.load(name), message and message.strip())
    if json:
        print_json({**version.to_json(), "new": new})
        return
    say(version.name)
    if not new:
        note(f"nothing to keep: this is {version.name} already" + (f", {_about(version)}" if version.message else ""))


def log(
    name: Annotated[
        str | None, typer.Argument(help="A chain; all of them without.", autocompletion=complete.chains)
    ] = None,
    limit: Annotated[int | None, typer.Option("-n", "--limit", min=0, help="At most so many versions.")] = None,
    json: options.Json = False,
) -> None:
    """List the versions of a chain, the newest first: when, labels, what changed, and the message.

    Example: chain log support -n 5
    """
    from promptchain.history import History

    history = History.find()
    if name is not None:
        history.check_chain(name)
    chains = history.versions.chains() if name is None else [name]
    found = [version for chain in chains for version in history.versions.log(chain, limit)]
    found.sort(key=lambda version: (version.created, version.number), reverse=True)
    found = found[:limit]
    if json:
        print_json([version.to_json() for version in found])
        return
    if not found and limit != 0:
        note("no versions yet; a run keeps one, and so does `chain commit NAME`")
    if found:
        rows = [_row(version, with_chain=name is None) for version in found]
        table(rows, header=("version", "when", "labels", "changes", "message"))


def _row(version: Version, *, with_chain: bool) -> tuple[str, ...]:
    name = version.name if with_chain else f"v{version.number}"
    labels = ", ".join((*version.labels, *version.aliases))
    return name, when(version.created), labels, printable(version.changes), printable(version.message or "auto")


def _about(version: Version) -> str:
    return f'"{printable(version.message or "")}"'


def label(
    reference: Annotated[
        str, typer.Argument(metavar="NAME[@REF]", help="A chain, or a version of it.", autocompletion=complete.versions)
    ],
    label: Annotated[str | None, typer.Argument(help="The label to set there.", autocompletion=complete.labels)] = None,
    delete: Annotated[bool, typer.Option("-d", "--delete", help="Delete the label.")] = False,
    expect: Annotated[
        str | None, typer.Option("--expect", metavar="REF", help="Only if the label is at this version.")
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

    history = History.find()
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
        (label.name, f"v{version.number}" if version else "?", when(label.moved), printable(label.author))
        for label, version in found
    ]
    if rows:
        table(rows, header=("label", "version", "moved", "by"))
    else:
        note(f"'{name}' has no labels; set one: chain label {name}@v1 production")


def rollback(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A chain.", autocompletion=complete.chains)],
    ref: Annotated[
        str, typer.Argument(metavar="REF", help="v5, a label, or a content id.", autocompletion=complete.refs)
    ],
    label: Annotated[
        str | None,
        typer.Option("--label", help="Only move this label; the files stay.", autocompletion=complete.labels),
    ] = None,
    message: Annotated[str | None, typer.Option("-m", "--message", help="Why.")] = None,
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
    from promptchain.history import History

    history = History.find()
    if label is not None:
        version = history.label(f"{name}@{ref}", label, force=force)
        changed: list[str] = []
    else:
        from promptchain.project import Project

        version, changed = Project.find().rollback(name, ref, message=message, force=force)
    if json:
        print_json({**version.to_json(), "files": changed, "label": label})
        return
    if label is not None:
        note(f"{label} is at {version.name}")
        return
    say(version.name)
    for file in changed:
        note(f"restored {style(file, '1', sys.stderr)}")
