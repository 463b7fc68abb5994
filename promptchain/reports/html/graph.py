"""A plan as a drawing in layers: which steps stand side by side, and which way the lines between them take.

Sugiyama, Tagawa and Toda, "Methods for visual understanding of hierarchical system structures", IEEE Transactions on
Systems, Man, and Cybernetics 11 (1981): a line over several layers has a place of its own in each; layers are put in
order by the mean place of what each item is joined to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from promptchain import told
from promptchain.chain import PromptStep
from promptchain.plan import Plan

_SWEEPS = 4
_MOST_PLACES = 2_000
"""Places of long lines; beyond that they are drawn straight."""

_Item = str | int
"""A step by its name, or the place of a line by its number."""


def graph(plan: Plan, models: Mapping[str, str] | None = None) -> dict[str, Any]:
    """{"nodes": [{"id", "kind", "does", "model", "after": [step]}], "layers": [[step or number of a place]],
    "edges": [{"from", "to", "tolerant": goes on without a value, "via": [number of a place]}]}. models: by step."""
    nodes = [
        {
            "id": name,
            "kind": told.kind(node.step),
            "does": told.does(node.step) or node.step.description,
            "model": (models or {}).get(name) if isinstance(node.step, PromptStep) else None,
            "after": [other for other in plan.nodes if other in node.after],
        }
        for name, node in plan.nodes.items()
    ]
    layers: list[list[_Item]] = [list(level) for level in plan.levels]
    edges = [*_edges(plan, layers)]
    return {"nodes": nodes, "layers": _ordered(layers, edges), "edges": edges}


def _edges(plan: Plan, layers: list[list[_Item]]) -> Iterator[dict[str, Any]]:
    """The lines; each gets a place in every layer that it passes."""
    depth = {name: level for level, names in enumerate(plan.levels) for name in names}
    pairs = [(other, name) for name, node in plan.nodes.items() for other in plan.nodes if other in node.after]
    straight = sum(depth[name] - depth[other] - 1 for other, name in pairs) > _MOST_PLACES
    number = 0
    for other, name in pairs:
        via: list[int] = []
        for level in () if straight else range(depth[other] + 1, depth[name]):
            layers[level].append(number)
            via.append(number)
            number += 1
        yield {"from": other, "to": name, "tolerant": other in plan.nodes[name].tolerates, "via": via}


def _ordered(layers: list[list[_Item]], edges: Sequence[Mapping[str, Any]]) -> list[list[_Item]]:
    """The layers, each in an order in which few lines cross."""
    before: dict[_Item, list[_Item]] = {}
    after: dict[_Item, list[_Item]] = {}
    for edge in edges:
        way = [edge["from"], *edge["via"], edge["to"]]
        for one, next_ in pairwise(way):
            after.setdefault(one, []).append(next_)
            before.setdefault(next_, []).append(one)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for level in range(1, len(layers)) if down else range(len(layers) - 2, -1, -1):
            _sort(layers[level], layers[level - 1 if down else level + 1], before if down else after)
    return layers


def _sort(layer: list[_Item], beside: Sequence[_Item], joined: Mapping[_Item, Sequence[_Item]]) -> None:
    """Put a layer in the order of what its items are joined to in the layer beside it."""
    place = {item: (index + 0.5) / len(beside) for index, item in enumerate(beside)}
    own = {item: (index + 0.5) / len(layer) for index, item in enumerate(layer)}

    def middle(item: _Item) -> float:
        near = [place[other] for other in joined.get(item, ()) if other in place]
        return sum(near) / len(near) if near else own[item]

    layer.sort(key=middle)
