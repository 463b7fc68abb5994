import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain.lm.secrets import redact, settled
from tests.patience import at_most

SECRET = "q7Zk2mW9xP4vT1"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SERVICE_API_KEY", SECRET)


@pytest.mark.parametrize(
    "name", ["MY_KEY", "MY_TOKEN", "client_secret", "DB_PASSWORD", "X_CREDENTIALS", "GITHUB_TOKEN_2", "APIKEY"]
)
def test_values_of_secret_variables_go(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "pa55-word/xyz=")
    assert redact("before pa55-word/xyz= after") == "before *** after"


@pytest.mark.parametrize(
    "value",
    [
        "short1",
        "passphrase",
        "1234567890",
        "2026-11-23",
        "/home/me/.keys/google.json",
        "~/keys/google-1.json",
        "./google-1.json",
        "keys/google-1.json",
        "C:\\keys\\google-1",
        "https://vault.example.org/v1",
        "",
    ],
)
def test_plain_values_of_such_variables_stay(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", value)
    text = f"the value {value} stays"
    assert redact(text) == text


def test_other_variables_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITOR_SETTINGS", "w3ird-but-no-secret")
    assert redact("w3ird-but-no-secret") == "w3ird-but-no-secret"


def test_a_changed_environment_counts_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    assert redact("n3w-s3cr3t-value") == "n3w-s3cr3t-value"
    monkeypatch.setenv("NEW_TOKEN", "n3w-s3cr3t-value")
    assert redact("n3w-s3cr3t-value") == "***"


def test_the_longer_of_two_secrets_goes_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONG_TOKEN", SECRET + "-and-more-9")
    assert redact(f"{SECRET}-and-more-9 {SECRET}") == "*** ***"


@pytest.mark.parametrize(
    "key",
    [
        "sk-abcdefghijklmnop1234",
        "sk-proj-AbC_dEf-123456789",
        "sk-ant-api03-abc_def-ghi",
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "a1B2_" * 9,
        "AIza" + "SyA-b_1" * 5,
        "AKIAIOSFODNN7EXAMPLE",
        "xoxb-123456789012-abcdef",
        "hf_" + "aB3" * 11,
        "gsk_" + "aB3" * 11,
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0abc.c2lnbmF0dXJl",
    ],
)
@pytest.mark.parametrize("frame", ["{}", "key={}", '{{"key": "{}"}}', "(see {}.)", "a {}\nb"])
def test_well_known_formats_go(key: str, frame: str) -> None:
    assert redact(frame.format(key)) == frame.format("***") or key.rstrip(".") not in redact(frame.format(key))
    assert key not in redact(frame.format(key))


def test_what_stands_around_a_secret_stays() -> None:
    assert redact("Authorization: Bearer abc.def-12345") == "Authorization: Bearer ***"
    assert redact("http://me:hunter2@host:8000/v1") == "http://me:***@host:8000/v1"


BODY = "\n".join(
    ["MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj", "MzEfYyjiWA4R4/M2bS1GB4t7NXp9", "8A=="]
)
HEADED = f"Proc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,0123456789ABCDEF\n\n{BODY}"


def pem(kind: str = "RSA ", body: str = BODY, end: str = "") -> str:
    return f"-----BEGIN {kind}PRIVATE KEY{end}-----\n{body}\n-----END {kind}PRIVATE KEY{end}-----"


KEYS = [
    *(pem(kind) for kind in ("", "RSA ", "EC ", "DSA ", "OPENSSH ", "ENCRYPTED ")),
    pem(body=HEADED),
    pem("PGP ", f"Version: GnuPG v2\n\n{BODY}\n=twTO", " BLOCK"),
    pem().replace("\n", "\r\n"),
    pem().replace("\n", "\n    "),
]


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("frame", ["{}", "key: {}\nnext", '{{"key": "{}"}}', "{} and {}"])
def test_private_keys_go_from_their_first_line_to_their_last(key: str, frame: str) -> None:
    shown = frame.count("{}") * [key]
    masked = frame.format(*["***"] * len(shown))
    assert redact(frame.format(*shown)) == masked
    escaped = [json.dumps(one)[1:-1] for one in shown]
    assert redact(frame.format(*escaped)) == masked
    assert redact(frame.format(*[json.dumps(one)[1:-1] for one in escaped])) == masked


@pytest.mark.parametrize("body", [BODY, HEADED])
def test_of_a_private_key_that_is_cut_off_no_line_stays(body: str) -> None:
    begun = pem(body=body).partition("8A==")[0]
    for text in (begun, json.dumps(begun)):
        assert "MII" not in redact(text)
        assert "MzE" not in redact(text)


@pytest.mark.parametrize(
    "text", ["-----BEGIN CERTIFICATE-----\n" + BODY, "it begins with -----BEGIN PRIVATE KEY-----, and"]
)
def test_what_is_no_private_key_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("size", [1, 3, 40])
def test_a_private_key_in_pieces_is_held_back_until_it_ends(key: str, size: int) -> None:
    text = f"it is {key}, see"
    held, told = "", ""
    for at in range(0, len(text), size):
        held += text[at : at + size]
        end = settled(held)
        told, held = told + redact(held[:end]), held[end:]
    assert told + redact(held) == "it is ***, see"


@pytest.mark.parametrize(
    "text",
    [
        "a task-force-of-many, a risk-averse-approach",
        "the bearer of this letter",
        "Bearer authentication",
        "http://host:8000/v1@2",
        "mail me@example.org",
        "skeleton sk- ghp_ AIza AKIA xoxb- hf_",
        "***",
    ],
)
def test_prose_is_unchanged(text: str) -> None:
    assert redact(text) == text


# "-" and "_" are left out, for any word may follow "sk-"; so are the characters of addresses.
@given(st.text(alphabet=string.ascii_lowercase + " .,;!?\n\"'(){}äöü漢字🙂", max_size=300))
def test_text_without_secrets_is_unchanged(text: str) -> None:
    assert redact(text) == text


PARTS = st.sampled_from(
    [
        SECRET,
        "sk-abcdefgh1234",
        "AKIAIOSFODNN7EXAMPLE",
        "Bearer a1b2c3d4e5",
        "://u:p1@h",
        "***",
        "*",
        " ",
        "eyJabcdefghij.abcdefghij.x",
    ]
)


@given(st.lists(PARTS | st.text(max_size=8)).map("".join))
def test_redacting_twice_changes_nothing_more_and_leaves_no_secret(text: str) -> None:
    once = redact(text)
    assert redact(once) == once
    assert SECRET not in once


@pytest.mark.parametrize(
    "text",
    [
        "lorem ipsum dolor " * 60_000,
        "sk-" * 350_000,
        "://a:" * 200_000,
        "Bearer " + "a" * 1_000_000,
        "eyJ" * 330_000,
        "-----BEGIN PRIVATE KEY-----" + "A" * 1_000_000,
        "-----BEGIN PRIVATE KEY-----\n" * 35_000,
    ],
    ids=["prose", "prefixes", "addresses", "bearer", "tokens", "key", "keys"],
)
def test_a_megabyte_takes_well_under_a_second(text: str) -> None:
    with at_most(2):  # about 0.1 s
        redact(text)
