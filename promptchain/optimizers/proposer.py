"""The model that rewrites instructions, as a function from what it is asked to what it writes."""

from __future__ import annotations

from collections import Counter

from promptchain.errors import Fault, ModelError
from promptchain.lm.calls import Caller, Retry
from promptchain.lm.protocol import LM, Finish, Message, Request
from promptchain.optimizers.protocol import Ask

_MAX_TOKENS, _MAX_TOKENS_LOCAL = 8192, 2048
"""Of a reply: instructions are short, but some models think before them, and small local ones may never end."""

_PASSING = frozenset(
    {Fault.RATE_LIMIT, Fault.SERVER, Fault.CONNECTION, Fault.TIMEOUT, Fault.CONTEXT, Fault.REFUSED, Fault.BAD_RESPONSE}
)
"""Faults after which another question may well be answered."""

_MOST_FAILED = 3
"""Calls in a row, each tried again as often as it is worth, after which the model is taken to be gone."""


def proposer(model: str, lm: LM, caller: Caller, *, timeout: float) -> Ask:
    """Asks `model`. timeout: seconds for one try.

    The same question asked again is another draw (`Request.sample`), which the cache keeps apart and a local model
    seeds, so that proposals differ and yet repeat. What it gives is empty where the call failed but the next need not.
    It raises ModelError where the next would fail too; BudgetError and UsageError as `Caller.call` does.
    """
    able = lm.capabilities(model)
    most = _MAX_TOKENS_LOCAL if able.local else _MAX_TOKENS
    params = {"temperature": 1.0, "max_tokens": min(most, able.max_output or most)}
    asked: Counter[str] = Counter()
    failed = 0

    async def ask(text: str) -> str:
        nonlocal failed
        request = Request(model, (Message("user", text),), params, sample=asked[text])
        asked[text] += 1
        try:
            answer = await caller.call(request, timeout=timeout, retry=Retry())
        except ModelError as exc:
            failed += 1
            if exc.fault not in _PASSING or failed == _MOST_FAILED:
                said = f"the proposer {model} failed: {exc.message}"
                raise ModelError(said, fault=exc.fault, model=model, hint=exc.hint) from exc
            return ""
        failed = 0
        return "" if answer.response.finish is Finish.FILTER else answer.response.text

    return ask
