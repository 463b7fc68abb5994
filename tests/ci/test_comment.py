"""The one comment: found again, in whatever company, and written past a server that refuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from promptchain.ci.comment import mark, put
from promptchain.ci.rest import Api, ApiError
from tests.fake_github import GitHub, Refusal

REPO = "team/bank"


@pytest.fixture
def server() -> Iterator[GitHub]:
    with GitHub() as github:
        yield github


class Waits(list[float]):
    """What was slept, in place of sleeping."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


def api(server: GitHub, waits: Waits | None = None) -> Api:
    return Api(server.url, "t0ken", sleep=Waits() if waits is None else waits)


def test_it_is_made_once_and_then_updated(server: GitHub) -> None:
    first = put(api(server), REPO, 7, "", "one")
    assert first == put(api(server), REPO, 7, "", "two") == "https://github.example/team/bank/pull/7#issuecomment-1"
    assert server.bodies() == ["<!-- promptchain -->\ntwo"]
    assert {asked.token for asked in server.requests} == {"Bearer t0ken"}


def test_it_is_found_on_a_later_page(server: GitHub) -> None:
    for number in range(150):
        server.add(f"chat {number}")
    server.add(f"{mark('')}\nold")
    for number in range(100):
        server.add(f"more chat {number}")
    put(api(server), REPO, 7, "", "new")
    assert len(server.comments) == 251
    assert server.comments[150]["body"].endswith("new")


def test_another_job_and_another_pull_request_have_their_own(server: GitHub) -> None:
    put(api(server), REPO, 7, "", "a")
    put(api(server), REPO, 7, "The Bank --> x", "b")
    put(api(server), REPO, 8, "", "c")
    assert server.bodies() == [f"{mark('')}\na", "<!-- promptchain:the-bank-x -->\nb", f"{mark('')}\nc"]


def test_a_stranger_cannot_offer_theirs_in_its_place(server: GitHub) -> None:
    server.add(f"{mark('')}\nAll is well", user={"type": "User", "login": "mallory"}, association="CONTRIBUTOR")
    server.add(f"> {mark('')}\nquoted by a member", user={"type": "User"}, association="MEMBER")
    put(api(server), REPO, 7, "", "true")
    assert server.bodies()[2] == f"{mark('')}\ntrue"
    assert len(server.comments) == 3


def test_a_member_with_a_token_of_their_own_may_have_written_it(server: GitHub) -> None:
    server.add(f"{mark('')}\nold", user={"type": "User"}, association="MEMBER")
    put(api(server), REPO, 7, "", "new")
    assert len(server.comments) == 1


def test_where_there_is_nothing_to_say_none_is_made_but_an_old_one_is_updated(server: GitHub) -> None:
    assert put(api(server), REPO, 7, "", "fine", make=False) is None
    assert not server.comments
    server.add(f"{mark('')}\nold")
    assert put(api(server), REPO, 7, "", "fine", make=False)
    assert server.bodies() == [f"{mark('')}\nfine"]


@pytest.mark.parametrize(
    ("refusal", "waited"),
    [
        (Refusal(403, {"Retry-After": "7"}), 7.0),
        (Refusal(429, {"Retry-After": "3"}), 3.0),
        (Refusal(403, message="You have exceeded a secondary rate limit"), 60.0),
        (Refusal(403, {"Retry-After": "soon"}), 60.0),
        (Refusal(502, body=b"<html>"), 1.0),
        (Refusal(500), 1.0),
    ],
)
@pytest.mark.parametrize("at", [0, 1])
def test_it_waits_as_long_as_it_is_asked_to(server: GitHub, refusal: Refusal, waited: float, at: int) -> None:
    waits = Waits()
    server.refusals = [None] * at + [refusal]
    put(api(server, waits), REPO, 7, "", "text")
    assert waits == [waited]
    assert server.bodies() == [f"{mark('')}\ntext"]


def test_a_limit_that_says_when_it_ends_is_waited_for(server: GitHub) -> None:
    waits = Waits()
    server.refusals = [Refusal(403, {"x-ratelimit-remaining": "0", "x-ratelimit-reset": "1"})]
    put(api(server, waits), REPO, 7, "", "text")
    assert waits == [1.0]


def test_an_answer_that_was_lost_is_not_written_twice(server: GitHub) -> None:
    server.refusals = [None, Refusal(504, done=True)]
    put(api(server), REPO, 7, "", "text")
    assert server.bodies() == [f"{mark('')}\ntext"]


def test_its_patience_ends(server: GitHub) -> None:
    waits = Waits()
    server.always = Refusal(403, {"Retry-After": "3600"})
    with pytest.raises(ApiError, match="limits requests"):
        put(api(server, waits), REPO, 7, "", "text")
    assert not waits
    server.always = Refusal(403, {"Retry-After": "40"})
    with pytest.raises(ApiError):
        put(api(server, waits), REPO, 7, "", "text")
    assert waits == [40, 40]
    server.always = Refusal(503)
    with pytest.raises(ApiError, match="failed"):
        put(api(server), REPO, 7, "", "text")


def test_no_permission_is_told_with_what_gives_it(server: GitHub) -> None:
    server.refusals = [None, Refusal(403, message="Resource not accessible by integration")]
    with pytest.raises(ApiError, match=r"403: Resource not accessible") as caught:
        put(api(server), REPO, 7, "", "text")
    assert caught.value.hint == "the job needs `permissions: {pull-requests: write}`"
    assert len(server.requests) == 2


def test_one_that_is_deleted_meanwhile_is_made_anew(server: GitHub) -> None:
    server.add(f"{mark('')}\nold")
    server.refusals = [None, Refusal(404, message="Not Found")]
    put(api(server), REPO, 7, "", "text")
    assert server.bodies() == [f"{mark('')}\nold", f"{mark('')}\ntext"]


def test_the_token_goes_to_no_other_host(server: GitHub) -> None:
    with GitHub() as elsewhere:
        server.refusals = [Refusal(302, {"Location": f"{elsewhere.url}/repos/team/bank/issues/7/comments"})]
        with pytest.raises(ApiError, match="302"):
            put(api(server), REPO, 7, "", "text")
        assert not elsewhere.requests


@pytest.mark.parametrize("body", [b"", b"{", b"{}", b'[1, null, {}, {"id": "x", "body": 3}]'])
def test_answers_that_are_no_comments(server: GitHub, body: bytes) -> None:
    server.refusals = [Refusal(200, body=body)]
    if body.startswith(b"["):
        assert put(api(server), REPO, 7, "", "text")
    else:
        with pytest.raises(ApiError, match="GitHub's API gave no"):
            put(api(server), REPO, 7, "", "text")


@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "nonsense", "file:///etc"])
def test_a_server_that_is_not_there(url: str) -> None:
    waits = Waits()
    with pytest.raises(ApiError, match=r"cannot be reached|gave no answer"):
        put(Api(url, "t0ken", sleep=waits), REPO, 7, "", "text")
    assert sum(waits) < 10
