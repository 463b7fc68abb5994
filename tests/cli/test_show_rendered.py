"""`chain show --rendered` of steps with tools, and of steps that are no prompts."""

from __future__ import annotations

from typing import Any

import pytest

from promptchain.lm.scripted import ScriptedLM
from tests.cli.kinds_kit import shop
from tests.workspace import Workspace

GIVEN = ("-i", "question=Where is my card?", "-i", "sum=7", "-i", 'polite={"tone": "rude"}')


def rendered(workspace: Workspace, step: str, *words: str, chain: str = "shop", code: int = 0) -> dict[str, Any]:
    done = workspace.invoke("show", chain, "--rendered", "--step", step, *words, "--json")
    assert done.code == code, done
    [found] = done.json
    assert found["step"] == step
    return dict(found)


def test_a_written_call_is_in_the_messages(empty: Workspace) -> None:
    found = rendered(shop(empty), "agent", *GIVEN)
    system, user = found["messages"]
    assert "- lookup: The price of an item.\n" in system["content"]
    assert "- tone_of" in system["content"]
    assert '{"reasoning": "…", "tool": "lookup", "arguments": {…}}' in system["content"]
    assert user["content"] == 'Question: Where is my card? 7 {"tone": "rude"}'
    assert "tools" not in found


def test_what_is_shown_is_what_is_sent(empty: Workspace, asked: list[Any]) -> None:
    shop(empty)
    shown = rendered(
        empty, "agent", "-i", "question=Where is my card?", "-i", "sum=7.0", "-i", 'polite={"tone": "polite"}'
    )
    assert empty.invoke("run", "shop", "Where is my card?").code == 0
    sent = next(request for request in asked if "Question:" in request.messages[-1].content)
    assert [message.content for message in sent.messages] == [message["content"] for message in shown["messages"]]
    assert sent.schema == shown.get("schema")


def test_tools_that_a_model_calls_by_itself_are_listed(empty: Workspace) -> None:
    shop(empty)
    words = ("show", "shop", "--rendered", "--step", "agent", *GIVEN, "--model", "openai/gpt-4o-mini")
    empty.chain((empty.root / "chains/shop.yaml").read_text().partition("\n")[2], name="shop")
    found = empty.invoke(*words, "--json").json[0]
    assert [tool["name"] for tool in found["tools"]] == ["lookup", "refund", "tone_of"]
    assert found["tools"][0]["parameters"]["properties"] == {"item": {"type": "string"}}
    assert not any("lookup" in message["content"] for message in found["messages"])
    out = empty.invoke(*words).out
    assert "── may call\nlookup: The price of an item.\n  arguments: {" in out


def test_a_search_is_made_and_its_passages_are_listed(empty: Workspace) -> None:
    found = rendered(shop(empty), "help", "-i", "question=lose a card")
    assert (found["kind"], found["query"], found["mode"], found["top_k"]) == ("retrieve", "lose a card", "lexical", 2)
    assert found["files"] == ["chains/docs/cards.md"]
    assert {passage["source"] for passage in found["passages"]} == {"chains/docs/cards.md"}
    out = empty.invoke("show", "shop", "--rendered", "--step", "help", "-i", "question=card").out
    assert out.startswith(
        "━━ help → the best 2 of docs/*.md (lexical)\n── query\ncard\n── 1 file\nchains/docs/cards.md\n"
    )
    assert "  chains/docs/cards.md:2  Ordering a card\n" in out


def test_a_search_whose_query_is_not_known_is_shown_as_it_stands(empty: Workspace) -> None:
    done = shop(empty).invoke("show", "shop", "--rendered", "--step", "help")
    assert done.err == "step 'help' is not rendered: it needs question; give -i question=…\n"
    assert "── query\n{{ question }}\n── 1 file\n" in done.out
    assert "passages" not in rendered(empty, "help")


