"""An attendant that fails is named in the health, started again, and never takes anybody with it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import cast

import pytest

from ringfence.errors import SourceError
from ringfence.service import attendants
from ringfence.service.attendants import House, Problems, keep


@dataclass(slots=True)
class Failing:
    times: int
    tries: int = 0
    seen: list[tuple[str, ...]] = field(default_factory=list)
    problems: Problems = field(default_factory=Problems)
    name: str = "failing"

    async def attend(self, house: House) -> None:
        self.seen.append(tuple(self.problems))
        self.tries += 1
        if self.tries <= self.times:
            raise SourceError("/there", "it is not there", advice="Put it there.")


@dataclass(slots=True)
class _House:
    problems: Problems


def _keep(attendant: Failing) -> None:
    asyncio.run(keep(attendant, cast(House, _House(attendant.problems))))


def test_what_fails_is_tried_again_and_said_until_it_does_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attendants, "FIRST_PAUSE_S", 0.001)
    failing = Failing(times=2)
    _keep(failing)
    said = ("failing: /there: it is not there (Put it there.)",)
    assert failing.seen == [(), said, said]
    assert tuple(failing.problems) == ()


def test_a_fault_of_the_program_is_not_hidden() -> None:
    class Broken(Failing):
        async def attend(self, house: House) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        _keep(Broken(times=0))
