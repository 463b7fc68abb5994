"""The data of a chain file → `Chain`: every error of its shape, in the words of the file.

Data with faults is validated again without what is at fault, so that what is left can be checked further, and nothing
is reported that only follows from a fault reported before.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from promptchain.chain import KINDS, Chain, ChainStep, PromptStep, PythonStep, RetrieveStep
from promptchain.checks import MAX_FAULTS, Fault, Path, short
from promptchain.errors import nearest
from promptchain.model import describe

_ROUNDS = 8
"""How often data is validated: each round takes out what the one before found, at most up to the step."""

_GONE = object()
_MODELS: dict[str, Any] = {"prompt": PromptStep, "retrieve": RetrieveStep, "python": PythonStep, "chain": ChainStep}
_STAND_IN = {"_": {"prompt": "_"}}
"""In place of steps that could not be read, so that the rest of the file can be."""


class Shape:
    """What a chain file says, as far as its shape is right.

    chain: without all that is at fault; None where nothing can be made of the data. faults: what is. sure: whether
    all names are known that templates may use.
    """

    def __init__(self, name: str, data: Mapping[str, Any]) -> None:
        self.faults: list[Fault] = []
        self.sure = True
        self._data = data
        self._told: set[Path] = set()  # the places of faults, and what they are in
        self._kept: dict[Path, list[int]] = {}
        if "name" in data:
            self._report(("name",), "unknown key 'name'", "a chain is named by its file; remove the key", key=True)
        self.chain = self._read(name, {key: value for key, value in data.items() if key != "name"})

    @property
    def steps(self) -> list[str]:
        """The names of all steps in the file."""
        steps = self._data.get("steps")
        return list(steps) if isinstance(steps, dict) else []

    def original(self, path: Path) -> Path:
        """The path in the file of what stands at `path` in `chain`."""
        found: list[str | int] = []
        for part in path:
            kept = self._kept.get(tuple(found))
            found.append(kept[part] if kept and isinstance(part, int) and part < len(kept) else part)
        return tuple(found)

    def _read(self, name: str, data: dict[str, Any]) -> Chain | None:
        for _ in range(_ROUNDS):
            try:
                chain = Chain.model_validate({"name": name, **data}, by_alias=True, by_name=False)
            except ValidationError as exc:
                places = self._translate(exc, data)
                data = self._sweep(_marked(data, places), ())
                data["steps"] = data.get("steps") or _STAND_IN
            else:
                return chain.model_copy(update={"steps": {}}) if data["steps"] is _STAND_IN else chain
        return None

    def _sweep(self, value: Any, at: Path) -> Any:
        """The value without what is gone; `at` is its path in the file."""
        if isinstance(value, dict):
            return {key: self._sweep(item, (*at, key)) for key, item in value.items() if item is not _GONE}
        if isinstance(value, list):
            indexes = self._kept.get(at, list(range(len(value))))
            pairs = [(index, item) for index, item in zip(indexes, value, strict=True) if item is not _GONE]
            self._kept[at] = [index for index, _ in pairs]
            return [self._sweep(item, (*at, index)) for index, item in pairs]
        return value

    # -- pydantic's errors ---------------------------------------------------------------------------------------------

    def _translate(self, exc: ValidationError, data: dict[str, Any]) -> set[Path]:
        """Report what is new, and return the places (in `data`) of all that is to be taken out."""
        located = [(*_located(error["loc"], data), error) for error in exc.errors(include_url=False)]
        # Unknown keys first, as they may be what a missing one was meant to be; then the deepest, which hide the rest.
        located.sort(key=lambda item: (item[3]["type"] != "extra_forbidden", -len(item[0])))
        gone: set[Path] = set()
        for place, there, kind, error in located:
            path = self.original(place)
            if error["type"] == "extra_forbidden":
                gone |= {place, *self._unknown_key(path, place, kind)}
                continue
            faulty = place if there else place[:-1]
            # Without its kind, a step is nothing; and its templates may use the item of `for_each`, however called.
            hopeless = faulty[:1] == ("steps",) and (faulty[2:] in ((kind,), ()) or faulty[2:3] == ("for_each",))
            gone.add(faulty[:2] if hopeless else faulty)
            if path in (("inputs",), ("steps",)):
                self.sure = False
            if path in self._told:
                continue
            if error["type"] == "missing":
                self._missing(path)
            else:
                self._report(path, *_wording(path, error))
        return gone - {()}

    def _unknown_key(self, path: Path, place: Path, kind: str | None) -> set[Path]:
        """Report an unknown key; returns the places of what depends on the key that it was likely meant to be."""
        if len(self.faults) >= MAX_FAULTS:
            return set()
        parent, key = path[:-1], str(path[-1])
        keys = self._at(parent)
        in_step = kind is not None and len(path) == 3
        kinds = [name for name in KINDS if name in keys] if in_step else []
        known = _known_keys(path, kind)
        if in_step and not kinds:  # it is likely the misspelt kind
            known = list(dict.fromkeys(name for model in _MODELS.values() for name in _names(model)))
        hint = (in_step and not kinds and nearest(short(key), KINDS)) or nearest(short(key), known)
        meant = hint.split("'")[1] if hint else None
        if key in kinds:
            self._report(path, f"a step cannot be '{kinds[0]}' and '{key}' at once", "make two steps of it", key=True)
        elif not any(key in _names(_MODELS[other]) for other in kinds[1:]):
            within = f" in a {kind} step" if kinds else ""
            few = KINDS if in_step and not kinds else known
            self._report(path, f"unknown key '{short(key)}'{within}", hint or f"known keys: {', '.join(few)}", key=True)
        if meant and meant not in keys:
            self._told.add((*parent, "prompt" if meant in KINDS and in_step else meant))
        if not parent and meant in ("inputs", "steps"):
            self.sure = False
        return {"for_each": {place[:2]}, "samples": {(*place[:2], "select")}}.get(meant or "", set())

    def _missing(self, path: Path) -> None:
        parent, key = path[:-1], str(path[-1])
        if path == ("steps",):
            self._report(path, "the chain has no 'steps'", "add at least one step with a prompt")
        elif len(path) == 3 and path[0] == "steps":
            message = f"step '{short(str(parent[1]))}' has none of the keys {', '.join(KINDS)}"
            self._report(path, message, 'give it one, for example prompt: "{{ message }}"', at=parent)
        else:
            self._report(path, f"{_subject(parent)} has no '{key}'", _example(parent), at=parent)

    def _report(self, path: Path, message: str, hint: str | None, *, key: bool = False, at: Path | None = None) -> None:
        """Record a fault at `path`; it is shown at the mapping `at` where `path` is a key that is missing."""
        self._told |= {path[:length] for length in range(1, len(path) + 1)}
        if len(self.faults) < MAX_FAULTS:
            by_key = key or (at is not None and not isinstance(at[-1], int))
            self.faults.append(Fault(path if at is None else at, message, hint, key=by_key))

    def _at(self, path: Path) -> Any:
        value: Any = self._data
        for part in path:
            value = value[part]
        return value


def _marked(value: Any, gone: set[Path], at: Path = ()) -> Any:
    """A copy with `_GONE` at the given places."""
    if at in gone:
        return _GONE
    if isinstance(value, dict):
        return {key: _marked(item, gone, (*at, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_marked(item, gone, (*at, index)) for index, item in enumerate(value)]
    return value


def _located(loc: tuple[int | str, ...], data: Any) -> tuple[Path, bool, str | None]:
    """pydantic's location as a path of the data, without the names it gives to the branches of unions; whether
    something is there; and the kind of the step it is in."""
    path: list[str | int] = []
    value = data
    there, kind = True, None
    for index, part in enumerate(loc):
        if len(path) == 2 and path[0] == "steps" and part in KINDS and kind is None:
            kind = str(part)
            continue
        inside = isinstance(value, dict) and part in value
        inside = inside or (isinstance(value, list) and isinstance(part, int) and part < len(value))
        if not inside and (index < len(loc) - 1 or not (isinstance(value, dict) and isinstance(part, str))):
            continue
        path.append(part)
        there, value = inside, value[part] if inside else None
    return tuple(path), there, kind


def _known_keys(path: Path, kind: str | None) -> list[str]:
    """The keys that may stand beside the last one of `path`."""
    model: Any = _MODELS[kind] if kind else Chain
    for part in path[2:-1] if kind else path[:-1]:
        field = next((f for n, f in _fields(model).items() if (f.alias or n) == part), None)
        model = field.annotation if field is not None else model
    hidden = {"name"} if model is Chain else {"text"}  # `text` is how a text is kept, not how it is written
    return [name for name in _names(model) if name not in hidden]


def _names(model: Any) -> list[str]:
    return [field.alias or name for name, field in _fields(model).items()]


def _fields(model: Any) -> dict[str, Any]:
    """The fields of a model, also of the one inside `X | None` and `tuple[X, ...]`."""
    if hasattr(model, "model_fields"):
        return dict(model.model_fields)
    for inner in getattr(model, "__args__", ()):
        if fields := _fields(inner):
            return fields
    return {}


# -- words -------------------------------------------------------------------------------------------------------------

_RULES: dict[str, tuple[str, str | None]] = {  # what a key must be, where its type does not say it well; an example
    "steps": ("a mapping of names to steps", 'steps: {reply: {prompt: "Hello"}}'),
    "inputs": ("a mapping of names", "inputs: {message: string}"),
    "outputs": ("a mapping of names to templates", 'outputs: {reply: "{{ reply }}"}'),
    "params": ("a mapping", "params: {temperature: 0}"),
    "test": ("a mapping", "test: {dataset: rows.jsonl}"),
    "compile": ("a mapping", "compile: {optimizer: demos, calls: 600}"),
    "compile.steps": ("a list of steps", "steps: [intent]"),
    "split": ("a mapping", "split: {train: 0.4, dev: 0.3, test: 0.3}"),
    "prompt": ("a text", 'prompt: "{{ message }}"'),
    "file": ("the path of a file", "{file: support/reply.md}"),
    "retrieve": ("a mapping", 'retrieve: {from: docs/*.md, query: "{{ message }}"}'),
    "python": ("module:function", "python: support.tools:normalise"),
    "chain": ("the name of a chain", "chain: support"),
    "needs": ("a list of steps", "needs: [intent]"),
    "assert": ("a list of checks", "assert: [{type: contains, value: card}]"),
    "fallbacks": ("a list of models", "fallbacks: [openai/gpt-5-mini]"),
    "demos": ("a list of examples", "demos: [{inputs: {message: Hi}, output: greeting}]"),
    "for_each": ("an expression that gives a list", 'for_each: {in: "{{ questions }}", as: question}'),
    "timeout": ("a number of seconds", "timeout: 30"),
    "when": ("an expression, true or false", 'when: intent == "refund"'),
    "freeze": ("true, false or a list of instructions, demos, format", None),
    "model": ("the name of a model", "model: local/smollm2"),
    "on": ("a list of error, assertion, refusal", "on: [error]"),
}

_TYPES = {
    "string_type": "a text",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "list_type": "a list",
}

_LIMITS = {
    "greater_than": ("gt", "greater than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


def _subject(path: Path) -> str:
    """What is at fault, as it begins a sentence."""
    key = next((part for part in reversed(path) if isinstance(part, str)), "the file")
    if len(path) == 2 and path[0] == "steps":
        return f"step '{short(key)}'"
    if path and isinstance(path[-1], int):
        return f"item {path[-1] + 1} of '{short(key)}'"
    return f"'{short(key)}'"


def _example(path: Path) -> str | None:
    if path[-2:-1] == ("min",):  # a name that the user chose
        return None
    example = _RULES.get(_rule(path), ("", None))[1]
    return f"for example {example}" if example else None


def _rule(path: Path) -> str:
    """The name of a path's rule: that of its last key, but where another key is called so too."""
    if path[:2] == ("compile", "steps"):
        return "compile.steps"
    return next((part for part in reversed(path) if isinstance(part, str)), "")


