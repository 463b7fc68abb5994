"""How a chain is tested, as its file says it: assertions, the gate, the dataset."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import ConfigDict, Field, field_validator

from promptchain.model import Model


@dataclass(frozen=True, slots=True)
class Takes:
    """What an assertion takes. value: the kinds its `value` may be of, as `chain.describe` calls them; empty where it
    takes none. needed: without it there is nothing to check. threshold: it is one, and has no default."""

    value: tuple[str, ...] = ()
    needed: bool = False
    threshold: bool = False


_ANY = ("a text", "a number", "true or false", "a list", "a mapping", "empty")
_WORDS = Takes(("a text", "a number"), needed=True)
_TEXT = Takes(("a text",), needed=True)
_LIST = Takes(("a list", "a text"), needed=True)
_SCHEMA = Takes(("a mapping", "a text"))
_TEXTS = Takes(("a text", "a list"), needed=True)
_QUESTION = Takes(("a text", "a mapping", "a list"), needed=True)
_SOURCES = Takes(("a text", "a list"), needed=True)
_LIMIT = Takes(threshold=True)
_NOTHING = Takes()

RETRIEVAL = ("recall", "mrr", "ndcg")
"""How good a ranking of passages is. Their means are told apart from the scores of what models write."""

_FUNCTION_CALLS = ("is-valid-function-call", "is-valid-openai-function-call", "is-valid-openai-tools-call")

ASSERTIONS: Mapping[str, Takes] = {
    "equals": Takes(_ANY, needed=True),
    **dict.fromkeys(("contains", "icontains"), _WORDS),
    **dict.fromkeys(("starts-with", "regex", "levenshtein", "rouge-n", "python", "webhook"), _TEXT),
    **dict.fromkeys(("contains-any", "contains-all", "icontains-any", "icontains-all"), _LIST),
    **dict.fromkeys(("is-json", "contains-json", "schema"), _SCHEMA),
    **dict.fromkeys(("is-xml", "contains-xml"), Takes(("a mapping", "a list", "a text"))),
    **dict.fromkeys(("is-sql", "contains-sql"), Takes(("a mapping",))),
    **dict.fromkeys(("is-html", "contains-html", "is-refusal", "context-faithfulness", "context-relevance"), _NOTHING),
    **dict.fromkeys(("bleu", "f1", "similar"), _TEXTS),
    **dict.fromkeys(("latency", "cost", "tokens"), _LIMIT),
    **dict.fromkeys(("perplexity", "perplexity-score", "answer-relevance"), _NOTHING),
    **dict.fromkeys(_FUNCTION_CALLS, Takes(("a list", "a mapping", "a text"))),
    "tool-call-f1": Takes(("a list", "a text"), needed=True),
    **dict.fromkeys(("llm-rubric", "model-graded-closedqa", "g-eval", "context-recall", "select-best"), _QUESTION),
    **dict.fromkeys(("factuality", "model-graded-factuality"), _QUESTION),
    **dict.fromkeys(RETRIEVAL, _SOURCES),
    "assert-set": _NOTHING,
}
"""The names an assertion's `type` may have; any of them may be negated with `not-`."""

JUDGED = frozenset(
    """llm-rubric model-graded-closedqa g-eval factuality model-graded-factuality answer-relevance context-recall
    context-faithfulness context-relevance select-best""".split()  # noqa: SIM905
)
"""Those that a model decides: the assertion's `provider`, or the test's `judge`."""

OPTIONS = frozenset(
    {"provider", "context", "query", "config", "timeout", "factuality", "rubricPrompt", "description", "k"}
)
"""The keys that assertions may have beside those of the model. k: of `RETRIEVAL`, how many of the first count."""

CHAIN = "chain"
"""The word that stands for the chain as a whole where a gate names steps."""

OUTPUTS = "outputs"
"""The word that stands for all that a chain gives."""

Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Assertion(Model):
    """One check of a step's or the chain's output; names and meanings are promptfoo's.

    step, output: what is looked at; without either the chain's outputs. assert_: those of an `assert-set`. What other
    keys a type takes (`provider`, say) is in `options`.
    """

    model_config = ConfigDict(frozen=True, extra="allow", populate_by_name=True, hide_input_in_errors=True)

    type: str
    step: str | None = None
    output: str | None = None
    value: Any = None
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    metric: str | None = None
    transform: str | None = None
    assert_: Annotated[tuple[Assertion, ...], Field(alias="assert")] = ()

    @property
    def name(self) -> str:
        """The type without `not-`."""
        return self.type.removeprefix("not-")

    @property
    def negated(self) -> bool:
        return self.type.startswith("not-")

    @property
    def ranks(self) -> bool:
        """Whether it is about how well passages are found."""
        return self.name in RETRIEVAL

    @property
    def measure(self) -> str | None:
        """The name under which the mean of its scores is told, and by which a gate names it: `metric`; without it, for
        passages, where it looks and what it is, as `help recall@2`; else None."""
        if self.metric or not self.ranks:
            return self.metric
        cut = self.options.get("k")
        kind = self.type if cut is None else f"{self.type}@{cut}"
        return f"{self.step or self.output or OUTPUTS} {kind}"

    @property
    def options(self) -> Mapping[str, Any]:
        return self.model_extra or {}


def flattened(assertions: Iterable[Assertion]) -> Iterator[Assertion]:
    """The assertions, and those in an assert-set."""
    for assertion in assertions:
        yield assertion
        yield from assertion.assert_


class Gate(Model):
    """When a test counts as failed: exit code 100.

    min: the least score of a step, of a metric or of the `chain`. no_worse_than: a label or version whose score the
    chain's must reach, less `margin`.
    """

    min: dict[str, Share] = {}
    no_worse_than: Annotated[str, Field(min_length=1)] | None = None
    margin: Share = 0.0

    @field_validator("min", mode="before")
    @classmethod
    def _of_the_chain(cls, value: Any) -> Any:
        """A bare number is the chain's."""
        return {CHAIN: value} if isinstance(value, int | float) and not isinstance(value, bool) else value


class Test(Model):
    """How the chain is tested: rows, and what must hold of each. judge, embedder: the models that assertions ask."""

    __test__ = False  # not a test class for pytest

    dataset: str | tuple[str, ...] | None = None
    assert_: Annotated[tuple[Assertion, ...], Field(alias="assert")] = ()
    gate: Gate = Gate()
    repeat: Annotated[int, Field(ge=1, le=1000)] = 1
    judge: Annotated[str, Field(min_length=1)] | None = None
    embedder: Annotated[str, Field(min_length=1)] | None = None
