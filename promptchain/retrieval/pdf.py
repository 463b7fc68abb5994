"""PDF → a block a page, by pypdf (https://pypdf.readthedocs.io), which is imported when there is a PDF."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from promptchain.errors import PromptChainError, Where
from promptchain.retrieval.texts import Block, LeftOut, Reading, clean

INSTALL = "pip install 'promptchain[rag]'"


def pages(reading: Reading) -> Iterator[Block]:
    """The pages that have text. Raises LeftOut for what cannot be read, PromptChainError where pypdf is wanting."""
    try:
        import pypdf
        from pypdf.errors import DependencyError
    except ImportError:
        message = "to read a PDF the package pypdf is needed"
        raise PromptChainError(message, hint=INSTALL, where=Where(reading.name)) from None
    data = reading.data()
    empty = True
    with _quiet():
        try:
            file = pypdf.PdfReader(io.BytesIO(data))
            if file.is_encrypted and not file.decrypt(""):
                raise LeftOut("is a PDF with a password")
            title = _title(file) or reading.stem
            for number, page in enumerate(file.pages, 1):
                text = clean(page.extract_text()).strip()
                if text:
                    empty = False
                    yield Block(text, title, number, {"page": number}, marks=((0, number),))
        except (LeftOut, MemoryError):
            raise
        except DependencyError as exc:
            raise LeftOut("is a PDF with an encryption that needs the package cryptography") from exc
        except Exception as exc:  # of a broken file pypdf raises whatever it stumbles on
            raise LeftOut("is no PDF that can be read") from exc
    if empty:
        raise LeftOut("is a PDF without text (scanned?)")


def _title(file: Any) -> str | None:
    title = file.metadata and file.metadata.title
    return clean(title).strip() if isinstance(title, str) else None


@contextmanager
def _quiet() -> Iterator[None]:
    """What pypdf logs of a file that it mends is not for the terminal."""
    logger = logging.getLogger("pypdf")
    before = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        logger.setLevel(before)
