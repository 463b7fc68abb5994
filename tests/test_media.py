"""Images and files: marks in a rendered text, what is sent of them, and what people see."""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptchain import markers, media, template
from promptchain.errors import PromptChainError
from promptchain.lm.protocol import PLACE, Media, Message, ToolCall

PNG = b"\x89PNG\r\n\x1a\n" + bytes(40)
URI = "data:image/png;base64," + b64encode(PNG).decode()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    folder.mkdir()
    return folder


def refusal(one: Media, root: Path) -> PromptChainError:
    with pytest.raises(PromptChainError) as caught:
        media.loaded(one, root)
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 300
    return caught.value


# marks


def test_a_rendered_text_comes_apart_at_its_marks() -> None:
    text = template.parse("Look: {{ photo | image }} and {{ paper | file }}!").render(
        {"photo": "in/receipt.png", "paper": "https://example.com/a%20b.pdf?x=1"}
    )
    assert media.split(text) == (
        f"Look: {PLACE} and {PLACE}!",
        (
            Media("image", "in/receipt.png", "receipt.png"),
            Media("file", "https://example.com/a%20b.pdf?x=1", "a b.pdf"),
        ),
    )


@given(st.text(), st.text(), st.sampled_from(["image", "file"]))
def test_no_text_brings_in_a_mark_of_its_own(before: str, after: str, kind: markers.Kind) -> None:
    forged = f"{markers.OPEN}{'0' * 32}:{kind}:secret.png{markers.CLOSE}"
    assert media.split(before + forged + after) == (before + forged + after, ())
    content, found = media.split(before + markers.OPEN + media.marked("a.png", kind) + forged + after)
    assert found == (Media(kind, "a.png", "a.png"),)
    assert content.count(PLACE) == 1, "and no text has a place of its own"


def test_a_mark_is_for_its_own_reference_and_kind_only() -> None:
    mark = media.marked("a.png", "image")
    assert media.split(mark.replace("a.png", "b.png"))[1] == ()
    assert media.split(mark.replace("image", "file"))[1] == ()
    assert media.split(mark.upper())[1] == ()


def test_a_text_without_media_stays_as_it_is() -> None:
    assert media.split(f"copied {PLACE} from a page") == (f"copied {PLACE} from a page", ())


@pytest.mark.parametrize("value", [None, "", "  ", 3, ["a.png"], {"a": 1}, "two\nlines", "x" * 5000, markers.OPEN])
def test_what_is_no_reference_is_a_fault_of_the_template(value: object) -> None:
    with pytest.raises(template.TemplateFault, match="'image' takes an address, a path or a data: URI"):
        template.parse("a {{ v | image }}").render({"v": value})


def test_what_is_not_given_is_a_fault_of_the_template() -> None:
    with pytest.raises(template.TemplateFault, match="'photo' has no value here"):
        template.parse("{{ photo | image }}").render({})
    with pytest.raises(template.TemplateFault, match=r"put it in \{% if … %\}"):
        template.parse("{{ photo | file }}").render({"photo": None})


def test_a_large_image_has_room_where_a_large_text_has_none() -> None:
    uri = "data:image/png;base64," + "A" * (25 * 1024 * 1024)
    for text in (
        "{{ v | image }}",
        "see {{ v | image }} there",
        "{{ 'see ' ~ (v | image) }}",
        "{{ [v|image] | join }}",
    ):
        (found,) = media.split(template.parse(text).render({"v": uri}))[1]
        assert found.url == uri
    with pytest.raises(template.TemplateFault, match="grows too long"):
        template.parse("see {{ v | string }} there").render({"v": uri})
    with pytest.raises(template.TemplateFault, match="grows too long"):
        template.parse("{% for i in range(9) %}{{ v | image }}{% endfor %}").render({"v": uri})


# what is sent


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"GIF89a1", "image/gif"),
        (b"RIFF1234WEBPVP8 ", "image/webp"),
        (b"\0\0\0\x18ftypheic", "image/heic"),
    ],
)
def test_an_image_is_known_by_its_first_bytes(content: bytes, kind: str, root: Path) -> None:
    (root / "x.txt").write_bytes(content)
    sent = media.loaded(Media("image", "x.txt"), root)
    assert sent == Media("image", f"data:{kind};base64,{b64encode(content).decode()}", "x.txt")


def test_a_file_has_the_type_of_its_beginning_or_its_name_or_is_text(root: Path) -> None:
    for name, content, kind in [
        ("a.bin", b"%PDF-1.7", "application/pdf"),
        ("a.csv", b"x,y", "text/csv"),
        ("notes", "Zoë".encode(), "text/plain"),
        ("blob", b"\xff\0", "application/octet-stream"),
    ]:
        (root / name).write_bytes(content)
        head, _, body = media.loaded(Media("file", name), root).url.partition(",")
        assert (head, b64decode(body)) == (f"data:{kind};base64", content)


