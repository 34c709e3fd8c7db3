"""What is wrong with the lines of memory, and what reading, writing and scrubbing them does to that. Sparse and pure.

A good line has no entry. An uncorrectable one is *latent* until a read or the scrubber finds it; from then on it is
*poison*: every reader is told, the memory controller does not report it again. Contents are not modelled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from ringfence.world.identities import PhysAddr


class Health(StrEnum):
    """What is wrong with a line."""

    CORRECTABLE = "correctable"
    LATENT = "latent"
    POISON = "poison"


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not good. ``lasting``: a cell is broken, so the line goes bad again when it is written.

    ``device`` and ``bits`` as in ``faults.Correctable``; of an uncorrectable line they are those that are worst.
    """

    health: Health
    lasting: bool = False
    device: int = 0
    bits: int = 1

    @property
    def syndrome(self) -> int:
        """Which bits of which device: a plain number of the model's own, not that of any real code. Never 0."""
        return self.device << 4 | self.bits


class Found(StrEnum):
    """What a memory controller met when it read a line."""

    GOOD = "good"
    CORRECTED = "corrected"
    UNCORRECTED = "uncorrected"
    """Just found: the controller reports it."""
    POISON = "poison"
    """Known: the data comes marked, nothing is reported."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a read found; ``line`` as it was."""

    found: Found
    line: Line | None = None


class Memory:
    """The lines that are not good."""

    def __init__(self) -> None:
        self._lines: dict[PhysAddr, Line] = {}

    def at(self, line: PhysAddr) -> Line | None:
        """What is wrong with a line, None if nothing is."""
        return self._lines.get(line)

    @property
    def bad_lines(self) -> tuple[PhysAddr, ...]:
        """All lines with something wrong, by address."""
        return tuple(sorted(self._lines))

    def spoil(self, line: PhysAddr, state: Line) -> None:
        """Makes a line bad; it never gets better by that: a correctable fault changes nothing in an uncorrectable line.

        A correctable one in another device on top of one that is there makes the line uncorrectable.
        """
        held = self._lines.get(line)
        if held is None:
            self._lines[line] = state
        elif held.health is Health.CORRECTABLE:
            worse = state.health is not Health.CORRECTABLE or state.device != held.device
            health = max(state.health, Health.LATENT, key=_ORDER.index) if worse else Health.CORRECTABLE
            self._lines[line] = replace(state, health=health, lasting=state.lasting or held.lasting)
        elif state.health is not Health.CORRECTABLE:
            self._lines[line] = replace(
                held, health=max(held.health, state.health, key=_ORDER.index), lasting=held.lasting or state.lasting
            )

    def read(self, line: PhysAddr) -> Reading:
        """The controller reads a line, for whom or the scrubber ever, and writes back what it could correct."""
        held = self._lines.get(line)
        if held is None:
            return Reading(Found.GOOD)
        match held.health:
            case Health.CORRECTABLE:
                if not held.lasting:
                    del self._lines[line]
                return Reading(Found.CORRECTED, held)
            case Health.LATENT:
                self._lines[line] = replace(held, health=Health.POISON)
                return Reading(Found.UNCORRECTED, held)
            case Health.POISON:
                return Reading(Found.POISON, held)

    def write(self, line: PhysAddr) -> None:
        """A store of the whole line: good again, but for broken cells, which wait to be found anew."""
        held = self._lines.get(line)
        if held is None or held.health is Health.CORRECTABLE:
            return
        if held.lasting:
            self._lines[line] = replace(held, health=Health.LATENT)
        else:
            del self._lines[line]

    def power_off(self) -> None:
        """Contents are gone, broken cells are still broken."""
        self._lines = {
            line: replace(held, health=Health.LATENT) if held.health is Health.POISON else held
            for line, held in self._lines.items()
            if held.lasting
        }


_ORDER = (Health.CORRECTABLE, Health.LATENT, Health.POISON)
