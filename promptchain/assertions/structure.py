"""Assertions on JSON: the whole output is JSON, or has some in it, and fits a schema.

Names and verdicts are promptfoo's but for `schema`, which is ours. `STRUCTURE` has those on XML, HTML and SQL too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any

from promptchain import document
from promptchain.assertions.markup import MARKUP
from promptchain.assertions.protocol import AssertionFault, Check, Spec, Subject, Verdict, verdict
from promptchain.assertions.sql import SQL
from promptchain.assertions.text import parsed, search, sentence, shown, text_of, wrong_value
from promptchain.errors import InvalidFileError
from promptchain.schema import KEYWORDS, is_note, keywords, walk
from promptchain.validate import checker

MAX_OBJECT = 100_000
"""Characters that an object in a text may have, as in promptfoo."""

MAX_EFFORT = 2_000_000
"""Characters that are read in search of objects: a text can have a brace a thousand times."""

_FORMER = keywords(
    "dependencies additionalItems nullable $schema $id $anchor $dynamicRef $dynamicAnchor $vocabulary id"
)


def is_json(subject: Subject, spec: Spec) -> Verdict:
    """The whole output is JSON. value: a JSON Schema that it fits, a mapping or YAML."""
    text = text_of(subject)
    validator = _validator(spec) if spec.value else None
    try:
        value = parsed(text)
    except ValueError as error:
        return verdict(False, f"it should be JSON, and is {shown(text)}: {sentence(str(error))}")
    return _fits(validator, value, f"it is JSON: {shown(text)}")


def contains_json(subject: Subject, spec: Spec) -> Verdict:
    """The output has a JSON object in it, loosely written perhaps (comments, no quotes, not closed).

    value: a JSON Schema that one of the objects fits, a mapping or YAML.
    """
    text = text_of(subject)
    validator = _validator(spec) if spec.value else None
    last = verdict(False, f"it should contain a JSON object, and is {shown(text)}")
    for value in _objects(text):
        last = _fits(validator, value, f"it contains {shown(value)}")
        if last.passed:
            break
    return last


def schema(subject: Subject, spec: Spec) -> Verdict:
    """The output, a value as it is, fits the JSON Schema in value; and no more than `threshold` replies were asked for
    again until one did. Without a value it fits, since a typed output does; without a threshold any number will do."""
    again = f"{subject.retries} {'reply was' if subject.retries == 1 else 'replies were'} asked for again"
    if spec.threshold is not None and subject.retries > spec.threshold:
        return verdict(False, f"{again}, and at most {spec.threshold:g} should be")
    right = f"it fits its schema; {again}"
    return _fits(_validator(spec) if spec.value not in (None, "") else None, subject.output, right)


# -- schemas -----------------------------------------------------------------------------------------------------------


def _fits(validator: Any, value: Any, right: str) -> Verdict:
    if validator is None:
        return verdict(True, "", right)
    from jsonschema.exceptions import best_match
    from referencing.exceptions import Unresolvable

    try:
        next(checker({})(value), None)  # it is not nested too deeply
        error = best_match(islice(validator.iter_errors(value), 20))
    except RecursionError:
        return verdict(False, "the value is nested too deeply, or its schema leads back to itself")
    except Unresolvable as missing:
        raise AssertionFault(f"the schema refers to {shown(missing.ref)}, which is not in it") from missing
    except re.error as wrong:  # of patternProperties
        raise AssertionFault(f"the schema has a wrong pattern: {sentence(str(wrong))}") from wrong
    if error is None:
        return verdict(True, "", right)
    place = error.json_path.removeprefix("$").removeprefix(".")
    message = sentence(error.message, 200)
    return verdict(
        False,
        f"it does not fit the schema: {sentence(place)}: {message}"
        if place
        else f"it does not fit the schema: {message}",
    )


def _validator(spec: Spec) -> Any:
    """Raises AssertionFault for what is no JSON Schema: of draft 7, as in promptfoo, or of the one that it names."""
    from jsonschema import Draft7Validator, FormatChecker, validators
    from jsonschema.exceptions import SchemaError
    from referencing import Registry

    value = _mapping(spec)
    kind: Any = validators.validator_for(value, default=Draft7Validator)
    try:
        kind.check_schema(value, format_checker=FormatChecker(formats=()))  # patterns are JavaScript's
        unknown = {key for _, part in walk(value) if isinstance(part, Mapping) for key in part} - KEYWORDS - _FORMER
    except SchemaError as error:
        raise AssertionFault(f"{spec.type} has no valid JSON Schema: {sentence(error.message)}") from error
    except RecursionError as error:
        raise AssertionFault(f"the schema of {spec.type} is nested too deeply") from error
    if wrong := sorted(key for key in unknown if not is_note(key)):
        raise AssertionFault(f"the schema of {spec.type} has an unknown keyword {shown(wrong[0])}")
    bounded = validators.extend(kind, {"pattern": _pattern})  # type: ignore[no-untyped-call]
    return bounded(value, format_checker=_formats(), registry=Registry())  # nothing is fetched


def _mapping(spec: Spec) -> dict[str, Any]:
    value = spec.value
    if isinstance(value, str):
        try:
            value = document.parse(value, spec.type).value
        except InvalidFileError as error:
            raise AssertionFault(f"the schema of {spec.type} is not YAML: {sentence(error.message)}") from error
    if not isinstance(value, Mapping):
        raise wrong_value(spec, "a JSON Schema, a mapping")
    return json.loads(json.dumps(value, default=str))  # type: ignore[no-any-return]


def _pattern(validator: Any, pattern: str, value: Any, schema: Any) -> Iterator[Any]:  # noqa: ARG001
    """The keyword `pattern`, in bounded time."""
    from jsonschema.exceptions import ValidationError

    if isinstance(value, str) and not search(pattern, value):
        yield ValidationError(f"{shown(value)} does not match {shown(pattern)}")


_EMAIL = re.compile(
    r"[^\s@\"(),:;<>\[\\\]]{1,64}@(?:[a-z0-9](?:[a-z0-9-]{0,62}[a-z0-9])?\.)+[a-z0-9-]{2,63}", re.IGNORECASE
)
_URI = re.compile(r"[a-z][a-z0-9+.-]*:[^\s\"<>\\^`{|}]+", re.IGNORECASE)
_HOST = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*", re.I
)
_FORMATS = {"email": _EMAIL, "uri": _URI, "hostname": _HOST}
_TIME = re.compile(r"\d\d:\d\d:\d\d(?:\.\d+)?(?:z|[+-]\d\d(?::?\d\d)?)", re.IGNORECASE | re.ASCII)


def _formats() -> Any:
    """The formats that jsonschema checks without further libraries, and the commonest of those that need one."""
    from jsonschema import FormatChecker

    formats = FormatChecker(formats=())
    formats.checkers = dict(FormatChecker.checkers)
    formats.checkers |= {name: (partial(_matches, pattern), ()) for name, pattern in _FORMATS.items()}
    formats.checkers["date-time"] = (_is_moment, ())
    formats.checkers["time"] = (lambda value: not isinstance(value, str) or _is_moment(f"2000-01-01T{value}"), ())
    return formats


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return not isinstance(value, str) or pattern.fullmatch(value) is not None


def _is_moment(text: object) -> bool:
    """A date and a time of a time zone, as RFC 3339 has them."""
    if not isinstance(text, str):
        return True
    if len(text) > 64 or not re.match(r"\d{4}-\d\d-\d\d[Tt ]", text, re.ASCII) or not _TIME.fullmatch(text[11:]):
        return False
    try:
        datetime.fromisoformat(text[:19])
    except ValueError:
        return False
    return True


# -- objects in a text -------------------------------------------------------------------------------------------------


def _objects(text: str) -> Iterator[Any]:
    """The outermost objects in a text, as promptfoo finds them: from a brace to the one that closes it, or to the end.

    Braces within quotes count. Raises AssertionFault where that takes too long.
    """
    closing = _closing(text)
    position, effort = text.find("{"), 0
    while 0 <= position < len(text) - 1:
        end = closing.get(position)
        cut = end is None or end - position > MAX_OBJECT
        stop = min(position + MAX_OBJECT, len(text)) if cut or end is None else end
        effort += stop - position + 100  # for the work that even the smallest makes
        if effort > MAX_EFFORT:
            raise AssertionFault("there are too many braces in the output to look for JSON in it")
        piece = text[position:stop]
        value = _loose(piece + "}" * _open(piece) if cut else piece)
        position = text.find("{", position + 1 if value is None else stop)
        if value is not None:
            yield value


def _closing(text: str) -> dict[int, int]:
    """Where each brace's object ends: after the brace that closes it."""
    ends: dict[int, int] = {}
    unclosed: list[int] = []
    for match in re.finditer("[{}]", text):
        if match.group() == "{":
            unclosed.append(match.start())
        elif unclosed:
            ends[unclosed.pop()] = match.end()
    return ends


def _open(piece: str) -> int:
    return piece.count("{") - piece.count("}")


def _loose(piece: str) -> Any:
    """JSON, or YAML's flow style, which forgives more; None for neither."""
    try:
        return json.loads(piece, strict=False)
    except RecursionError:
        return None
    except ValueError:
        pass
    try:
        value = document.parse(_without_comments(piece), "json").value
    except (InvalidFileError, RecursionError, ValueError):
        return None
    return value if isinstance(value, dict | list) else None


_PIECES = re.compile(r'"(?:[^"\\\n]|\\.)*+"?|(?<![A-Za-z])\'(?:[^\'\\\n]|\\.)*+\'?|://\S*+|//[^\n]*|.', re.DOTALL)


def _without_comments(piece: str) -> str:
    """`// …` as YAML's comments, but for those in quotes and in URLs."""
    if "//" not in piece:
        return piece
    pieces = map(re.Match.group, _PIECES.finditer(piece))
    return "".join("#" + part[2:] if part.startswith("//") else part for part in pieces)


JSON: dict[str, Check] = {"is-json": is_json, "contains-json": contains_json, "schema": schema}

STRUCTURE: dict[str, Check] = {**JSON, **MARKUP, **SQL}