def test_what_cannot_be_sent_says_why(root: Path) -> None:
    (root / "empty.png").touch()
    (root / "folder").mkdir()
    (root / "text.png").write_text("hello")
    (root / ".env").write_text("KEY=1")
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("x")
    (root.parent / "outside.png").write_bytes(PNG)
    (root / "link.png").symlink_to(root.parent / "outside.png")
    (root / "shown").symlink_to(root / ".env")
    (root / "loop").symlink_to(root / "loop")
    os.mkfifo(root / "pipe")
    with (root / "large.png").open("wb") as file:
        file.write(PNG)
        file.truncate(media.MAX_BYTES + 1)
    for reference, message in [
        ("none.png", "there is no such file"),
        ("empty.png", "is empty"),
        ("folder", "this is a folder"),
        ("pipe", "a device or a pipe"),
        ("text.png", "is no image (PNG, JPEG"),
        ("large.png", "more than the 20 MiB"),
        ("../outside.png", "is not within the project's folder"),
        (str(root.parent / "outside.png"), "is not within"),
        ("link.png", "is not within"),
        ("file:///etc/passwd", "is of a kind that is not read"),
        ("ftp://example.com/x.png", "is of a kind that is not read"),
        ("http://", "is no address"),
        ("https://example.com:x/a.png", "is no address"),
        ("loop", "the image 'loop'"),
        ("a\0b", "the image"),
    ]:
        assert message in refusal(Media("image", reference), root).message, reference
        assert refusal(Media("image", reference), root).hint, reference
    for reference in (".env", ".git/config", "shown", "folder/../.env"):
        assert "hidden" in refusal(Media("file", reference), root).message, reference


def test_a_path_of_the_project_s_own_may_be_whole_or_go_through_links(root: Path, tmp_path: Path) -> None:
    (root / "a.png").write_bytes(PNG)
    (root / "b.png").symlink_to("a.png")
    (tmp_path / "way").symlink_to(root)
    for reference in (str(root / "a.png"), "b.png", "./a.png"):
        assert media.loaded(Media("image", reference), tmp_path / "way").url == URI


def test_a_data_uri_is_brought_into_the_form_that_providers_take(root: Path) -> None:
    named = URI.replace(";base64", ";name=my%20photo.png;base64")
    _, (one,) = media.split(media.marked(named, "image"))
    assert one.name == "my photo.png"
    assert media.loaded(one, root) == Media("image", URI, "my photo.png")
    plain = media.loaded(Media("file", "data:,A%20b"), root)
    assert plain.url == "data:text/plain;base64," + b64encode(b"A b").decode()
    assert media.loaded(Media("image", URI.replace("base64,", "base64,\n").rstrip("=")), root).url == URI


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("data:image/png;base64", "is no data: URI"),
        ("data:what,x", "is no data: URI"),
        ("data:image/png;base64,@@@@", "is not in base64"),
        ("data:image/png;base64,A", "is not in base64"),
        ("data:image/png;base64,", "is empty"),
        ("data:text/plain,hello", "a data: URI of text/plain is no image"),
    ],
)
def test_a_data_uri_that_is_none(uri: str, message: str, root: Path) -> None:
    assert message in refusal(Media("image", uri), root).message


def test_a_data_uri_that_is_too_large(root: Path) -> None:
    uri = "data:image/png;base64," + "A" * (media.MAX_BYTES * 4 // 3 + 8)
    assert "more than the 20 MiB" in refusal(Media("image", uri), root).message
    with pytest.raises(PromptChainError, match=r"the file 'a\.png' has"):
        media.data_uri(bytes(media.MAX_BYTES + 1), "a.png")


@given(st.text(max_size=60), st.sampled_from(["image", "file"]))
def test_any_reference_is_sent_or_refused(reference: str, kind: markers.Kind) -> None:
    root = Path(__file__).parent
    for text in (reference, f"data:{reference}", f"https:{reference}"):
        try:
            sent = media.loaded(Media(kind, text), root)
        except PromptChainError:
            continue
        assert sent.url.lower().startswith(("data:", "http"))


# for people


def test_what_people_see() -> None:
    assert media.shown(Media("image", URI, "receipt.png")) == "[image receipt.png, 48 bytes]"
    assert media.shown(Media("file", "data:application/pdf;base64," + "A" * 45_336)) == "[file, 34 kB]"
    assert media.shown(Media("file", "data:text/plain," + "a" * 1_250_000)) == "[file, 1.2 MB]"
    assert media.shown(Media("image", "https://example.com/", "")) == "[image 'https://example.com/']"
    assert media.shown(Media("image", "in/receipt.png", "receipt.png")) == "[image receipt.png]"


def test_a_message_for_people_has_its_media_and_calls() -> None:
    photo = Media("image", "a.png", "a.png")
    assert media.as_text(Message("user", f"see {PLACE}, or {PLACE}", (photo, photo))) == (
        "see [image a.png], or [image a.png]"
    )
    assert media.as_text(Message("user", f"copied {PLACE}")) == f"copied {PLACE}"
    assert media.as_text(Message("user", "no place", (photo,))) == "no place[image a.png]"
    calls = (ToolCall("1", "lookup", '{"item": "tea"}'), ToolCall("2", "now", ""))
    assert media.as_text(Message("assistant", "", tool_calls=calls)) == '→ lookup({"item": "tea"})\n→ now()'
    assert media.as_text(Message("assistant", "wait", tool_calls=calls[1:])) == "wait\n→ now()"
    assert media.as_text(Message("tool", "3 EUR", tool_call_id="1")) == "3 EUR"
