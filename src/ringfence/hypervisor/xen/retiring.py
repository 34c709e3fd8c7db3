"""Pages that are to leave use as soon as their owner lets go of them: followed until they have (L3).

Xen tells nobody when that happens; it is asked, one page a hypercall, a few pages at a time.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from ringfence.hypervisor.xen import pages
from ringfence.hypervisor.xen.sysctl import Sysctl
from ringfence.world.identities import StepId
from ringfence.world.steps import OfflineFrame, Result, Status

EVERY_MS: Final = 5_000
"""A page is let go of by a balloon, a migration, or the end of its domain: none of these is waited for by anybody."""
ASKED_AT_ONCE: Final = 64
"""Pages a look: 64 short hypercalls in five seconds are a load that nobody can measure."""
MOST_FOLLOWED: Final = 4_096
"""Orders. What is more is taken out of use all the same; nobody says when."""


class Retiring:
    """The orders whose pages are waited for."""

    def __init__(self, sysctl: Sysctl) -> None:
        self._sysctl = sysctl
        self._steps: OrderedDict[StepId, OfflineFrame] = OrderedDict()
        self._next_ms = 0

    def follow(self, order: StepId, step: OfflineFrame) -> None:
        """The pages of this order are pending."""
        if len(self._steps) < MOST_FOLLOWED:
            self._steps[order] = step

    def ended(self, now_ms: int) -> tuple[tuple[StepId, Result], ...]:
        """The orders whose pages have left use since the last look, or never will."""
        if not self._steps or now_ms < self._next_ms:
            return ()
        self._next_ms = now_ms + EVERY_MS
        found: list[tuple[StepId, Result]] = []
        asked = 0
        for order in list(self._steps):
            step = self._steps[order]
            if asked and asked + step.pages > ASKED_AT_ONCE:
                break
            asked += step.pages
            result = pages.state(self._sysctl, step)
            if result.status is Status.PENDING:
                self._steps.move_to_end(order)
            else:
                del self._steps[order]
                found.append((order, result))
        return tuple(found)
