"""A set of numbers that mostly follow one another, kept as runs: closed cases of years in a few pairs."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field


@dataclass(slots=True)
class Numbers:
    """Numbers as runs (first, last), in ascending order, no two of them touching."""

    runs: list[tuple[int, int]] = field(default_factory=list)

    def __contains__(self, number: int) -> bool:
        at = self._after(number)
        return at > 0 and number <= self.runs[at - 1][1]

    def add(self, number: int) -> None:
        """Put a number in; one that is in already changes nothing."""
        if number in self:
            return
        at = self._after(number)
        first = last = number
        if at < len(self.runs) and self.runs[at][0] == number + 1:
            last = self.runs.pop(at)[1]
        if at > 0 and self.runs[at - 1][1] == number - 1:
            at -= 1
            first = self.runs.pop(at)[0]
        self.runs.insert(at, (first, last))

    def _after(self, number: int) -> int:
        """The index of the first run that begins after ``number``."""
        return bisect_right(self.runs, number, key=lambda run: run[0])
