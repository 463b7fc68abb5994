"""`chain commit`, `chain log`, `chain label` and `chain rollback`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from promptchain.cli import complete, options
from promptchain.cli.output import note, print_json, printable, say, style, table, warn, when

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
    limit: Annotated[int | None, typer.Option("-n", "--limit", min=0, help="At most so many versions.")] = None,
    json: options.Json = False,
) -> None:
    """List the versions of a chain, the newest first: when, labels, what changed, and the message.

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
    return tuple(map(_cell, (name, when(version.created), labels, version.changes, version.message or "auto")))


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

    name, ref = _old(name, ref)
    with History.find() as history:
        new, changed = False, list[str]()
        if label is not None:
            _check_label_only(message)
            version = history.label(f"{name}@{ref}", label, force=force)
        else:
            from promptchain.project import Project

            newest = history.versions.tree(name).last()
            version, changed = Project.find().rollback(name, ref, message=message, force=force)
            new = version.number > newest
        if json:
            print_json({**history.with_names(version).to_json(), "new": new, "files": changed, "label": label})
        elif label is not None:
            note(f"{label} is at {version.name}")
        else:
            say(version.name)
            for file in changed:
                note(f"restored {style(printable(file), '1', sys.stderr)}")
            if not new:
                rest = "" if changed else ", and the files are as it has them"
                note(f"no new version: {version.name} is the newest, and has that content{rest}")


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
