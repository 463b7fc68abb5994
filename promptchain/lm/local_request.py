"""A request as llama.cpp's server takes it: checked parameters, messages, and grammars that hold a reply in form."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeGuard

from promptchain.errors import Fault, ModelError, known_or_nearest
from promptchain.lm.protocol import Message, Request

DEFAULT_MAX_TOKENS = 1024
"""For a request without max_tokens: a small model that loses itself goes on until its context is full."""
DEFAULT_SEED = 0


def _number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _positive(value: object) -> bool:
    return _number(value) and value >= 0


def _share(value: object) -> bool:
    return _number(value) and 0 <= value <= 1


def _whole(least: int) -> Callable[[object], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= least


def _words(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, list | tuple) and all(isinstance(word, str) for word in value))


# Parameter → what it must be. llama.cpp itself takes a wrong type of some of them for "not given".
_PARAMS: dict[str, tuple[Callable[[object], bool], str]] = {
    "temperature": (_positive, "a number from 0"),
    "max_tokens": (_whole(1), "a whole number from 1"),
    "max_completion_tokens": (_whole(1), "a whole number from 1"),
    "top_p": (_share, "a number from 0 to 1"),
    "top_k": (_whole(0), "a whole number from 0"),
    "min_p": (_share, "a number from 0 to 1"),
    "stop": (_words, "a text or a list of texts"),
    "seed": (_whole(0), "a whole number from 0"),
    "presence_penalty": (_number, "a number"),
    "frequency_penalty": (_number, "a number"),
    "repeat_penalty": (_number, "a number"),
    "logprobs": (lambda value: isinstance(value, bool), "true or false"),
}


def body_of(request: Request) -> dict[str, Any]:
    """Raises ModelError for parameters that there are not, and for tools and media, which no local model takes."""
    if request.tools or any(message.media for message in request.messages):
        what = "tools" if request.tools else "images and files"
        message, hint = f"local models take no {what}", "use a hosted model for this step"
        raise ModelError(message, fault=Fault.BAD_REQUEST, model=request.model, hint=hint)
    params = _checked(request.params, request.model)
    limit = params.pop("max_completion_tokens", None)
    params.setdefault("max_tokens", limit or DEFAULT_MAX_TOKENS)
    # llama.cpp has 32 bits for a seed, and the last value of them means a random one.
    params["seed"] = (params.get("seed", DEFAULT_SEED) + request.sample) % 0xFFFFFFFF
    if params.pop("logprobs", False):
        params |= {"logprobs": True, "top_logprobs": 1}  # the token's own is what is read, and 20 would be sent
    if stop := params.pop("stop", None):
        params["stop"] = [utf8(word) for word in ([stop] if isinstance(stop, str) else stop)]
    body = {
        **params,
        "messages": [{"role": _role(message), "content": utf8(message.content)} for message in request.messages],
        "cache_prompt": True,
        "stream": True,
        "stream_options": {"include_usage": True},
        "return_progress": True,  # calls back while a long prompt is computed, so that it can be stopped there too
    }
    if request.schema is not None or request.choices:
        body["grammar"] = _schema_grammar(request.schema) if request.schema is not None else _choices(request.choices)
        # A template that opens a reasoning block would put it where the grammar expects the answer.
        body["chat_template_kwargs"] = {"enable_thinking": False}
    return body


def _role(message: Message) -> str:
    """Most chat templates know no tools."""
    return "user" if message.role == "tool" else message.role


def _checked(params: Mapping[str, Any], model: str) -> dict[str, Any]:
    for name, value in params.items():
        if name not in _PARAMS:
            message, hint = f"local models have no parameter '{name}'", known_or_nearest(name, _PARAMS, "parameters")
            raise ModelError(message, fault=Fault.BAD_REQUEST, model=model, hint=hint)
        fits, what = _PARAMS[name]
        if value is not None and not fits(value):
            raise ModelError(f"{name} must be {what}, not {value!r}", fault=Fault.BAD_REQUEST, model=model)
    return {name: value for name, value in params.items() if value is not None}


def _choices(choices: tuple[str, ...]) -> str:
    """A grammar (llguidance's Lark) whose only sentences are these texts. JSON's string escapes are its too."""
    return "%llguidance {}\nstart: " + " | ".join(json.dumps(utf8(choice)) for choice in dict.fromkeys(choices))


def _schema_grammar(schema: Mapping[str, Any]) -> str:
    """A grammar (llguidance's Lark) of the JSON texts of a schema, spaced as `json.dumps` does.

    Not `response_format`: that goes through llama.cpp's older converter, which knows less of JSON Schema, warns on
    stderr, and leaves white space free, in which small models lose themselves. `lenient` skips unknown formats.
    """
    spacing = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": ", "lenient": True}
    held = {"x-guidance": spacing, **schema}
    return "%llguidance {}\nstart: %json " + json.dumps(held)


def utf8(text: str) -> str:
    """The text with lone surrogates, which no encoder takes, replaced by `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")
