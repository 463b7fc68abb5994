"""A project with a step of every kind, and what its models say."""

from __future__ import annotations

from typing import Any

from tests.workspace import Workspace

CODE = '''
def lookup(item: str) -> float:
    """The price of an item."""
    return {"tea": 12.5}[item]


def refund(order: int) -> str:
    """Pay an order back."""
    return f"order {order} is paid back"


def total(prices: list[float], factor: float = 1.0) -> float:
    return sum(prices) * factor
'''
CARDS = """
# Ordering a card

A card arrives in five days.

# Losing a card

Block the card at once.
"""
INNER = """
model: MODEL
inputs: {text: string}
steps:
  tone: {prompt: "Tone of {{ text }}", output: [polite, rude]}
"""
SHOP = """
model: MODEL
inputs: {question: string}
steps:
  help: {retrieve: {from: docs/*.md, query: "{{ question }}", top_k: 2}}
  sum: {python: "shop:total", inputs: {prices: [1, 2.5], factor: 2}, output: number}
  polite: {chain: inner, inputs: {text: "{{ question }}"}}
  word: {prompt: "A word on {{ question }}", samples: 3, select: majority}
  short: {prompt: "In short: {{ question }}", retry: {assert: 1}, assert: [{type: contains, value: five}]}
  each: {for_each: "{{ ['tea', 'milk'] }}", prompt: "Price of {{ item }}?", tools: ["shop:lookup"]}
  agent:
    prompt: "Question: {{ question }} {{ sum }} {{ polite }}"
    reasoning: true
    tools: ["shop:lookup", {python: "shop:refund", confirm: true}, {chain: inner, name: tone_of}]
outputs: {answer: "{{ agent }}", word: "{{ word }}", short: "{{ short }}", each: "{{ each }}"}
"""
ASKED = ("run", "shop", "Where is my card?")


def calls(tool: str, reasoning: str | None = None, **arguments: Any) -> dict[str, Any]:
    """A reply that calls a tool."""
    thought = {} if reasoning is None else {"reasoning": reasoning}
    return {**thought, "tool": tool, "arguments": arguments}


REPLIES = (
    "hello",
    "there",
    "hello",
    {"contains": "In short:", "reply": "soon"},
    {"contains": "should contain 'five'", "reply": "five days"},
    {"contains": "Price of tea", "reply": calls("lookup", item="tea")},
    {"contains": "Price of milk", "reply": calls("lookup", item="milk")},
    {"contains": "lookup gave: 12.5", "reply": {"answer": "12.5"}},
    {"contains": "lookup gave: {", "reply": {"answer": "unknown"}},
    {"contains": "Question:", "reply": calls("refund", "First the money.", order=7)},
    {"contains": "refund gave:", "reply": calls("tone_of", "", text="Hey!")},
    {"contains": "tone_of gave:", "reply": {"reasoning": "Now I know.", "answer": "Done."}},
)


def shop(workspace: Workspace) -> Workspace:
    """The chain `shop`, with all that it uses."""
    workspace.write("shop.py", CODE)
    workspace.write("chains/docs/cards.md", CARDS)
    workspace.chain(INNER, name="inner", replies=[{"contains": "Tone of", "reply": "polite"}])
    workspace.chain(SHOP, name="shop", replies=REPLIES)
    return workspace
