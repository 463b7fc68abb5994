"""The command line: parse, call `project`, print. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import gc
import os
import signal
import sys
from contextlib import suppress
from io import TextIOWrapper

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it (128 + SIGINT)."""


def main() -> None:
    """Entry point of `chain` and `promptchain`."""
    # Importing makes many objects and hardly any garbage, and no pydantic plugin has a say in our files.
    gc.set_threshold(100_000, 20, 20)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        _take_debug(sys.argv)
        _open_closed_streams()
        _heed_locale()
        if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
            signal.signal(signal.SIGTERM, signal.default_int_handler)  # a polite kill ends like Ctrl-C: with records
        from promptchain.cli.app import app

        if "_CHAIN_COMPLETE" in os.environ or "_PROMPTCHAIN_COMPLETE" in os.environ:
            from promptchain.cli.completing import answer

            answer(app)
        app()
    except KeyboardInterrupt:  # before a command began
        _leave(INTERRUPTED)
    except OSError as exc:  # while --help was written, say
        from promptchain.cli.output import note

        note(f"error: {exc.strerror or exc}: {exc.filename or 'standard output'}")
        _leave(1)
    except SystemExit as exc:
        _leave(exc.code if isinstance(exc.code, int) else 0)


def _take_debug(argv: list[str]) -> None:
    """Take --debug from before a bare `--`, wherever it stands: users put it last."""
    end = argv.index("--") if "--" in argv else len(argv)
    if "--debug" in argv[1:end]:
        os.environ["PROMPTCHAIN_DEBUG"] = "1"
        argv[1:end] = [word for word in argv[1:end] if word != "--debug"]


def _open_closed_streams() -> None:
    """Python has None for a stream that the shell closed (`>&-`); what goes there is lost, and no more."""
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115, PTH123 - for as long as we run
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115, PTH123


def _heed_locale() -> None:
    """Python writes UTF-8 where the locale is C (PEP 540), for most terminals take it; one whose user says LC_ALL=C may
    not. In a pipe it is data, and stays UTF-8."""
    said = next((os.environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if os.environ.get(name)), "")
    if said in ("C", "POSIX") and not os.environ.get("PYTHONIOENCODING"):
        from promptchain.cli import output  # noqa: F401 - which says how characters are spelt

        for stream in (sys.stdout, sys.stderr):
            if stream.isatty() and isinstance(stream, TextIOWrapper):
                stream.reconfigure(encoding="ascii", errors="promptchain")


def _leave(code: int) -> None:
    """End at once: the records are written, and neither a thread that hangs in the network nor another Ctrl-C in the
    middle of Python's own shutdown shall be heard of; nor does a user wait for that shutdown."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)
