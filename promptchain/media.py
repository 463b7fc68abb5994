"""Images and files in messages: from the marks of a rendered text to what a model is sent, and to words for people."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from dataclasses import replace
from itertools import chain, zip_longest
from mimetypes import guess_type
from pathlib import Path
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

from promptchain import markers
from promptchain.document import read_bytes
from promptchain.errors import PromptChainError
from promptchain.lm.protocol import PLACE, Capabilities, Media, Message, Request
from promptchain.markers import marked

__all__ = ["MAX_BYTES", "as_text", "data_uri", "is_binary", "loaded", "loaded_in", "marked", "shown", "split"]

MAX_BYTES = 20 * 1024 * 1024
"""Of one image or file; the providers' own limits are between 5 and 50 MB."""

# How files of these types begin, each after its format's specification. WebP, HEIC and AVIF say it from the fourth
# byte of their container on.
_BEGINNINGS = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF87a": "image/gif",
    b"GIF89a": "image/gif",
    b"II*\0": "image/tiff",
    b"MM\0*": "image/tiff",
    b"%PDF-": "application/pdf",
}
_BRANDS = {b"heic": "image/heic", b"heix": "image/heic", b"mif1": "image/heif", b"avif": "image/avif"}
_IMAGES = "PNG, JPEG, GIF, WebP, TIFF, HEIC or AVIF"
_PATHS = "paths count from the project's folder"
_HEAD = re.compile(r"data:([\w.+-]+/[\w.+-]+)?((?:;[\w.-]+=[^;,]*)*)(;base64)?", re.IGNORECASE)


def split(text: str) -> tuple[str, tuple[Media, ...]]:
    """A rendered text as a message's content, with `PLACE` for each mark, and the media that stand there, in order.

    A `PLACE` that the text itself has gives way where there are media, for it would be taken for one of theirs.
    """
    parts: list[str] = []
    media: list[Media] = []
    for piece in markers.pieces(text):
        if isinstance(piece, str):
            parts.append(piece)
        else:
            media.append(Media(*piece, name=_name_of(piece[1])))
    if not media:
        return text, ()
    return PLACE.join(part.replace(PLACE, "\ufffd") for part in parts), tuple(media)


def loaded(media: Media, root: Path) -> Media:
    """The media as it is sent: a file within `root` as a data: URI of its content, a data: URI in base64, and an
    address as it is.

    Hidden files, and what lies outside of `root` once links are followed, are not read: a path may have come from
    anywhere. Raises PromptChainError.
    """
    reference, told = media.url, f"{media.kind} {_cut(media.url)}"
    if reference[:5].lower() == "data:":
        url = _normal(reference, media.kind)
    elif re.match(r"https?:", reference, re.IGNORECASE):
        if not _is_address(reference):
            raise PromptChainError(f"the {told} is no address", hint="write it like https://example.com/receipt.png")
        url = reference
    elif re.match(r"[a-z][a-z0-9+.-]+:", reference, re.IGNORECASE):
        hint = "give an http(s) address, a path within the project or a data: URI"
        raise PromptChainError(f"the {told} is of a kind that is not read", hint=hint)
    else:
        url = _from_file(reference, media.kind, root)
    return Media(media.kind, url, media.name or _name_of(reference))


def loaded_in(request: Request, able: Capabilities, root: Path) -> Request:
    """The request with its media as they are sent: see `loaded`. able: what the model takes.

    Raises PromptChainError."""
    if not any(message.media for message in request.messages):
        return request
    for kind, takes in (("image", able.images), ("file", able.files)):
        if takes is False and any(one.kind == kind for message in request.messages for one in message.media):
            hint = "name a model that does, for example with --model"
            raise PromptChainError(f"the model {request.model} takes no {kind}s", hint=hint)
    messages = (
        replace(message, media=tuple(loaded(one, root) for one in message.media)) for message in request.messages
    )
    return replace(request, messages=tuple(messages))


def data_uri(data: bytes, name: str = "") -> str:
    """The content of a file with its type, by what it begins with or else by its name, which goes along (RFC 2397).
    Raises PromptChainError where it is too large or empty."""
    if len(data) > MAX_BYTES:
        raise PromptChainError(_too_large(len(data), name), hint="make it smaller, or give an http(s) address")
    if not data:
        raise PromptChainError(f"the file '{name}' is empty" if name else "the file is empty")
    named = f";name={quote(name, safe='')}" if name else ""
    return f"data:{_type_of(data, name)}{named};base64,{b64encode(data).decode()}"


def is_binary(data: bytes) -> bool:
    """Whether a file is no text: it begins as images and PDFs do, or has a zero byte and is not UTF-8. What is neither
    is a text in another encoding, as UTF-16 is by its byte-order mark."""
    if _by_beginning(data):
        return True
    return b"\0" in data and not data.startswith((b"\xff\xfe", b"\xfe\xff")) and not _is_utf8(data)


def shown(media: Media) -> str:
    """For people: `[image receipt.png, 34 kB]`, with what is known of name and size."""
    name = media.name or ("" if media.url[:5].lower() == "data:" else _cut(media.url))
    size = ""
    if media.url[:5].lower() == "data:":
        size = f", {_size(_decoded_length(media.url))}"
    return f"[{media.kind}{' ' if name else ''}{name}{size}]"


