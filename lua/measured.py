"""What a gate process tells the closed loop with a tick: how the site has answered, and by which rules that is judged."""

from __future__ import annotations

import json
from typing import NamedTuple

__all__ = ["Measured"]


class Measured(NamedTuple):
    """Counts of calls that the site has answered since the process's last tick.

    `version`: of the settings that they were measured under; others in the store, and they count nothing. `quota`: the closed
    loop's quota as the process knows it, 0 none; a store that lost its own goes on from there. `failed`: calls that failed,
    which are in none of the other counts but `calls`. `slow`: longer than the target. `near`: longer than three quarters of it.
    `interval`: ms between two decisions. `slow_share`, `failed_share`: most of them that are well, 0 to 1. `step`: visitors
    up. `factor`: down, 0 to 1.
    """

    version: int
    quota: int
    calls: int
    near: int
    slow: int
    failed: int
    interval: int
    slow_share: float
    failed_share: float
    step: int
    factor: float

    def text(self) -> str:
        """As the JSON object that `tick` takes."""
        return json.dumps(self._asdict())
