"""Settings: the environment before promptchain.toml before pyproject.toml, and every mistake in words."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from promptchain import location, settings
from promptchain.errors import InvalidFileError, PromptChainError, UsageError
from promptchain.lm.secrets import redact
from promptchain.settings import Settings

IN_PYPROJECT = '[tool.promptchain]\nmodel = "from-pyproject"\nconcurrency = 2\n'


def test_the_defaults(tmp_path: Path) -> None:
    assert settings.load(tmp_path) == Settings()
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert settings.load(tmp_path) == Settings(model=None, concurrency=16, timeout=120.0)


def test_what_comes_before_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pyproject.toml").write_text(IN_PYPROJECT)
    assert settings.load(tmp_path) == Settings(model="from-pyproject", concurrency=2)
    (tmp_path / "promptchain.toml").write_text('model = "own"\nmax_cost = 1\n')
    assert settings.load(tmp_path) == Settings(model="own", max_cost=1.0)
    monkeypatch.setenv("PROMPTCHAIN_MODEL", "stands for --model")
    monkeypatch.setenv("PROMPTCHAIN_MAX_CALLS", "7")
    monkeypatch.setenv("PROMPTCHAIN_TIMEOUT", "")  # empty is not set
    monkeypatch.setenv("PROMPTCHAIN_MODELS_DIR", "/elsewhere")  # read where it is used
    assert settings.load(tmp_path) == Settings(model="own", max_cost=1.0, max_calls=7)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("concurency = 3", "unknown setting 'concurency'; did you mean 'concurrency'?"),
        ("concurrency = 0", "the setting 'concurrency' must be greater than or equal to 1, not 0"),
        ('concurrency = "many"', "the setting 'concurrency' must be a valid integer, not 'many'"),
        ("concurrency = 1.5", "the setting 'concurrency' must be a valid integer, not 1.5"),
        ("timeout = inf", "the setting 'timeout' must be a finite number, not inf"),
        ("max_cost = -1", "the setting 'max_cost' must be greater than or equal to 0, not -1"),
        ("model = 5", "the setting 'model' must be a valid string, not 5"),
        ('model = ""', "the setting 'model' "),
        ("model = ", "this is not TOML: Invalid value (at end of document)"),
        ("model = '\xff'", "this is not TOML: "),
        ("model = " + "[" * 5000, "this is "),
    ],
)
def test_a_file_that_is_wrong(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "promptchain.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidFileError) as caught:
        settings.load(tmp_path)
    assert str(caught.value).startswith(f"promptchain.toml: {message}")


@pytest.mark.parametrize("text", ["tool = 3", "[tool]\npromptchain = 3", "[[tool.promptchain]]"])
def test_a_table_that_is_none(text: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(text)
    with pytest.raises(InvalidFileError, match=r"pyproject.toml: '(tool|promptchain)' must be a table"):
        settings.load(tmp_path)


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "promptchain.toml").write_text("local_slots = 0\nfoo = 1\n")
    with pytest.raises(InvalidFileError) as caught:
        settings.load(tmp_path)
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("CONCURRENCY", "lots", "PROMPTCHAIN_CONCURRENCY must be a valid integer, not 'lots'"),
        ("MAX_COST", "nan", "PROMPTCHAIN_MAX_COST must be a finite number, not 'nan'"),
        ("LOCAL_SLOTS", "0", "PROMPTCHAIN_LOCAL_SLOTS must be greater than or equal to 1, not '0'"),
    ],
)
def test_a_variable_that_is_wrong(
    name: str, value: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "promptchain.toml").write_text("concurrency = 3")
    monkeypatch.setenv(f"PROMPTCHAIN_{name}", value)
    with pytest.raises(UsageError, match=message):
        settings.load(tmp_path)


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="root may read everything")
def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "promptchain.toml").write_text("concurrency = 3")
    (tmp_path / "promptchain.toml").chmod(0)
    with pytest.raises(PromptChainError, match=r"promptchain\.toml: cannot be read: Permission denied"):
        settings.load(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("redact = 'EMP'", "the setting 'redact' must be a list of patterns; for example [\"EMP-\\\\d{6}\"]"),
        ("redact = [1]", "the setting 'redact' must be a list of patterns"),
        ("redact = ['EMP-1', '(']", "the pattern '(' in 'redact' is not a regular expression: missing )"),
        ("redact = ['x?']", "the pattern 'x?' in 'redact' matches the empty text"),
        (f"redact = {['a'] * 101}", "the setting 'redact' has 101 patterns, and may have 100"),
    ],
)
def test_patterns_that_are_none(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "promptchain.toml").write_text(text)
    for load in (settings.load, location.store_settings):
        with pytest.raises(InvalidFileError) as caught:
            load(tmp_path)
        assert str(caught.value).startswith(f"promptchain.toml: {message}")


def test_patterns_count_once_the_settings_are_read(tmp_path: Path) -> None:
    (tmp_path / "promptchain.toml").write_text(r"redact = ['EMP-\d{6}']")
    assert redact("EMP-123456") == "EMP-123456"
    location.store_settings(tmp_path)
    assert redact("EMP-123456") == "***"
    (tmp_path / "promptchain.toml").write_text("")
    settings.load(tmp_path)
    assert redact("EMP-123456") == "EMP-123456"
