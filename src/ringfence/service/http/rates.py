"""How often: a bucket of allowances for each client, in a table with a bound."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(slots=True)
class Rates:
    """Buckets that hold ``burst`` allowances and are filled by ``per_s`` of them each second.

    ``most`` clients are remembered, the ones seen last: who is forgotten begins with a full bucket, which is why there
    are more places than connections.
    """

    per_s: float
    burst: int
    most: int
    _buckets: dict[str, tuple[float, float]] = field(default_factory=dict)

    def take(self, key: str, now_s: float) -> float:
        """Take an allowance: 0 if there was one, else the seconds until there is. ``now_s`` is on a monotonic clock."""
        had, at_s = self._buckets.pop(key, (float(self.burst), now_s))
        has = min(self.burst, had + max(0.0, now_s - at_s) * self.per_s)
        wait_s = 0.0 if has >= 1 else (1 - has) / self.per_s
        self._buckets[key] = (has - 1 if not wait_s else has, now_s)
        while len(self._buckets) > self.most:
            del self._buckets[next(iter(self._buckets))]
        return wait_s

    def __len__(self) -> int:
        return len(self._buckets)


def whole_s(wait_s: float) -> int:
    """A time to wait as Retry-After has it: whole seconds, at least one (RFC 9110, 10.2.3)."""
    return max(1, math.ceil(wait_s))
