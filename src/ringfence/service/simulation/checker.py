"""Holds a run against the laws: from the facts of the model, the truth about each error, and the journal.

Nothing of what Ringfence thinks of itself is used: who was hit comes from the machine and from the model's tables at
the moment of the report, who ran from its scheduler, what guests were told from the bytes. What each check can see, and
what not, stands in its module in ``laws``.
"""

from __future__ import annotations

from ringfence.decision.laws import Broken
from ringfence.service.simulation.laws import guests, host, outcome, running
from ringfence.service.simulation.laws.story import tell
from ringfence.service.simulation.scenario import Scenario
from ringfence.service.simulation.trace import Trace

CHECKS = (outcome.check, running.check, host.check, guests.check)


def check(trace: Trace, scenario: Scenario) -> tuple[Broken, ...]:
    """Every law that did not hold, by groups of laws."""
    story = tell(trace, scenario)
    return tuple(broken for each in CHECKS for broken in each(story))
