"""A chain file → `Chain`: reads the YAML with its positions, and reports everything that is wrong in one go."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from promptchain import checks, document
from promptchain.chain import KINDS, Chain, ChainStep, PromptStep, PythonStep, RetrieveStep, Text, describe
from promptchain.document import Document
from promptchain.errors import InvalidFileError, Problem, PromptChainError, Where, nearest

_ROUNDS = 4
"""How often a file with faults of shape is validated without them, so that what they hide is reported too."""

MAX_TEXT_BYTES = 4 * 1024 * 1024
"""The size of a prompt file."""


def load(path: Path, root: Path) -> Chain:
    """Load and check the chain file at `path`; files it names must lie below `root`, the project's folder.

    Raises InvalidFileError with every problem found, each with its line and column.
    """
    name = _shown(path, root)
    try:
        source = document.read(path, name)
    except InvalidFileError:
        raise
    except PromptChainError as exc:
        raise InvalidFileError([Problem(exc.message, exc.where or Where(name), exc.hint)]) from None
    return _Loading(source, path, root).chain()


class _Loading:
    """One file being loaded: collects problems, so that all are reported together."""

    def __init__(self, source: Document, path: Path, root: Path) -> None:
        self.source = source
        self.path = path
        self.root = root
        self.problems: list[Problem] = []

    def chain(self) -> Chain:
        chain = self._validate()
        if chain is not None:
            chain = self._with_files(chain)
            written = self.source.value.get("steps")
            for fault in checks.check(chain, also=written if isinstance(written, dict) else ()):
                self.problems.append(Problem(fault.message, self._where(fault), fault.hint))
        if self.problems:
            unique = dict.fromkeys(self.problems)
            raise InvalidFileError(
                sorted(unique, key=lambda problem: (problem.where.file != self.source.file, _place(problem)))
            )
        assert chain is not None
        return chain

    def _validate(self) -> Chain | None:
        value = self.source.value
        if value is None:
            hint = "a chain needs at least 'steps' with one step that has a 'prompt'"
            self._problem((), "the file is empty", hint)
            return None
        if not isinstance(value, dict):
            self._problem((), f"a chain file is a mapping with the key 'steps', not {describe(value)}", None)
            return None
        if "name" in value:
            self._problem(("name",), "unknown key 'name'", "a chain is named by its file; remove the key", key=True)
            value = {key: item for key, item in value.items() if key != "name"}
        for _ in range(_ROUNDS):
            try:
                return Chain.model_validate({"name": self.path.stem, **value})
            except ValidationError as exc:
                value = _without(value, self._translate(exc))
        return None

    def _translate(self, exc: ValidationError) -> list[document.Path_]:
        """Records pydantic's errors in the words of the chain file, one for each place; returns the places."""
        places: dict[document.Path_, None] = {}
        for error in exc.errors(include_url=False):
            path, step_kind = self._path(error["loc"])
            kind = error["type"]
            if path in places:
                continue
            places[path] = None
            if kind == "extra_forbidden":
                self._unknown_key(path, step_kind)
            elif kind == "missing":
                self._missing(path)
            else:
                message, hint = _wording(error)
                self._problem(path, message, hint)
        return list(places)

    def _path(self, loc: tuple[int | str, ...]) -> tuple[document.Path_, str | None]:
        """pydantic's location without the tags of unions, as far as the file has it; and the kind of step it is in."""
        path: list[str | int] = []
        value: Any = self.source.value
        kind = None
        for index, part in enumerate(loc):
            if len(path) == 2 and path[0] == "steps" and part in KINDS and kind is None:
                kind = str(part)
                continue
            inside = isinstance(value, dict) and part in value
            inside = inside or (isinstance(value, list) and isinstance(part, int) and part < len(value))
            if not inside and index < len(loc) - 1:
                continue  # a branch of a union, by pydantic's name for it
            if not inside and not (isinstance(value, dict) and isinstance(part, str)):
                continue
            path.append(part)
            value = value[part] if inside else None
        return tuple(path), kind

    def _unknown_key(self, path: document.Path_, step_kind: str | None) -> None:
        key = str(path[-1])
        known = _known_keys(path, step_kind)
        hint = nearest(key, known) or f"known keys: {', '.join(known)}"
        if len(path) == 3 and step_kind and key in KINDS:
            hint = "a step is of one kind; make two steps of it"
            self._problem(path, f"a step cannot be '{step_kind}' and '{key}' at once", hint, key=True)
            return
        where = f" in a {step_kind} step" if len(path) == 3 and step_kind else ""
        self._problem(path, f"unknown key '{key}'{where}", hint, key=True)

    def _missing(self, path: document.Path_) -> None:
        key = str(path[-1])
        if len(path) == 3 and path[0] == "steps" and key == "prompt":
            keys = self.source.value["steps"][path[1]]
            close = next((name for name in keys if nearest(name, KINDS)), None) if isinstance(keys, dict) else None
            hint = (close and nearest(close, KINDS)) or f"one of: {', '.join(KINDS)}"
            self._problem(path[:2], f"step '{path[1]}' has no key that says what it does", hint, key=True)
        elif path == ("steps",):
            near = next((key for key in self.source.value if nearest(key, ["steps"])), None)
            self._problem((near,) if near else (), "the chain has no 'steps'", "add at least one step", key=bool(near))
        else:
            self._problem(path[:-1], f"the key '{key}' is missing", None, key=True)

    def _with_files(self, chain: Chain) -> Chain:
        """The chain with the texts of the files it names read in."""
        for name, step in chain.steps.items():
            if isinstance(step, PromptStep):
                texts = {field: getattr(step, field) for field in ("instructions", "prompt")}
                read = {field: self._text(text, ("steps", name, field)) for field, text in texts.items()}
                if read != texts:
                    chain = chain.with_step(name, step.model_copy(update=read))
        return chain

    def _text(self, text: Text, path: document.Path_) -> Text:
        if text.file is None:
            return text
        at = (*path, "file")
        target = self.path.parent / text.file
        try:
            inside = target.resolve().is_relative_to(self.root.resolve())
        except (OSError, ValueError, RuntimeError):
            self._problem(at, "this is no path that could be read", "name a file below the chain's folder")
            return text
        if not inside:
            hint = f"copy it below {self.root.name or self.root}/ and name it from there"
            self._problem(at, f"'{text.file}' lies outside the project", hint)
            return text
        try:
            content = document.read_text(target, _shown(target, self.root), MAX_TEXT_BYTES)
        except PromptChainError as exc:
            self._problem(at, f"the file '{text.file}': {exc.message}", exc.hint or _near_file(target))
            return text
        if not content.strip():
            self._problem(at, f"the file '{text.file}' is empty", "write the text into it")
        return Text(text=content, file=_shown(target, self.root))

    def _where(self, fault: checks.Fault) -> Where:
        if fault.file is not None:
            return Where(fault.file, fault.line)
        if fault.line is not None and fault.word:
            return self.source.where_in(self._written(fault.path), fault.line, fault.word)
        if fault.line is not None and fault.line > 1:
            return self.source.where_in(self._written(fault.path), fault.line, "")
        return self.source.where(fault.path, key=fault.key)

    def _written(self, path: document.Path_) -> document.Path_:
        """`for_each: "…"` stands for `for_each: {in: "…"}`; only what is written has a place."""
        return path if path in self.source.values else (*path, "in")

    def _problem(self, path: document.Path_, message: str, hint: str | None, *, key: bool = False) -> None:
        self.problems.append(Problem(message, self.source.where(path, key=key), hint))


