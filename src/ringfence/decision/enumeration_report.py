"""What an enumeration found: how much it went through, what it reached, what ends there are, and which laws broke."""

from __future__ import annotations

from dataclasses import dataclass, field

from ringfence.decision.flow import Event, State
from ringfence.decision.laws import Broken, Law
from ringfence.decision.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What can become of one beginning: the rows tried, in the order of the concept, and the ends that are possible.

    ``what`` names the beginning, a text for each of the enumeration's heads.
    """

    what: tuple[str, ...]
    rows: tuple[Row, ...]
    ends: tuple[State, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an enumeration went through and found.

    ``beginnings`` are the situations that it began from, ``states`` the different states of flow and world together,
    ``moves`` the edges between them, ``paths`` all ways from a beginning to an end. ``missing`` names what nothing led
    to although it is declared; ``broken`` has the shortest path for each law that did not hold.
    """

    name: str
    beginnings: int
    states: int
    moves: int
    paths: int
    rows: frozenset[Row] = frozenset()
    flow_states: frozenset[State] = frozenset()
    edges: frozenset[tuple[State, Event]] = frozenset()
    heads: tuple[str, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    missing: tuple[str, ...] = ()
    broken: tuple[Broken, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether every law held and everything declared was reached."""
        return not self.broken and not self.missing


@dataclass(slots=True)
class Breaches:
    """Gathers broken laws: of each law and sentence the one with the shortest path."""

    found: dict[tuple[Law, str], Broken] = field(default_factory=dict)

    def add(self, law: Law, what: str, path: tuple[str, ...]) -> None:
        """One more."""
        known = self.found.get((law, what))
        if known is None or len(path) < len(known.path):
            self.found[law, what] = Broken(law, what, path)

    def has(self, law: Law | None) -> bool:
        """Whether this law has been found broken; False for None."""
        return any(broken is law for broken, _ in self.found)

    @property
    def all(self) -> tuple[Broken, ...]:
        """All that were found, by law."""
        return tuple(sorted(self.found.values(), key=lambda each: (each.law, len(each.path), each.what)))
