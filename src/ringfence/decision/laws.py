"""The laws L1 to L10 of the concept, and what it is to break one: for the enumeration and for the simulation alike."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Law(StrEnum):
    """A law of the concept. What each says is in ``TEXTS``."""

    L1 = "L1"
    L2 = "L2"
    L3 = "L3"
    L4 = "L4"
    L5 = "L5"
    L6 = "L6"
    L7 = "L7"
    L8 = "L8"
    L9 = "L9"
    L10 = "L10"


TEXTS: dict[Law, str] = {
    Law.L1: "whoever consumed an error does not run before it is told or operated on; whoever lost a page does not run "
    "while it can still reach that page by a mapping that could have been taken away",
    Law.L2: "every uncorrected error whose evidence arrived comes to one end, and each of its parts to one, and the "
    "end says what is true; evidence that was dropped is counted as such",
    Law.L3: "a corrected error stops no domain, pauses none and changes none",
    Law.L4: "what is fatal or cannot be confined halts the host, after the evidence has gone out, within a bound; what "
    "is history does not",
    Law.L5: "Dom0 is not asked while it is hurt or has no handler, and not again after it let its time pass",
    Law.L6: "nobody is touched but who consumed the error and who loses by it",
    Law.L7: "who is told is told of every page that it lost, in its own numbers, and of nothing else",
    Law.L8: "what is refused changes nothing, and says what would have been allowed",
    Law.L9: "the journal gives back the state at any point, and after a kill each step ends once or is said to be "
    "unknown",
    Law.L10: "what is urgent is never pushed aside by what is not, and what is dropped is counted",
}
"""What each law says, in our words."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A law that did not hold: ``what`` happened, and the ``path`` that led to it, oldest first, a line each."""

    law: Law
    what: str
    path: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.law} broken: {self.what}"
