"""Chains of steps of every kind, run on scripts in a folder of their own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml

from promptchain import binding, loader, plan, runner
from promptchain.chain import Chain
from promptchain.lm.budget import Budget
from promptchain.lm.calls import Caller
from promptchain.lm.protocol import LM, Capabilities, Finish, Price, Request, Response, ToolCall, Usage
from promptchain.models import Models
from promptchain.records import Run
from promptchain.steps.workshop import Workshop

NATIVE = Capabilities(tools=True, price=Price(0.0, 0.0))
GRAMMAR = Capabilities(schema=True, grammar=True, local=True, price=Price(0.0, 0.0))


class Folder:
    """A project in `root`, with the code and the chains that its steps use."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.workshop: dict[str, Any] = {}

    def code(self, text: str, name: str = "code") -> None:
        (self.root / f"{name}.py").write_text(dedent(text), encoding="utf-8")

    def chain(self, name: str, steps: Mapping[str, Any], **rest: Any) -> Path:
        """A chain file. A step that is a text is its prompt."""
        full = {key: {"prompt": step} if isinstance(step, str) else step for key, step in steps.items()}
        path = self.root / "chains" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(yaml.safe_dump({"steps": full, **rest}, sort_keys=False), encoding="utf-8")
        return path

    def load(self, name: str) -> Chain:
        return loader.load(self.root / "chains" / f"{name}.yaml", self.root)

    def run(
        self, name: str, lm: LM, inputs: Mapping[str, Any] | None = None, *,
        budget: Budget | None = None, models: Models | None = None, sample: int = 0, **options: Any,
    ) -> Run:  # fmt: skip
        bound = self.bind(name, lm, models)
        caller = Caller(lm, budget=budget, sleep=lambda _: asyncio.sleep(0))
        bound = bound.sampled(sample) if sample else bound
        return asyncio.run(runner.run(bound, inputs or {}, caller, **options))

    def bind(self, name: str, lm: LM, models: Models | None = None) -> binding.BoundPlan:
        workshop = Workshop(self.root, **self.workshop)
        return binding.bind(plan.build(self.load(name)), lm, models or Models(last="m"), workshop=workshop)

    def once(self, step: Mapping[str, Any] | str, lm: LM, **options: Any) -> Run:
        """A run of a chain whose only step is `a`."""
        self.chain("one", {"a": step}, model="m")
        return self.run("one", lm, **options)


def asks(*calls: tuple[str, Any], text: str = "") -> Response:
    """A model's reply, in its own way, that asks for tools: each by its name and its arguments."""
    made = tuple(
        ToolCall(f"id{index}", name, given if isinstance(given, str) else json.dumps(given))
        for index, (name, given) in enumerate(calls)
    )
    return Response(text, finish=Finish.TOOLS, tool_calls=made, usage=Usage(10, 2), cost=0.5)


def writes(name: str, arguments: Any, **more: Any) -> str:
    """A reply that asks for a tool in words."""
    return json.dumps({**more, "tool": name, "arguments": arguments})


def told(request: Request) -> list[str]:
    """What came of the tools that a request tells the model of, in its own way."""
    return [message.content for message in request.messages if message.role == "tool"]


def echo(request: Request) -> str:
    return request.messages[-1].content


def by_last(replies: Mapping[str, Any]) -> Callable[[Request], Any]:
    """Answers by the last message that is in `replies`."""
    return lambda request: replies[echo(request)]