def as_text(message: Message) -> str:
    """A message for people: its media in their places, and the tools that it calls, a line each."""
    parts = message.content.split(PLACE, len(message.media)) if message.media else [message.content]
    places = [shown(one) for one in message.media]
    text = "".join(chain.from_iterable(zip_longest(parts, places, fillvalue="")))
    calls = [f"→ {call.name}({call.arguments})" for call in message.tool_calls]
    return "\n".join([*([text] if text or not calls else []), *calls])


def _from_file(reference: str, kind: str, root: Path) -> str:
    told = f"the {kind} {_cut(reference)}"
    try:
        base = root.resolve()
        path = (base / reference).resolve()
        inside = path.relative_to(base) if path.is_relative_to(base) else None
    except (OSError, ValueError, RuntimeError) as exc:  # a loop of links, a name that no file can have
        reason = getattr(exc, "strerror", None) or str(exc).partition(" from ")[0]  # it names the whole path
        raise PromptChainError(f"{told} cannot be read: {reason}", hint=_PATHS) from None
    if inside is None:
        hint = "move it there, or give it as -i NAME=@FILE"
        raise PromptChainError(f"{told} is not within the project's folder", hint=hint)
    if any(part.startswith(".") for part in (*inside.parts, *Path(reference).parts) if part not in (".", "..")):
        raise PromptChainError(f"{told} is hidden, and hidden files are not sent", hint="give it another name")
    try:
        data = read_bytes(path, reference, MAX_BYTES, "make it smaller, or give an http(s) address")
    except PromptChainError as exc:
        raise PromptChainError(f"{told}: {exc.message}", hint=exc.hint or _PATHS) from None
    if not data:
        raise PromptChainError(f"{told} is empty", hint="give one with content")
    if kind == "image" and not (_by_beginning(data) or "").startswith("image/"):
        hint = "use the filter `file` for anything else"
        raise PromptChainError(f"{told} is no image ({_IMAGES})", hint=hint)
    return f"data:{_type_of(data, path.name)};base64,{b64encode(data).decode()}"


def _normal(uri: str, kind: str) -> str:
    """The same data: URI as providers take it: in base64, with no parameters. Raises PromptChainError."""
    head, comma, body = uri.partition(",")
    found = _HEAD.fullmatch(head)
    if found is None or not comma:
        hint = "write it like data:image/png;base64,…"
        raise PromptChainError(f"{_cut(uri)} is no data: URI ({kind})", hint=hint)
    try:
        packed = "".join(unquote(body).split()) if found[3] else ""
        data = b64decode(packed + "=" * (-len(packed) % 4), validate=True) if found[3] else unquote_to_bytes(body)
    except ValueError:
        raise PromptChainError(f"the data: URI {_cut(uri)} is not in base64") from None
    if not data:
        raise PromptChainError(f"the data: URI of the {kind} is empty")
    if len(data) > MAX_BYTES:
        raise PromptChainError(_too_large(len(data), ""), hint="make it smaller, or give an http(s) address")
    declared = (found[1] or _type_of(data, "")).lower()
    if kind == "image" and not declared.startswith("image/"):
        raise PromptChainError(f"a data: URI of {declared} is no image", hint="use the filter `file` for anything else")
    return f"data:{declared};base64,{b64encode(data).decode()}"


def _by_beginning(data: bytes) -> str | None:
    for beginning, kind in _BEGINNINGS.items():
        if data.startswith(beginning):
            return kind
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    return _BRANDS.get(data[8:12]) if data[4:8] == b"ftyp" else None


def _type_of(data: bytes, name: str) -> str:
    known = _by_beginning(data) or guess_type(name)[0]
    if known:
        return known
    return "text/plain" if _is_utf8(data) else "application/octet-stream"


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _name_of(reference: str) -> str:
    """The name of a file by its reference; empty where it has none."""
    if reference[:5].lower() == "data:":
        head = reference[: reference.find(",")] if "," in reference[:1024] else ""
        named = re.search(r";name=([^;,]*)", head)
        name = unquote(named[1]) if named else ""
    elif _is_address(reference):
        name = unquote(urlsplit(reference).path.rpartition("/")[2])
    else:
        name = Path(reference).name
    return "".join(sign if sign.isprintable() else "?" for sign in name)


def _is_address(text: str) -> bool:
    try:
        url = urlsplit(text)
        _ = url.port  # raises for one that is no number
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname) and not re.search(r"\s", text)


def _cut(reference: str, most: int = 80) -> str:
    return repr(reference if len(reference) <= most else reference[: most - 1] + "…")


def _decoded_length(uri: str) -> int:
    """Bytes of what a data: URI holds, without decoding it."""
    head, _, body = uri.partition(",")
    return len(body.rstrip("=")) * 3 // 4 if head.lower().endswith(";base64") else len(unquote_to_bytes(body))


def _size(count: int) -> str:
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1000:.0f} kB" if count < 999_500 else f"{count / 1_000_000:.1f} MB"


def _too_large(count: int, name: str) -> str:
    what = f"the file '{name}'" if name else "the file"
    return f"{what} has {count / 1024 / 1024:.1f} MiB, more than the {MAX_BYTES // 1024 // 1024} MiB that are sent"
