"""Redaction: no message, record or log line carries a key."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterable, Iterator
from functools import lru_cache
from typing import Any

from promptchain.lm import patterns

MASK = "***"

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL", re.IGNORECASE)
# Values that such variables may well have and that are no secrets.
_HARMLESS = re.compile(
    r"[A-Za-z]{1,19}"  # a plain word
    r"|[\d.,:+-]+"  # a number, a date
    r"|[~.]*/.*|[A-Za-z]:\\.*|[\w./-]+\.(?:json|pem|key|crt|p12|env|txt|toml|ya?ml)"  # a path
    r"|[a-z][a-z0-9+.-]*://[^@]*",  # an address
    re.DOTALL,
)
_SHORTEST = 8

# Each begins where no word goes on, so that "task-force" holds no "sk-" key. The source of a format is its issuer's
# documentation or prefix; gitleaks and GitHub's secret scanning list the same ones.
_FORMATS = (
    r"sk-[A-Za-z0-9_-]{8,}",  # OpenAI, Anthropic (sk-ant-), OpenRouter (sk-or-), DeepSeek
    r"gh[pousr]_[A-Za-z0-9]{20,}",
    r"github_pat_[A-Za-z0-9_]{20,}",
    r"AIza[A-Za-z0-9_-]{30,}",  # Google
    r"A(?:KIA|SIA)[A-Z0-9]{16}",  # AWS
    r"xox[abeprs]-[A-Za-z0-9-]{10,}",  # Slack
    r"hf_[A-Za-z0-9]{20,}",
    r"gsk_[A-Za-z0-9]{20,}",  # Groq
    r"xai-[A-Za-z0-9]{20,}",
    r"pplx-[A-Za-z0-9]{20,}",
    r"r8_[A-Za-z0-9]{20,}",  # Replicate
    r"fw_[A-Za-z0-9]{20,}",  # Fireworks
    r"glpat-[A-Za-z0-9_-]{20,}",  # GitLab
    r"[rs]k_(?:live|test)_[A-Za-z0-9]{16,}",  # Stripe
    r"npm_[A-Za-z0-9]{36}",
    r"pypi-AgE[A-Za-z0-9_-]{40,}",
    r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*",  # JSON web tokens
)
# A private key as text (RFC 7468; OpenSSH and OpenPGP write theirs alike), from its first line to its last: also with
# its line breaks spelt out, as in JSON. Of one that is cut off the lines that are there; the first line alone is prose.
_KEY_KIND = r"(?:[A-Z0-9]{1,20} ){0,4}PRIVATE KEY(?: BLOCK)?-----"
_PEM_HEAD, _PEM_FOOT, _PEM_BREAK = f"-----BEGIN {_KEY_KIND}", f"-----END {_KEY_KIND}", r"(?:\s|\\[nrt\\])"
_PEM = (
    rf"{_PEM_HEAD}(?:(?:(?!-----)[\s\S]){{0,32768}}?{_PEM_FOOT}"
    rf"|(?:{_PEM_BREAK}+[A-Za-z-]{{1,40}}: [^\n\\]{{1,200}})*(?:{_PEM_BREAK}*[A-Za-z0-9+/=]{{16,}})+)"
)
# What stands before a secret of no format of its own: kept, to say what was there.
_KNOWN = re.compile(
    r"(?<![A-Za-z0-9_-])(?:" + "|".join(_FORMATS) + ")"
    rf"|{_PEM}"
    r"|(?<![A-Za-z0-9])(?P<scheme>[Bb]earer\s{1,4})(?=[A-Za-z0-9._~+/=-]{0,4096}\d)[A-Za-z0-9._~+/=-]{8,4096}"
    r"|(?P<user>://[^\s/:@'\"<>*]{0,256}:)[^\s/@'\"<>]{1,256}(?=@)"
)


def redact(text: str) -> str:
    """`text` with every secret replaced by ***.

    Secrets are the values of environment variables whose names say so (KEY, TOKEN, SECRET, PASSWORD, CREDENTIAL), and
    what has the form of a well-known key, of a private key in PEM, of a bearer token or of a password in an address;
    and what the patterns of the setting `redact` match. Applying it twice changes nothing more, as far as those
    patterns allow.
    """
    text = patterns.masked(text, MASK)
    values = _secret_values(os.environ.items())
    while True:
        masked = _any_of(values).sub(MASK, text) if values else text
        masked = _KNOWN.sub(_masked, masked)
        if masked == text:
            return text
        text = masked  # once more: a key that stood right behind another one begins a word only now


def settled(text: str) -> int:
    """How many characters of `text` no secret can have begun in that more text would complete: what comes in pieces is
    redacted and passed on up to there, and the rest is kept until it goes on.

    >>> settled("It is sk-ab"), settled("It is on"), settled("on, ")
    (6, 6, 4)
    """
    values = _secret_values(os.environ.items())
    begun = (len(text) - _begun(value, text) for value in values)
    end = min(_settled_by_form(text), *begun, patterns.settled(text))
    known = [_KNOWN, *([_any_of(values)] if values else [])]
    while cut := [
        match.start() for form in known for match in form.finditer(text) if match.start() < end < match.end()
    ]:
        end = min(cut)
    return end if len(text) - end <= _LONGEST else len(text)


def _settled_by_form(text: str) -> int:
    """As `settled`, for what has a well-known form."""
    end = len(text.rstrip(_KEY_CHARACTERS))
    if scheme := _SCHEME.search(text, max(0, end - 16), end):
        end = scheme.start()
    if (pem := _PEM_BEGUN.search(text)) is not None:
        end = min(end, pem.start())
    address = text.rfind("://")
    if address >= 0 and _PASSWORD.fullmatch(text, address):
        end = min(end, address)
    return min(end, text.rindex(":")) if text.endswith((":", ":/")) else end


def _begun(value: str, text: str) -> int:
    """How many characters of `value`, but not all, `text` ends with."""
    longest = min(len(value) - 1, len(text))
    return next((count for count in range(longest, 0, -1) if text.endswith(value[:count])), 0)


_KEY_CHARACTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~+/="
_SCHEME = re.compile(r"(?<![A-Za-z0-9])[Bb]earer\s{1,4}\Z")
_PASSWORD = re.compile(r"://[^\s/:@'\"<>*]{0,256}(?::[^\s/@'\"<>]{0,256})?")
_PEM_BEGUN = re.compile(rf"(?:{_PEM_HEAD}(?:(?!{_PEM_FOOT})[\s\S])*|-----BEGIN [A-Z0-9 ]{{0,100}}-{{0,4}})\Z")
_LONGEST = 8192


def redact_data(value: Any, names: Container[str] = ()) -> Any:
    """JSON data with each of its texts redacted, keys too: JSON's escapes would hide a password with a quote in it.

    names: keys that stay whatever a pattern says of them, for who reads the data looks for them."""
    # All at once first, which is far cheaper, and finds nothing nearly always.
    text = "\n".join(_texts(value))
    return _redacted(value, names) if redact(text) != text else value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in (*value, *value.values()) if isinstance(value, dict) else value:
            yield from _texts(part)


def _redacted(value: Any, names: Container[str]) -> Any:
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        keys = (name if name in names else redact(str(name)) for name in value)
        return {key: _redacted(part, names) for key, part in zip(keys, value.values(), strict=True)}
    return [_redacted(part, names) for part in value] if isinstance(value, list | tuple) else value


def _masked(match: re.Match[str]) -> str:
    return (match["scheme"] or match["user"] or "") + MASK


def _secret_values(environment: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The secret values of an environment, longest first, so that one that contains another goes as a whole."""
    values = {value.strip() for name, value in environment if _SECRET_NAME.search(name)}
    return tuple(sorted((value for value in values if _is_secret(value)), key=lambda value: (-len(value), value)))


def _is_secret(value: str) -> bool:
    return len(value) >= _SHORTEST and not _HARMLESS.fullmatch(value)


@lru_cache(maxsize=8)
def _any_of(values: tuple[str, ...]) -> re.Pattern[str]:
    """Compiled once per environment."""
    return re.compile("|".join(map(re.escape, values)))
