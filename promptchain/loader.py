"""A chain file → `Chain`: reads the YAML with its positions, and reports everything that is wrong in one go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from promptchain import checks, document, uses
from promptchain.chain import Chain, PromptStep, Text
from promptchain.document import Document
from promptchain.errors import InvalidFileError, Problem, PromptChainError, Where, known_or_nearest, nearest
from promptchain.model import describe
from promptchain.shape import Shape
from promptchain.types import TypeSyntaxError

MAX_NESTED = 20
"""How deep chains may run each other."""

_TOO_DEEP = f"chains are nested more than {MAX_NESTED} deep"

MAX_TEXT_BYTES = 4 * 1024 * 1024
"""The size of a prompt file."""


def load(path: Path, root: Path, project: Path | None = None) -> Chain:
    """Load and check the chain file at `path`, and the chains that it names, which lie beside it; prompt files must lie
    below `root`.

    project: the project's folder, where code and passages are; `root` without it. The two differ for a version, which
    has its prompts alone: it can be read where what it uses is gone, so that is left to who runs it (`trust`).
    Raises InvalidFileError with every problem found, each with its line and column.
    """
    return _load(path, root, project or root, (), {})


def _load(path: Path, root: Path, project: Path, outer: tuple[str, ...], loaded: dict[str, Chain]) -> Chain:
    """outer: the chains in which this one is a step, the outermost first. loaded: those that are loaded already."""
    name = _shown(path, root)
    try:
        source = document.read(path, name)
    except InvalidFileError:
        raise
    except PromptChainError as exc:
        raise InvalidFileError([Problem(exc.message, exc.where or Where(name), exc.hint)]) from None
    return _Loading(source, path, root, project, (*outer, path.stem), loaded).chain()


class _BrokenError(InvalidFileError):
    """deepest: the first problem itself where that is one of a chain in the chain, or in one in that."""

    def __init__(self, problems: list[Problem], deepest: Problem) -> None:
        super().__init__(problems)
        self.deepest = deepest


class _Loading:
    """One file being loaded: collects problems, so that all are reported together."""

    def __init__(
        self,
        source: Document,
        path: Path,
        root: Path,
        project: Path,
        names: tuple[str, ...],
        loaded: dict[str, Chain],
    ) -> None:
        self.source = source
        self.path = path
        self.root = root
        self.project = project
        self.names = names
        self.loaded = loaded
        self.problems: list[Problem] = []
        self.deepest: dict[Problem, Problem] = {}

    def chain(self) -> Chain:
        """The chain. Raises InvalidFileError."""
        shape = self._shape()
        if shape is not None and shape.chain is not None:
            chain = self._with_chains(self._with_files(shape.chain))
            with suppress(TypeSyntaxError):  # told of by the checks
                chain = uses.with_inputs(chain, self.project)
            folder = self.project / _shown(self.path.parent, self.root)
            faults = checks.check(chain, also=shape.steps, sure=shape.sure)
            faults += uses.check(chain, self.project, folder) if self.project == self.root else ()
            for fault in faults:
                path = shape.original(fault.path)
                self.problems.append(document.problem(fault.message, self._where(fault, path), fault.hint))
            if not self.problems:
                return chain
        problems = self._sorted()
        raise _BrokenError(problems, self.deepest.get(problems[0], problems[0]))

    def _sorted(self) -> list[Problem]:
        """Each problem once: those of the chain file by line, then those of other files."""
        unique = dict.fromkeys(self.problems)
        ordered = sorted(unique, key=lambda problem: (problem.where.file != self.source.file, _place(problem)))
        if len(ordered) > document.MAX_PROBLEMS:
            last = ordered[document.MAX_PROBLEMS - 1].where
            ordered[document.MAX_PROBLEMS :] = [
                Problem("there are more problems after this one", last, "mend these first")
            ]
        return ordered

    def _shape(self) -> Shape | None:
        value = self.source.value
        if value is None:
            hint = 'a chain needs at least: steps: {reply: {prompt: "Hello"}}'
            self._problem((), "the file is empty", hint)
        elif not isinstance(value, dict):
            hint = 'for example: steps: {reply: {prompt: "Hello"}}'
            self._problem((), f"a chain file is a mapping with the key 'steps', not {describe(value)}", hint)
        else:
            shape = Shape(self.path.stem, value)
            for fault in shape.faults:
                self._problem(fault.path, fault.message, fault.hint, key=fault.key)
            return shape
        return None

    def _with_chains(self, chain: Chain) -> Chain:
        """The chain with the chains that it names."""
        found: dict[str, Chain] = {}
        for at, name in uses.named_chains(chain):
            if name not in found and (inner := self._inner(name, at)) is not None:
                found[name] = inner
        return chain.with_chains(found)

    def _inner(self, name: str, at: document.Path_) -> Chain | None:
        if name in self.names:
            circle = " → ".join((*self.names[self.names.index(name) :], name))
            self._problem(at, f"the chain runs itself: {circle}", "break the circle at one of them")
            return None
        if (known := self.loaded.get(name)) is not None:
            if len(self.names) + known.depth <= MAX_NESTED:
                return known
            self._problem(at, _TOO_DEEP, None)
            return None
        files = {path.stem: path for path in chain_files(self.path.parent)}
        if name not in files:
            hint = known_or_nearest(checks.short(name), files.keys() - {self.path.stem}, "chains")
            if "@" in name:
                hint = "a step runs a chain as it stands beside this one, not a version"
            self._problem(at, f"there is no chain '{checks.short(name)}'", hint)
            return None
        if not files[name].resolve().is_relative_to(self.root.resolve()):
            self._problem(at, f"the chain '{name}' lies outside the project", "copy it into the project")
            return None
        if len(self.names) >= MAX_NESTED:
            self._problem(at, _TOO_DEEP, None)
            return None
        try:
            self.loaded[name] = _load(files[name], self.root, self.project, self.names, self.loaded)
        except InvalidFileError as exc:
            more = f" (and {len(exc.problems) - 1} more)" if len(exc.problems) > 1 else ""
            first = exc.deepest if isinstance(exc, _BrokenError) else exc.problems[0]
            hint = f"mend that file: chain check {name}"
            self._problem(at, f"the chain '{name}' has problems: {first}{more}", hint)
            self.deepest[self.problems[-1]] = first
            return None
        return self.loaded[name]

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
        written = (*path, "text")
        if written in self.source.values:
            hint = "write the text itself, or only {file: …}"
            self._problem(written, "unknown key 'text'", hint, key=True)
            return text
        if text.file is None:
            return text
        at = (*path, "file")
        shown = checks.short(text.file)
        target = self.path.parent / text.file
        try:
            inside = target.resolve().is_relative_to(self.root.resolve())
        except (OSError, ValueError, RuntimeError):
            self._problem(at, f"{shown!r} is no path of a file", "name a file below the chain's folder")
            return text
        if not inside:
            hint = f"copy it below {self.root.name or self.root}/ and name it from there"
            self._problem(at, f"'{shown}' lies outside the project", hint)
            return text
        try:
            content = document.read_text(target, _shown(target, self.root), MAX_TEXT_BYTES)
        except PromptChainError as exc:
            if exc.where and exc.where.line:  # in the file itself
                self.problems.append(Problem(exc.message, exc.where, exc.hint))
            else:
                self._problem(at, f"the file '{shown}': {exc.message}", _file_hint(target, exc))
            return text
        if not content.strip() and path[-1] == "prompt":
            self._problem(at, f"the file '{shown}' is empty", "write the text into it")
        return Text(text=content, file=_shown(target, self.root))

    def _where(self, fault: checks.Fault, path: document.Path_) -> Where:
        if fault.file is not None:
            return Where(fault.file, fault.line, fault.column)
        if fault.line is not None:
            # `for_each: "…"` stands for `for_each: {in: "…"}`; only what is written has a place.
            written = path if path in self.source.values else path[:-1]
            return self.source.where_in(written, fault.line, fault.word)
        return self.source.where(path, key=fault.key)

    def _problem(self, path: document.Path_, message: str, hint: str | None, *, key: bool = False) -> None:
        self.problems.append(document.problem(message, self.source.where(path, key=key), hint))


def _shown(path: Path, root: Path) -> str:
    """A path as messages show it: from the project's folder where it lies in it."""
    try:
        return path.resolve().relative_to(root.resolve()).as_posix()
    except (ValueError, OSError, RuntimeError):
        return str(path)


def _file_hint(target: Path, exc: PromptChainError) -> str | None:
    """What to do about a file that cannot be read."""
    try:
        if target.is_dir():
            return "name a file in it"
        if target.exists():
            return exc.hint and "shorten it, or retrieve from it"  # it is too large
        if not target.parent.is_dir():
            return f"the folder '{checks.short(target.parent.name)}' does not exist either"
        near = nearest(checks.short(target.name), [entry.name for entry in islice(target.parent.iterdir(), 500)])
    except OSError:  # a name that no file can have
        return None
    return near or f"its place counts from {target.parent.name}/, the folder of the chain file"


def _place(problem: Problem) -> tuple[str, int, int]:
    return (problem.where.file, problem.where.line or 0, problem.where.column or 0)


def chain_files(folder: Path) -> Iterator[Path]:
    """The chain files in a folder, by name; lock files are none."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.suffix in (".yaml", ".yml") and not path.stem.endswith(".lock") and not path.name.startswith("."):
                yield path