def test_nobody_is_asked_for_what_is_shown(empty: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(ScriptedLM, "complete", never)
    shop(empty)
    empty.write("shop.py", "def total(prices, factor=1): raise SystemExit\ndef search(query): raise SystemExit\n")
    empty.chain(
        """
        model: MODEL
        inputs: {q: string}
        steps:
          own: {retrieve: {python: "shop:search", query: "{{ q }}"}}
          dense: {retrieve: {from: docs/*.md, query: "{{ q }}", mode: dense, embedder: openai/text-embedding-3-small}}
          best: {retrieve: {from: docs/*.md, query: "{{ q }}", top_k: 1, rerank: MODEL}}
          sum: {python: "shop:total", inputs: {prices: "{{ [1] }}"}}
        """,
        name="asks",
    )
    own, dense, best, total = empty.invoke("show", "asks", "a card", "--rendered", "--json").json
    assert (own["python"], "passages" in own) == ("shop:search", False)
    assert (dense["mode"], "passages" in dense) == ("dense", False)
    assert best["rerank"]["of"] == 20
    assert best["rerank"]["messages"][1]["content"].startswith("Query: a card\n[1] ")
    assert (total["function"], total["arguments"]) == ("shop:total", {"prices": [1]})


def test_an_inner_chain_says_how_to_see_what_it_sends(empty: Workspace) -> None:
    found = rendered(shop(empty), "polite", "-i", "question=it's mine")
    assert (found["chain"], found["inputs"]) == ("inner", {"text": "it's mine"})
    assert found["see"] == """chain show inner --rendered -i 'text=it'"'"'s mine'"""
    assert rendered(empty, "polite")["see"] == "chain show inner --rendered"
    assert "── what it sends\nchain show inner --rendered -i" in empty.invoke("show", "shop", "hi", "--rendered").out


def test_a_step_that_needs_no_model_is_shown_without_one(empty: Workspace) -> None:
    shop(empty)
    for name in ("shop", "inner"):
        path = empty.root / f"chains/{name}.yaml"
        path.write_text("\n".join(line for line in path.read_text().splitlines() if not line.startswith("model:")))
    for step in ("help", "sum", "polite"):
        rendered(empty, step, "-i", "question=hi")
    for words in (("--step", "agent"), ()):
        done = empty.invoke("show", "shop", "hi", "--rendered", *words)
        assert (done.code, done.out) == (2, "")
        assert "has no model" in done.err


def test_tools_that_cannot_be_had_are_an_error_with_the_step(empty: Workspace) -> None:
    shop(empty)
    empty.chain(
        'model: MODEL\nsteps:\n  a: {prompt: "x", tools: [{mcp: [no-such-program]}]}\n  b: {prompt: "y"}\n', name="bad"
    )
    done = empty.invoke("show", "bad", "--rendered")
    assert done.code == 1
    assert "error: the tools of step 'a': " in done.err
    assert "no-such-program" in done.err
    rendered(empty, "b", chain="bad")


def test_the_value_of_a_step_that_is_no_prompt_is_given_as_json(empty: Workspace) -> None:
    shop(empty)
    for pair in ("polite=rude", "help=[", "sum=many"):
        done = empty.invoke("show", "shop", "--rendered", "-i", pair)
        assert (done.code, done.out) == (2, ""), pair
        assert f"step '{pair.partition('=')[0]}': " in done.err


def test_the_text_that_a_function_gave_needs_no_quotes(empty: Workspace) -> None:
    empty.write("texts.py", "def clean(message: str) -> str:\n    return message\n")
    empty.chain("""
        model: MODEL
        inputs: {message: string}
        steps:
          clean: {python: "texts:clean"}
          say: {prompt: "Say {{ clean }}"}
    """)
    for given, sent in (("who pays", "Say who pays"), ('{"a": 1}', 'Say {"a": 1}')):
        found = rendered(empty, "say", "-i", f"clean={given}", chain="demo")
        assert [message["content"] for message in found["messages"]] == [sent]


def test_what_a_step_thought_is_given_by_step(empty: Workspace) -> None:
    empty.chain("""
        model: MODEL
        steps:
          kind: {prompt: "Which?", output: [card, refund], reasoning: true}
          say: {prompt: "As {{ reasoning.kind }}"}
    """)
    lacking = empty.invoke("show", "demo", "--rendered", "--step", "say")
    assert lacking.err == """step 'say' is not rendered: it needs reasoning; give -i reasoning='{"STEP": "…"}'\n"""
    found = rendered(empty, "say", "-i", 'reasoning={"kind": "it is lost"}', chain="demo")
    assert found["messages"][-1]["content"] == "As it is lost"
    done = empty.invoke("show", "demo", "--rendered", "-i", "reasoning=lost")
    assert (done.code, "for example -i reasoning=" in done.err) == (2, True), done


def test_the_table_says_what_each_step_does(empty: Workspace) -> None:
    out = shop(empty).invoke("show", "shop").out
    for part in ("top 2 of docs/*.md (lexical) for {{ question }}", "shop:total(prices=[1, 2.5], factor=2)"):
        assert part in out
    assert " samples " in out
    assert (
        "shop:refund (asks for consent)\n  chain inner (as tone_of)\n"
        in empty.invoke("show", "shop", "--step", "agent").out
    )
    assert "majority of 3 samples" in empty.invoke("show", "shop", "--step", "word").out
    assert "\ntop 2 of docs/*.md" in empty.invoke("show", "shop", "--step", "help").out
