"""Chains of LLM prompts as files: run, version, test and compile them.

>>> import promptchain
>>> support = promptchain.load("support")                         # doctest: +SKIP
>>> result = support.run(message="Where is my card?")             # doctest: +SKIP
>>> result.outputs["reply"], result.steps["intent"].value         # doctest: +SKIP
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from promptchain.api import LoadedChain, RunError, StaleWarning, load
    from promptchain.errors import InputError, InvalidFileError, ModelError, PromptChainError, UsageError
    from promptchain.lm.scripted import ScriptedLM
    from promptchain.records import Run, StepRun

_HOMES = {
    "load": "api",
    "LoadedChain": "api",
    "RunError": "api",
    "StaleWarning": "api",
    "PromptChainError": "errors",
    "InputError": "errors",
    "InvalidFileError": "errors",
    "ModelError": "errors",
    "UsageError": "errors",
    "ScriptedLM": "lm.scripted",
    "Run": "records",
    "StepRun": "records",
}

__all__ = [
    "InputError",
    "InvalidFileError",
    "LoadedChain",
    "ModelError",
    "PromptChainError",
    "Run",
    "RunError",
    "ScriptedLM",
    "StaleWarning",
    "StepRun",
    "UsageError",
    "load",
]


def __getattr__(name: str) -> Any:
    """Load what is asked for only then: the command line imports this package for --help too."""
    if name in _HOMES:
        return getattr(import_module(f"promptchain.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'promptchain' has no attribute '{name}'")
