"""What the tests of versions share."""

from __future__ import annotations

from tests.workspace import DEMO, Workspace

FILED = DEMO.replace("Decide what the customer wants.", "{file: support/intent.md}")


def source(workspace: Workspace) -> tuple[str, str]:
    """The chain file, and the prompt's file."""
    return tuple((workspace.root / "chains" / name).read_text() for name in ("demo.yaml", "support/intent.md"))


def intent(workspace: Workspace, reference: str) -> str:
    """What the first step gives: "card" as v1 asks, "refund" as v2 and v3 do."""
    done = workspace.invoke("run", reference, "hi", "-o", "intent")
    assert done.code == 0, done
    return done.out.strip()
