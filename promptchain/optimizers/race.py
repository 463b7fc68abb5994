"""Stand-in."""
from __future__ import annotations
import asyncio
from dataclasses import dataclass
from typing import Any
@dataclass
class Standing:
    mean: float | None
@dataclass
class Race:
    winner: Any
    index: int
    standings: list[Standing]
async def race(arms: Any, rows: Any, score: Any, *, price: Any, most: int | None = None) -> Race:
    found = [await score(arm, rows) for arm in arms]
    means = [sum(v for v in values if v is not None)/max(1,sum(v is not None for v in values)) for values in found]
    best = max(range(len(arms)), key=lambda i: (means[i], -price(arms[i]), -i))
    return Race(arms[best], best, [Standing(m) for m in means])
