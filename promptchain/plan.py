"""`Chain` → an immutable DAG: which step needs which, and in what order they may start."""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass
from functools import cached_property

from promptchain import template
from promptchain.chain import Chain, ChainStep, PromptStep, PythonStep, RetrieveStep
from promptchain.errors import PromptChainError
from promptchain.template import Reference

AnyStep = PromptStep | RetrieveStep | PythonStep | ChainStep


class CycleError(PromptChainError):
    """Steps that wait for each other; `steps` is the circle, first and last the same."""

    def __init__(self, steps: tuple[str, ...]) -> None:
        super().__init__(f"the steps wait for each other: {' → '.join(steps)}", hint="break the circle at one of them")
        self.steps = steps


@dataclass(frozen=True)
class Node:
    """A step in the DAG.

    needs: steps without whose value it cannot run. tolerates: steps it waits for, but whose value may be null.
    """

    id: str
    step: AnyStep
    needs: frozenset[str] = frozenset()
    tolerates: frozenset[str] = frozenset()

    @property
    def after(self) -> frozenset[str]:
        """All steps that must have ended before this one starts."""
        return self.needs | self.tolerates


@dataclass(frozen=True)
class Plan:
    """The DAG of a chain. `nodes` are in an order in which they could be run one after the other."""

    chain: Chain
    nodes: Mapping[str, Node]

    @cached_property
    def levels(self) -> tuple[tuple[str, ...], ...]:
        """The steps by depth: those of one level depend only on levels before it."""
        depth: dict[str, int] = {}
        for node in self.nodes.values():
            depth[node.id] = 1 + max((depth[other] for other in node.after), default=-1)
        return tuple(
            tuple(name for name in self.nodes if depth[name] == level) for level in range(max(depth.values()) + 1)
        )

    @cached_property
    def outputs(self) -> Mapping[str, str]:
        """The templates of the chain's outputs; without any in the file, the steps that no other step waits for."""
        if self.chain.outputs:
            return {name: text for name, text in self.chain.outputs.items() if isinstance(text, str)}
        waited_for = {other for node in self.nodes.values() for other in node.after}
        return {name: "{{ " + name + " }}" for name in self.chain.steps if name not in waited_for}

    def upstream(self, name: str) -> frozenset[str]:
        """Every step that `name` depends on, directly or not."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            for other in self.nodes[waiting.pop()].after - found:
                found.add(other)
                waiting.append(other)
        return frozenset(found)


def build(chain: Chain) -> Plan:
    """The plan of a checked chain. Raises CycleError; TemplateFault where a template cannot be parsed."""
    steps, inputs = frozenset(chain.steps), frozenset(chain.input_type.fields())
    nodes = {name: node(name, step, steps, inputs) for name, step in chain.steps.items()}
    return Plan(chain, {name: nodes[name] for name in order(nodes)})


def step_read(reference: Reference, steps: Container[str], inputs: Container[str]) -> str | None:
    """The step whose value a reference reads, or what it thought; None where it reads something else."""
    name = reference.name
    if name == template.REASONING and name not in steps and name not in inputs:
        name = next(iter(reference.path), "")
    return name if name in steps else None


def node(name: str, step: AnyStep, steps: frozenset[str], inputs: Container[str] = ()) -> Node:
    """The node of one step: its edges are the steps that its templates refer to, and `needs`."""
    strict = {other for other in step.needs if other in steps}
    tolerant: set[str] = set()
    for text in step.texts():
        parsed = template.expression(text.text) if text.expression else template.parse(text.text)
        for reference in parsed.references:
            if (other := step_read(reference, steps, inputs)) is not None:
                # What a step thought may be null.
                quiet = reference.tolerant or text.path == ("when",) or other != reference.name
                (tolerant if quiet else strict).add(other)
    return Node(name, step, frozenset(strict), frozenset(tolerant - strict))


def order(nodes: Mapping[str, Node]) -> list[str]:
    """The names of the nodes, each after all that it needs. Raises CycleError.

    A depth-first topological order that keeps the file's order where the edges leave a choice (iterative, so that a
    chain of thousands of steps is no matter).
    """
    rank = {name: index for index, name in enumerate(nodes)}
    done: dict[str, None] = {}
    for root in nodes:
        path: dict[str, None] = {}
        stack: list[tuple[str, bool]] = [(root, False)]
        while stack:
            name, leaving = stack.pop()
            if leaving:
                path.pop(name)
                done[name] = None
                continue
            if name in done:
                continue
            if name in path:
                circle = list(path)
                raise CycleError((*circle[circle.index(name) :], name))
            path[name] = None
            stack.append((name, True))
            waiting = (other for other in nodes[name].after if other not in done)
            stack += [(other, False) for other in sorted(waiting, key=rank.__getitem__, reverse=True)]
    return list(done)
