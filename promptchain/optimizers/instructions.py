"""Stand-in."""
from __future__ import annotations
from promptchain.optimizers.protocol import Candidate, Found, Task
async def optimize(task: Task, incumbent: Candidate) -> Found:
    return Found(incumbent, note="not yet")
