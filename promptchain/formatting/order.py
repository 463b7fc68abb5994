"""The order of keys in a chain file, where order says nothing: not that of inputs, steps, outputs, types and values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from promptchain.formatting.nodes import Entry, Kind, Node


@dataclass(frozen=True, slots=True)
class Order:
    """keys: those of a mapping, in their order; others come behind them, as they are written. inner: what the values of
    some are ordered by. each: what all values of the mapping are ordered by; a list's items by what is the list's."""

    keys: tuple[str, ...] = ()
    inner: Mapping[str, Order] = field(default_factory=dict)
    each: Order | None = None


def _keys(words: str) -> tuple[str, ...]:
    return tuple(words.split())


_SET = Order(_keys("step output type k value threshold weight metric transform assert"))
ASSERTION = replace(_SET, inner={"assert": _SET})
SPLIT = Order(("by", "size", "overlap"))
RETRIEVE = Order(
    _keys("from python url query top_k min_score mode embedder rerank where split"),
    {"rerank": Order(("model", "of")), "split": SPLIT},
)
MCP = Order(("command", "url", "env", "headers", "timeout"))
TOOL = Order(_keys("python chain mcp name description only confirm timeout"), {"mcp": MCP})
SELECT = Order(("how", "by", "best"), {"by": ASSERTION, "best": ASSERTION})
STEP = Order(
    _keys(
        "description when for_each instructions prompt retrieve python chain inputs tools max_turns output demos model "
        "params fallbacks reasoning samples select format freeze needs retry timeout assert"
    ),
    {
        "for_each": Order(("in", "as", "concurrency", "on_error")),
        "retrieve": RETRIEVE,
        "demos": Order(("inputs", "calls", "output", "reasoning"), {"calls": Order(("tool", "arguments", "result"))}),
        "tools": TOOL,
        "fallbacks": Order(("model", "on")),
        "select": SELECT,
        "retry": Order(("errors", "parse", "assert")),
        "assert": ASSERTION,
    },
)
TEST = Order(
    ("dataset", "assert", "judge", "embedder", "repeat", "gate"),
    {"assert": ASSERTION, "gate": Order(("min", "no_worse_than", "margin"))},
)
TUNING = Order(
    _keys(
        "optimizer calls seed split steps teacher proposer max_demos max_pool max_demo_tokens "
        "max_instruction_tokens max_p"
    ),
    {"split": Order(("train", "dev", "test"))},
)
CHAIN = Order(
    ("description", "model", "params", "inputs", "steps", "outputs", "test", "compile"),
    {"steps": Order(each=STEP), "test": TEST, "compile": TUNING},
)


def arrange(root: Node) -> None:
    """Put the keys of a chain file's tree into their order; none where an alias would come before its anchor."""
    entries = {id(node): (node, [*node.entries]) for node in _nodes(root)}
    meant = _meant(root)
    above = {id(entry): [*entry.above] for _, found in entries.values() for entry in found}
    _arrange(root, CHAIN)
    if _meant(root) != meant:
        for node, found in entries.values():
            node.entries = found
            for entry in found:
                entry.above = above[id(entry)]


def _arrange(node: Node, order: Order) -> None:
    if node.kind is Kind.LIST:
        for entry in node.entries:
            _arrange(entry.value, order)
    if node.kind is not Kind.MAPPING:
        return
    ranks = {key: number for number, key in enumerate(order.keys)}
    first = node.entries[0] if node.entries else None
    if ranks:
        node.entries = sorted(node.entries, key=lambda entry: _rank(entry, ranks))
    if first and node.entries[0] is not first and not _is_apart(first) and _is_apart(node.entries[0]):
        first.above.insert(0, "")  # the empty line of the one that changed places with it
    for entry in node.entries:
        key = entry.key.value if entry.key else ""
        inner = order.each or order.inner.get(key)
        if inner is not None:
            _arrange(entry.value, inner)


def _rank(entry: Entry, ranks: Mapping[str, int]) -> int:
    if entry.key is None or (entry.key.value == "<<" and not entry.key.style):
        return -1  # what is merged comes first
    return ranks.get(entry.key.value, len(ranks))


def _is_apart(entry: Entry) -> bool:
    """Whether an empty line stands over an entry, or over its comments."""
    return bool(entry.above) and not entry.above[0]


def _nodes(node: Node) -> list[Node]:
    found = [node]
    for entry in node.entries:
        found += [*(_nodes(entry.key) if entry.key else ()), *_nodes(entry.value)]
    return found


def _meant(root: Node) -> dict[int, int | None]:
    """Which anchor each alias means: the last of its name before it."""
    anchors: dict[str, int] = {}
    meant: dict[int, int | None] = {}
    for node in _nodes(root):
        if node.kind is Kind.ALIAS:
            meant[id(node)] = anchors.get(node.value)
        for word in node.properties.split():
            if word.startswith("&"):
                anchors[word[1:]] = id(node)
    return meant
