"""A model that answers from a script: for tests of chains, and for trying a chain without a model."""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar

from promptchain.errors import Fault, InvalidFileError, ModelError, Problem, UsageError, Where, known_or_nearest
from promptchain.lm.protocol import Capabilities, Finish, OnText, Price, Request, Response, ToolCall, Usage

if TYPE_CHECKING:
    from yaml import Node

Reply = str | Response | Exception | Callable[[Request], str | Response | Exception]
"""What the model answers with. A `Response` is handed on untouched, an exception is raised, a function is asked."""


@dataclass(frozen=True, slots=True)
class Rule:
    """One entry of a script.

    contains: answers every request with this text in its system message, its last user message or what came after that
        (a tool's result), and, where no rule is found so, in any other message (the demos, an earlier turn).
    always: the last resort, used any number of times. With neither of the two the reply is used once, in its turn.
    delay: seconds before the reply; 0 stands for the model's own delay.
    finish: why the model stopped, for a reply that is text.
    tool_calls: the tools that it asks for besides its text, with their arguments; that is then why it stopped.
    """

    reply: Reply
    contains: str | None = None
    always: bool = False
    delay: float = 0.0
    finish: Finish = Finish.STOP
    tool_calls: tuple[tuple[str, Mapping[str, Any]], ...] = ()


Script = Reply | Sequence[Reply | Rule] | Mapping[str, Reply]
"""One reply for every call; replies in order, with rules among them; or {text that the request contains: reply}."""

_Kind = TypeVar("_Kind", bound=StrEnum)
_FREE = Capabilities(price=Price(0.0, 0.0))


