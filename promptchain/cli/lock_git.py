"""`chain compile --merge-driver`: called by git to merge two locks; see gitattributes(5), custom merge drivers.

git config merge.promptchain.driver "chain compile --merge-driver %O %A %B"
echo "*.lock.yaml merge=promptchain" >> .gitattributes
"""

from __future__ import annotations

import re
from pathlib import Path

from promptchain.cli.output import note, warn
from promptchain.errors import PromptChainError
from promptchain.location import SLUG


def merge_driver(base: Path, ours: Path, theirs: Path) -> int:
    """Merge `theirs` into the file `ours`, as git wants it; returns the exit code that git wants: 0 where it is merged,
    1 where both sides compiled the same model anew. That one then stands twice in `ours`, between conflict markers.

    base: the common ancestor; git gives an empty file where there is none. A side that is no lock leaves both as wholes
    between markers. Raises PromptChainError where a file cannot be read or written, which git takes for a conflict."""
    from promptchain import lock

    files = (base, ours, theirs)
    try:
        texts = [file.read_text(encoding="utf-8-sig") for file in files]
        name = _chain_name(texts)
        try:
            sides = [
                lock.Lock() if not text.strip() else lock.parse(text, shown, name)
                for text, shown in zip(texts, ("the common ancestor", "our lock", "their lock"), strict=True)
            ]
        except PromptChainError as exc:
            warn(str(exc))
            ours.write_text(_whole(texts[1], texts[2]), encoding="utf-8", newline="\n")
            return 1
        merged = lock.merge(*sides)
        ours.write_text(merged.to_text(name), encoding="utf-8", newline="\n")
    except (OSError, UnicodeDecodeError) as exc:
        hint = "take one side (git checkout --ours -- FILE), then: chain compile NAME"
        raise PromptChainError(f"the locks cannot be merged: {exc}", hint=hint) from exc
    for model in merged.conflicts:
        warn(f"both sides compiled '{name}' for {model}: keep one of them, or recompile")
    if merged.conflicts:
        note(f"  hint: keep one side between the markers, then: chain compile {name} --check")
    return 1 if merged.conflicts else 0


def _whole(ours: str, theirs: str) -> str:
    ours, theirs = (text if text.endswith("\n") or not text else text + "\n" for text in (ours, theirs))
    return f"<<<<<<< ours\n{ours}=======\n{theirs}>>>>>>> theirs\n"


def _chain_name(texts: list[str]) -> str:
    """The chain that the head of a lock names: git hands over files of any name."""
    found = (re.search(rf"^#.*`chain compile ({SLUG.pattern})`", text, re.MULTILINE) for text in texts)
    return next((match.group(1) for match in found if match), "NAME")
