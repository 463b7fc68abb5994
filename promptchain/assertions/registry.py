"""Every assertion by its name: those that need nothing but the output, and those that ask somebody."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from promptchain.assertions import code, expressions
from promptchain.assertions.functions import FUNCTIONS
from promptchain.assertions.judged import JUDGED
from promptchain.assertions.protocol import AskingCheck, Check, Spec, Subject, Verdict
from promptchain.assertions.rag import RAG
from promptchain.assertions.retrieval import RETRIEVAL
from promptchain.assertions.similarity import SIMILARITY
from promptchain.assertions.structure import STRUCTURE
from promptchain.assertions.text import TEXT, compiled
from promptchain.assertions.usage import USAGE
from promptchain.criteria_checks import is_template

if TYPE_CHECKING:
    from promptchain.assertions.grader import Grader

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


async def python(subject: Subject, spec: Spec, grader: Grader) -> Verdict:
    """An expression, or `module:function` of the project."""
    if names_function(spec.value):
        return await code.function(subject, spec, grader)
    return expressions.expression(subject, spec)


def names_function(value: Any) -> bool:
    """Whether the value of an assertion of the kind `python` is `module:function`, and no expression."""
    return isinstance(value, str) and _FUNCTION.fullmatch(value.strip()) is not None


def check_value(kind: str, value: Any) -> None:
    """Look at an assertion's value before there is an output. Raises AssertionFault for a pattern or an expression that
    is none; where a template stands in it, that shows only later."""
    if not isinstance(value, str) or is_template(value):
        return
    if kind == "regex":
        compiled(value)
    elif kind == "python" and not names_function(value):
        expressions.syntax(value)


CHECKS: dict[str, Check] = {**TEXT, **STRUCTURE, **SIMILARITY, **USAGE, **FUNCTIONS, **RETRIEVAL}
ASKING: dict[str, AskingCheck] = {**JUDGED, **RAG, **code.CODE, "python": python}
