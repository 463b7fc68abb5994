"""`chain schema`."""

from __future__ import annotations

from promptchain.cli.output import print_json


def schema() -> None:
    """Print the JSON Schema of chain files, for editors.

    Example: chain schema > .promptchain/chain.schema.json
    """
    from promptchain.chain import file_schema

    print_json(file_schema())
