"""Assertions that compare an output with a question, with passages or with other texts: by embeddings, or by a judge.

Names, options, default thresholds and meanings are promptfoo's
(https://www.promptfoo.dev/docs/configuration/expected-outputs/model-graded), where they came from RAGAS
(https://docs.ragas.io); the prompts are our own, and what can be counted is counted here and not by the judge.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from statistics import fmean
from typing import Any

from promptchain.assertions.grader import Grader, model_of
from promptchain.assertions.judged import ask, fenced, judge_prompt, needed, question_of, scored
from promptchain.assertions.protocol import AskingCheck, AssertionFault, Spec, Subject, Verdict
from promptchain.lm.embed import cosine
from promptchain.rounding import fixed

SIMILAR_THRESHOLD = 0.75
RAG_THRESHOLD = 0.5
_QUESTIONS = 3
_SHOWN = 80

QUESTIONS = judge_prompt(
    f"You read an answer and write {_QUESTIONS} different questions, each of which it answers as it stands. Ask for"
    " what the answer is about as a whole. Where it evades, write the questions that it really answers.",
    "Answer:\n{{ output }}",
    {
        "type": "object",
        "properties": {
            "questions": {
                "type": "array",
                "items": {"type": "string"},
                "minItems": _QUESTIONS,
                "maxItems": _QUESTIONS,
            }
        },
        "required": ["questions"],
        "additionalProperties": False,
    },
)

_SUPPORT = {"statement": "string", "reason": "string, a few words", "supported": "boolean"}

_SUPPORTED = (
    "A statement is supported where the passages say it or it follows from them; what you know yourself does not count."
)

RECALL = judge_prompt(
    "You check whether passages contain what an answer needs. Take the expected answer apart into single statements."
    f" {_SUPPORTED}",
    "Passages:\n{{ context }}\n\nExpected answer:\n{{ expected }}",
    {"statements(array)": _SUPPORT},
)

FAITHFULNESS = judge_prompt(
    "You check whether an answer keeps to passages. Take the answer apart into the single statements that it makes,"
    f" each understandable by itself. {_SUPPORTED} An answer that states nothing has no statements.",
    "{% if question %}Question:\n{{ question }}\n\n{% endif %}Passages:\n{{ context }}\n\nAnswer:\n{{ output }}",
    {"statements(array)": _SUPPORT},
)

RELEVANCE = judge_prompt(
    "You choose from numbered passages those without which a question cannot be answered. Choose as few as will do,"
    " and none where the passages do not answer it.",
    "Question:\n{{ question }}\n\n"
    "{% for passage in passages %}Passage {{ loop.index }}:\n{{ passage }}\n\n{% endfor %}",
    {"reason": "string, one or two sentences", "needed(array, the numbers of the passages)": "integer"},
)


async def similar(subject: Subject, spec: Spec, grader: Grader) -> Verdict:
    """value: a text, or a list of them of which the nearest counts. The score is the cosine of the embeddings, 0 where
    it is negative; threshold: 0.75 where none is given."""
    texts = spec.value if isinstance(spec.value, list) else [needed(spec, "a text to compare with")]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise AssertionFault("similar needs a text, or a list of texts")
    output, *others = await grader.embed([subject.text, *texts], model=_embedder(spec))
    nearness = [cosine(output, other) for other in others]
    best = max(range(len(texts)), key=nearness.__getitem__)
    threshold = SIMILAR_THRESHOLD if spec.threshold is None else spec.threshold
    return scored(nearness[best], threshold, f"it is {fixed(nearness[best], 2)} similar to {_shown(texts[best])}")


async def answer_relevance(subject: Subject, spec: Spec, grader: Grader) -> Verdict:
    """Whether the output answers the question (`question_of`): a judge writes questions that it answers, and the score
    is the mean cosine of theirs and the question's embeddings; threshold: 0.5 where none is given."""
    question = _question(subject, spec)
    said = await ask(QUESTIONS, {"output": fenced("answer", subject.text)}, spec, grader)
    written = said["questions"]
    asked, *others = await grader.embed([question, *written], model=_embedder(spec))
    score = fmean(cosine(asked, other) for other in others)
    return _rag_scored(score, spec, f"it answers questions such as {_shown(written[0])}")


async def context_recall(subject: Subject, spec: Spec, grader: Grader) -> Verdict:
    """value: the expected answer. The score is the share of its statements that the context (`_context`) supports;
    threshold: 0.5 where none is given."""
    expected = needed(spec, "the expected answer")
    context = fenced("passages", "\n\n".join(_context(subject, spec)))
    said = await ask(RECALL, {"context": context, "expected": fenced("expected", expected)}, spec, grader)
    if not said["statements"]:
        raise AssertionFault("the judge found no statement in the expected answer")
    return _supported(said["statements"], spec, "the context")