def _wording(path: Path, error: Any) -> tuple[str, str | None]:
    """One of pydantic's errors as message and hint."""
    kind, context, given = error["type"], error.get("ctx", {}), error.get("input")
    subject, hint = _subject(path), _example(path)
    if kind in _TYPES:
        shown = f" ({given!r})" if isinstance(given, str | int | float) and len(str(given)) < 40 else ""
        if len(path) == 2 and path[0] == "steps":
            return f"{subject} must be a mapping, not {describe(given)}{shown}", _step_hint(str(path[1]), given)
        rule = _RULES.get(_rule(path)) if isinstance(path[-1], str) else None
        expected = rule[0] if rule else _TYPES[kind]
        return f"{subject} must be {expected}, not {describe(given)}{shown}", hint
    if kind in ("literal_error", "enum"):
        allowed = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
        near = nearest(short(str(given)), allowed)
        return f"{subject} must be one of {', '.join(allowed)}, not '{short(str(given))}'", near
    if kind in _LIMITS:
        name, words = _LIMITS[kind]
        return f"{subject} must be {words} {context[name]:g}, not {short(str(given))}", hint
    if kind in ("too_short", "string_too_short"):
        return f"{subject} is empty", hint
    if kind == "too_long":
        return f"{subject} has more than {context['max_length']:,} entries", "split the chain into several"
    if kind == "string_pattern_mismatch":
        return f"{subject} must be module:function, not '{short(str(given))}'", hint
    message = str(error["msg"])
    return f"{subject} {message}" if message.startswith(("must", "needs")) else f"{subject}: {message.lower()}", hint


def _step_hint(name: str, given: Any) -> str:
    """What is likely wrong where a step is no mapping."""
    keys = {key for model in _MODELS.values() for key in _names(model)}
    if name in keys:
        return f"indent '{name}' deeper, below the step that it belongs to"
    word = re.match(r"\w+", given) if isinstance(given, str) else None
    if word and word[0] in keys:
        return f"write ': ' after '{word[0]}'"
    return 'write below it, indented deeper: prompt: "{{ message }}"'
