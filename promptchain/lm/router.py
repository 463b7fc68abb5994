"""One LM for all models: sends each request to the family that its model string names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from promptchain.lm.protocol import LM, Capabilities, OnText, Request, Response


class Router:
    """`local/…` runs in this process, `scripted/FILE` answers from a file, everything else goes through litellm.

    Families are made when they are first needed. root: the folder that relative paths in model names count from, the
    current one without it. slots, context: of local models; None lets them choose.
    """

    def __init__(self, root: Path | None = None, *, slots: int | None = None, context: int | None = None) -> None:
        self._root = root
        self._slots = slots
        self._context = context
        self._families: dict[str, LM] = {}

    async def complete(self, request: Request, on_text: OnText | None = None) -> Response:
        model = rooted(request.model, self._root)
        sent = request if model == request.model else replace(request, model=model)
        return await self._family(model).complete(sent, on_text)

    def capabilities(self, model: str) -> Capabilities:
        return self._family(model).capabilities(rooted(model, self._root))

    def identity(self, model: str) -> str:
        return self._family(model).identity(rooted(model, self._root))

    def close(self) -> None:
        for family in self._families.values():
            family.close()
        self._families.clear()

    def warm(self, models: Iterable[str]) -> None:
        """Begin in the background what the first call of these models would have to wait for."""
        for model in models:
            prepare = getattr(self._family(model), "warm", None)
            if prepare:
                prepare(model)

    def _family(self, model: str) -> LM:
        model = rooted(model, self._root)
        kind, _, rest = model.partition("/")
        key = model if kind == "scripted" else kind if kind == "local" else "litellm"
        if key not in self._families:
            self._families[key] = self._make(key, rest)
        return self._families[key]

    def _make(self, key: str, rest: str) -> LM:
        # Each family has slow or heavy libraries behind it; a command pays for those that it uses.
        if key == "local":
            from promptchain.lm.local import LocalLM

            return LocalLM(slots=self._slots, context=self._context)
        if key == "litellm":
            from promptchain.lm.litellm import LiteLLM

            return LiteLLM()
        from promptchain.lm.scripted import ScriptedLM

        return ScriptedLM.from_file(Path(rest))


def rooted(model: str, root: Path | None) -> str:
    """`scripted/FILE` and `local/FILE.gguf` with the file's place in the project, wherever the command is given."""
    kind, _, rest = model.partition("/")
    is_file = kind == "scripted" or (kind == "local" and rest.endswith(".gguf"))
    if root is None or not is_file or rest.startswith("~"):
        return model
    return f"{kind}/{os.path.normpath(root / rest)}"