class ScriptedLM:
    """Answers each request from the first of these that there is: a rule whose `contains` is found, the next reply
    that is used once, a rule for always. With none left it raises ModelError.

    >>> lm = ScriptedLM(["Paris", Rule("42", contains="the answer")])

    Tokens are counted as words, in the prompt and in the reply; `max_tokens` is kept to. Replies cost nothing. With
    `on_text` a reply is streamed word by word, after its delay.

    keep: how many of the last requests `requests` holds; None for all of them.
    identity: tells this script's answers from another's where they are cached.
    """

    def __init__(
        self,
        script: Script,
        *,
        delay: float = 0.0,
        keep: int | None = None,
        capabilities: Capabilities = _FREE,
        identity: str = "scripted",
    ) -> None:
        rules = _rules(script)
        self._matching = [rule for rule in rules if rule.contains is not None]
        self._once = [rule for rule in rules if rule.contains is None and not rule.always]
        self._last_resort = next((rule for rule in rules if rule.contains is None and rule.always), None)
        self._used = 0
        self._delay = delay
        self._kept: deque[Request] = deque(maxlen=keep)
        self._capabilities = capabilities
        self._identity = identity

    @classmethod
    def from_file(cls, path: Path) -> ScriptedLM:
        """The script in a YAML file: a list of replies (text) and of mappings with the keys of `Rule`, or with
        `error` (a Fault) and perhaps `retry_after` (seconds) in place of `reply`; a call of a tool is written as
        `{name: lookup, arguments: {item: tea}}`, and a script with one is a model that calls tools by itself. A reply
        that is itself a list or a mapping is sent as JSON. Keeps no requests, so that a long batch runs in constant
        memory.

        Raises UsageError where the file can't be read, InvalidFileError for what is wrong in it.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "it is not UTF-8 text"
            raise UsageError(f"the script {path} can't be read: {reason}") from exc
        entries = _read(text, str(path))
        able = replace(_FREE, tools=any(isinstance(entry, Rule) and entry.tool_calls for entry in entries))
        return cls(entries, keep=0, capabilities=able, identity=sha256(text.encode()).hexdigest())

    @property
    def requests(self) -> list[Request]:
        """What was asked, oldest first; at most `keep` of them."""
        return list(self._kept)

    async def complete(self, request: Request, on_text: OnText | None = None) -> Response:
        started = perf_counter()
        self._kept.append(request)
        rule = self._find(request)
        # Even without a delay it lets others run, as every real model does.
        await asyncio.sleep(rule.delay or self._delay)
        reply = rule.reply(request) if callable(rule.reply) else rule.reply
        if isinstance(reply, Exception):
            # One object may be raised many times, and would gather the frames of all of them.
            raise reply.with_traceback(None)
        if isinstance(reply, str):
            reply = _response(request, reply, rule, perf_counter() - started)
        if on_text is not None:
            for word in _words(reply.text):
                on_text(word)
        return reply

    def capabilities(self, model: str) -> Capabilities:  # noqa: ARG002
        return self._capabilities

    def identity(self, model: str) -> str:  # noqa: ARG002
        return self._identity

    def close(self) -> None:
        pass

    def _find(self, request: Request) -> Rule:
        near, far = _sides(request)
        for text in (near, far):
            for rule in self._matching:
                if rule.contains is not None and rule.contains in text:
                    return rule
        if self._used < len(self._once):
            self._used += 1
            return self._once[self._used - 1]
        if self._last_resort is not None:
            return self._last_resort
        return Rule(self._nothing_left)

    def _nothing_left(self, request: Request) -> ModelError:
        asked = next((m.content for m in reversed(request.messages) if m.role == "user"), "")
        asked = repr(asked if len(asked) <= 80 else asked[:79] + "…")
        if self._once:
            self._used += 1
            many = "1 reply" if len(self._once) == 1 else f"{len(self._once)} replies"
            message = f"the script has {many}, and this is call {self._used}: {asked}"
        else:
            message = f"the script has no reply for this call: {asked}"
        hint = "add a reply, or a rule with always: true"
        return ModelError(message, fault=Fault.BAD_REQUEST, model=request.model, hint=hint)


def _rules(script: Script) -> list[Rule]:
    if isinstance(script, Mapping):
        return [Rule(reply, contains=text) for text, reply in script.items()]
    if isinstance(script, Sequence) and not isinstance(script, str):
        return [entry if isinstance(entry, Rule) else Rule(entry) for entry in script]
    return [Rule(script, always=True)]


def _sides(request: Request) -> tuple[str, str]:
    """The text that tells this request from others (system, last user message and what follows it), and that of the
    rest."""
    last = max((i for i, message in enumerate(request.messages) if message.role == "user"), default=math.inf)
    near: list[str] = []
    far: list[str] = []
    for i, message in enumerate(request.messages):
        (near if i >= last or message.role == "system" else far).append(message.content)
    return "\n".join(near), "\n".join(far)


def _words(text: str) -> list[str]:
    """The words of a text with the space around them: joined they are the text.

    >>> _words(" two words\\n")
    [' two ', 'words\\n']
    """
    return re.findall(r"\A\s*\S+\s*|\S+\s*|\s+", text)


def _response(request: Request, text: str, rule: Rule, latency: float) -> Response:
    words, finish, calls = _words(text), rule.finish, _calls(request, rule)
    limit = request.params.get("max_tokens")
    if isinstance(limit, int) and len(words) > limit:
        words, finish, calls = words[:limit], Finish.LENGTH, ()
        text = "".join(words).rstrip()
    prompt = sum(len(message.content.split()) for message in request.messages)
    usage = Usage(prompt, len(words) + sum(len(f"{call.name} {call.arguments}".split()) for call in calls))
    return Response(text, Finish.TOOLS if calls else finish, usage, cost=0.0, latency=latency, tool_calls=calls)


def _calls(request: Request, rule: Rule) -> tuple[ToolCall, ...]:
    """The rule's calls of tools, with ids that go on from those of the turns before."""
    first = 1 + sum(len(message.tool_calls) for message in request.messages)
    return tuple(
        ToolCall(f"call_{number}", name, json.dumps(arguments, ensure_ascii=False, default=str))
        for number, (name, arguments) in enumerate(rule.tool_calls, first)
    )