_MODELS = {"prompt": PromptStep, "retrieve": RetrieveStep, "python": PythonStep, "chain": ChainStep}


def _known_keys(path: document.Path_, step_kind: str | None) -> list[str]:
    """The keys that may stand beside the last one of `path`."""
    model: Any = Chain
    if len(path) >= 3 and step_kind:
        model = _MODELS[step_kind]
    elif path[0] == "test":
        model = Chain.model_fields["test"].annotation
    for part in path[3:-1] if step_kind else path[1:-1]:
        field = next((f for n, f in _fields(model).items() if (f.alias or n) == part), None)
        model = field.annotation if field is not None else model
    names = [field.alias or name for name, field in _fields(model).items()]
    return [name for name in names if not (model is Chain and name == "name")]


def _fields(model: Any) -> dict[str, Any]:
    """The fields of a model, also of the one inside `X | None` and `tuple[X, ...]`."""
    if hasattr(model, "model_fields"):
        return dict(model.model_fields)
    for inner in getattr(model, "__args__", ()):
        if fields := _fields(inner):
            return fields
    return {}


def _without(value: dict[str, Any], paths: Iterable[document.Path_]) -> dict[str, Any]:
    """The file's data without what stands at the paths; where a key is missing, without the mapping that lacks it."""
    data = copy.deepcopy(value)
    for path in sorted(paths, key=lambda path: [str(part) for part in path], reverse=True):
        while path and not _remove(data, path):
            path = path[:-1]
    return data


def _remove(data: Any, path: document.Path_) -> bool:
    for part in path[:-1]:
        data = data[part] if _has(data, part) else None
    if not _has(data, path[-1]):
        return False
    del data[path[-1]]
    return True


def _has(value: Any, part: Any) -> bool:
    if isinstance(value, dict):
        return part in value
    return isinstance(value, list) and isinstance(part, int) and part < len(value)


_EXPECTED = {
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


def _wording(error: Any) -> tuple[str, str | None]:
    """One pydantic error as message and hint."""
    kind, context, given = error["type"], error.get("ctx", {}), error.get("input")
    if kind in _EXPECTED:
        shown = f" ({given!r})" if isinstance(given, str | int | float) and len(str(given)) < 40 else ""
        return f"must be {_EXPECTED[kind]}, not {describe(given)}{shown}", None
    if kind in ("literal_error", "enum"):
        allowed = str(context.get("expected", "")).replace("'", "").replace(" or ", ", ").split(", ")
        return f"'{given}' is not one of {', '.join(allowed)}", nearest(str(given), allowed)
    limits = {"greater_than": "gt", "greater_than_equal": "ge", "less_than": "lt", "less_than_equal": "le"}
    if kind in limits:
        bound = context.get(limits[kind])
        words = kind.replace("_", " ").replace("than equal", "than or equal to")
        return f"must be {words} {bound:g}, not {given}", None
    if kind in ("too_short", "string_too_short"):
        return "must not be empty", None
    if kind == "string_pattern_mismatch":
        return f"'{given}' is not of the form module:function", "for example support.tools:normalise"
    message = str(error["msg"])
    return message[0].lower() + message[1:], None


def _shown(path: Path, root: Path) -> str:
    """A path as messages show it: from the project's folder where it lies in it."""
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except (ValueError, OSError, RuntimeError):
        return str(path)


def _near_file(target: Path) -> str | None:
    try:
        names: Iterable[str] = [entry.name for entry in target.parent.iterdir()]
    except OSError:
        return f"the folder {target.parent.name}/ does not exist either"
    return nearest(target.name, names)


def _place(problem: Problem) -> tuple[int, int]:
    return (problem.where.line or 0, problem.where.column or 0)


def chain_files(folder: Path) -> Iterator[Path]:
    """The chain files in a folder, by name; lock files are none."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.suffix in (".yaml", ".yml") and not path.stem.endswith(".lock") and not path.name.startswith("."):
                yield path
