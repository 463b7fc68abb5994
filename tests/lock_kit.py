"""Locks for tests: what compiling would have written."""

from __future__ import annotations

from typing import Any

from promptchain import fingerprints, testing
from promptchain.chain import Demo
from promptchain.errors import PromptChainError
from promptchain.lock import Compared, Entry, Lock, MadeFrom, Spent
from promptchain.project import Project
from promptchain.records import Nearest, StepVariant
from tests.workspace import DEMO, REPLIES, Workspace

COMPILED = StepVariant(instructions="COMPILED: decide what it is.")
TUNED = ({"contains": "COMPILED", "reply": "refund"}, *REPLIES)
"""Replies of a model that says "refund" where the compiled instructions are sent, and "card" else."""

POOL = Nearest(count=1, pool=(Demo(inputs={"message": "lost"}, output="card"),))


def tuned(workspace: Workspace, text: str = DEMO) -> Workspace:
    """The chain `demo` with its lock."""
    workspace.chain(text, replies=TUNED)
    adopt(workspace)
    return workspace


def made(**values: Any) -> MadeFrom:
    known = {"renderer": 1, "chain": "c", "steps": {"intent": "s"}, "models": {"intent": "a/b"}}
    return MadeFrom(**{**known, "dataset": "d", "metrics": "m", "settings": "t", **values})


def entry(parts: StepVariant = COMPILED, **values: Any) -> Entry:
    known: dict[str, Any] = {
        "steps": {"intent": parts},
        "test": Compared(examples=50, before=0.34, after=0.86, better=27, worse=1, p=1e-7),
        "by_step": {"intent": Compared(examples=50, before=0.34, after=0.86)},
        "spent": Spent(calls=588, tokens=100_000, cost=0.25),
        "made_from": made(),
    }
    return Entry(**{**known, **values})


def lock(*models: str, **values: Any) -> Lock:
    return Lock(models={model: entry(**values) for model in models})


def adopt(workspace: Workspace, name: str = "demo", words: tuple[str, ...] = (), **values: Any) -> Lock:
    """Write a lock that is fresh for the chain as it is, on the models given as for the command."""
    project = Project.find(workspace.root)
    chain, models, lm = project.load(name), project.models(words), project.lm()
    by_step = models.by_step(chain)
    now = fingerprints.sent_by(chain, by_step, lm)
    try:
        checks, choices = testing.assertions(project, chain)
        data = testing.data(project, chain)
        found = {"data": data, "checks": (*checks, *choices), "sources": project.sources(chain)}
        now = fingerprints.made_from(chain, by_step, lm, **found)
    except PromptChainError:  # a chain that no test belongs to
        pass
    model = models.of_lock(chain)
    assert model is not None
    return project.adopt(name, model, entry(**{"made_from": now, **values}))