async def context_faithfulness(subject: Subject, spec: Spec, grader: Grader) -> Verdict:
    """The score is the share of the output's statements that the context (`_context`) supports, 1 where it states
    nothing; threshold: 0.5 where none is given."""
    question = question_of(subject, spec)
    values = {
        "context": fenced("passages", "\n\n".join(_context(subject, spec))),
        "output": fenced("answer", subject.text),
        "question": fenced("question", question) if question else None,
    }
    said = await ask(FAITHFULNESS, values, spec, grader)
    if not said["statements"]:
        return _rag_scored(1.0, spec, "it states nothing")
    return _supported(said["statements"], spec, "the context")


async def context_relevance(subject: Subject, spec: Spec, grader: Grader) -> Verdict:
    """The score is the share of the context's passages (of a text: its lines, or the sentences of its one line) that
    the question cannot be answered without; threshold: 0.5 where none is given."""
    context = _context(subject, spec)
    passages = _parts(context[0]) if len(context) == 1 else context
    values = {
        "question": fenced("question", _question(subject, spec)),
        "passages": [fenced("passage", passage) for passage in passages],
    }
    said = await ask(RELEVANCE, values, spec, grader)
    needed_ones = {number for number in said["needed"] if 1 <= number <= len(passages)}
    reason = f"{len(needed_ones)} of {len(passages)} passages are needed: {said['reason']}"
    return _rag_scored(len(needed_ones) / len(passages), spec, reason)


def _rag_scored(score: float, spec: Spec, reason: str) -> Verdict:
    """A verdict with a threshold of its own where the assertion gives none: with 0 nothing could fail."""
    return scored(score, RAG_THRESHOLD if spec.threshold is None else spec.threshold, reason)


def _supported(statements: list[Mapping[str, Any]], spec: Spec, by: str) -> Verdict:
    unsupported = [statement for statement in statements if not statement["supported"]]
    score = 1 - len(unsupported) / len(statements)
    reason = f"{by} supports {len(statements) - len(unsupported)} of {len(statements)} statements"
    if unsupported:
        reason += "; not " + ", ".join(_shown(statement["statement"]) for statement in unsupported[:3])
    return _rag_scored(score, spec, reason)


def _question(subject: Subject, spec: Spec) -> str:
    question = question_of(subject, spec)
    if question is None:
        hint = 'say what it is, for example `query: "{{ message }}"`'
        raise AssertionFault(f"{spec.type} needs the question that the output answers", hint=hint)
    return question


def _context(subject: Subject, spec: Spec) -> list[str]:
    """The passages: the option `context`, else the input `context`; a text, or a list of texts or of mappings with
    `text`, as a retrieval gives them, or of such lists, as a `for_each` does; each passage once. Raises
    AssertionFault where there are none."""
    given = spec.options.get("context", subject.values.get("context"))
    passages = list(dict.fromkeys(text for item in _items(given) if (text := _passage(item).strip())))
    if not passages:
        hint = 'say what the passages are, for example `context: "{{ help }}"`'
        if "contextTransform" in spec.options:
            hint = "`contextTransform` is not understood; " + hint
        raise AssertionFault(f"{spec.type} needs passages", hint=hint)
    return passages


def _items(given: Any) -> Iterator[Any]:
    if isinstance(given, list | tuple):
        for item in given:
            yield from _items(item)
    elif given is not None:
        yield given


def _passage(item: Any) -> str:
    if isinstance(item, Mapping) and isinstance(item.get("text"), str):
        return str(item["text"])
    return item if isinstance(item, str) else json.dumps(item, ensure_ascii=False, default=str)


def _parts(text: str) -> list[str]:
    """The lines of a text, or the sentences of its only line.

    >>> _parts("Paris is the capital. It is old! Is it?")
    ['Paris is the capital.', 'It is old!', 'Is it?']
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        return lines
    return [part for part in re.split(r"(?<=[.!?])\s+|(?<=[。！？])", lines[0]) if part]


def _embedder(spec: Spec) -> str | None:
    """The embedding model that the assertion names: for `similar` as its provider, else beside a judge."""
    provider = spec.options.get("provider")
    plain = spec.type == "similar" or (isinstance(provider, Mapping) and "embedding" in provider)
    return model_of(provider, "embedding") if plain else None


def _shown(text: str) -> str:
    line = " ".join(text.split())
    return repr(line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…")


RAG: dict[str, AskingCheck] = {
    "similar": similar,
    "answer-relevance": answer_relevance,
    "context-recall": context_recall,
    "context-faithfulness": context_faithfulness,
    "context-relevance": context_relevance,
}
"""Assertions about questions, passages and other texts, by their names."""
