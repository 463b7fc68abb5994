"""`chain schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from promptchain.cli.output import print_json


def schema(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write it there; folders are made.")
    ] = None,
) -> None:
    """Print the JSON Schema of chain files, for editors.

    Example: chain schema -o .promptchain/chain.schema.json
    """
    from promptchain.chain import file_schema

    if output is None:
        print_json(file_schema())
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(file_schema(), ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