_KEYS = {"reply", "contains", "always", "delay", "finish", "error", "retry_after", "tool_calls"}


def _read(text: str, file: str) -> list[Reply | Rule]:
    import yaml

    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        items = loader.construct_document(root) if root is not None else None
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        place = Where(file, mark.line + 1, mark.column + 1) if mark else Where(file)
        raise InvalidFileError([Problem(f"not YAML: {getattr(exc, 'problem', None) or exc}", place)]) from exc
    if root is None or not isinstance(items, list):
        line = root.start_mark.line + 1 if root is not None else None
        problem = Problem("a script is a list of replies", Where(file, line), "start each reply with '- '")
        raise InvalidFileError([problem])
    entries: list[Reply | Rule] = []
    problems: list[Problem] = []
    for node, item in zip(root.value, items, strict=True):
        try:
            entries.append(_entry(node, item))
        except UsageError as exc:
            where = Where(file, node.start_mark.line + 1, node.start_mark.column + 1)
            problems.append(Problem(exc.message, where, exc.hint))
    if problems:
        raise InvalidFileError(problems)
    return entries


def _entry(node: Node, item: object) -> Reply | Rule:
    """One entry of the file as a reply or a rule. Raises UsageError for what is wrong with it."""
    if not isinstance(item, dict):
        return _text(node, item)
    for key in item:
        if key not in _KEYS:
            raise UsageError(f"unknown key '{key}'", hint=known_or_nearest(str(key), _KEYS, "keys"))
    if ("reply" in item or "tool_calls" in item) == ("error" in item):
        raise UsageError("an entry has either 'reply' or 'error'")
    if "retry_after" in item and "error" not in item:
        raise UsageError("'retry_after' goes with 'error'")
    nodes = {key.value: value for key, value in node.value}
    if "error" in item:
        reply: Reply = _failure(_one_of(Fault, item, "error"), _seconds(item, "retry_after"))
    else:
        reply = _text(nodes["reply"], item["reply"]) if "reply" in item else ""
    if not isinstance(always := item.get("always", False), bool):
        raise UsageError("'always' is true or false")
    return Rule(
        reply,
        contains=_text(nodes["contains"], item["contains"]) if "contains" in item else None,
        always=always,
        delay=_seconds(item, "delay") or 0.0,
        finish=_one_of(Finish, item, "finish") if "finish" in item else Finish.STOP,
        tool_calls=_tool_calls(item["tool_calls"]) if "tool_calls" in item else (),
    )


def _tool_calls(value: object) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    message, hint = "'tool_calls' is a list of calls", "write each like {name: lookup, arguments: {item: tea}}"
    if not isinstance(value, list) or not value:
        raise UsageError(message, hint=hint)
    for call in value:
        known = isinstance(call, dict) and set(call) <= {"name", "arguments"}
        if not known or not isinstance(call.get("name"), str) or not isinstance(call.get("arguments", {}), dict):
            raise UsageError(message, hint=hint)
    return tuple((call["name"], call.get("arguments", {})) for call in value)


def _text(node: Node, value: object) -> str:
    """A scalar as it is written (42, yes, 2026-01-01 are text in a reply), anything else as JSON."""
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(node.value)


def _failure(fault: Fault, retry_after: float | None) -> Callable[[Request], Exception]:
    def fail(request: Request) -> Exception:
        return ModelError(f"the script says: {fault}", fault=fault, model=request.model, retry_after=retry_after)

    return fail


def _one_of(kind: type[_Kind], item: Mapping[Any, Any], key: str) -> _Kind:
    try:
        return kind(item[key])
    except ValueError:
        hint = known_or_nearest(str(item[key]), [member.value for member in kind], f"values of '{key}'")
        raise UsageError(f"unknown {key} {item[key]!r}", hint=hint) from None


def _seconds(item: Mapping[Any, Any], key: str) -> float | None:
    value = item.get(key)
    if key not in item:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise UsageError(f"'{key}' is a number of seconds, not {value!r}")
    return float(value)
