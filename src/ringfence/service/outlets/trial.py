"""Trying a webhook out: a test event, sent by the service itself, for only it has the service's network and rights."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from ringfence.errors import SourceError
from ringfence.service import control_protocol as say
from ringfence.service.attendants import Attendant, House


@runtime_checkable
class Receiver(Protocol):
    """Who can be tried out."""

    @property
    def receiver(self) -> str:
        """What it is called in the configuration."""
        ...

    async def test(self, house: House) -> say.Tested:
        """Send a test, once, and say what came back. Raises SourceError for a secret or certificates that are bad."""
        ...


def receivers(attendants: Iterable[Attendant]) -> tuple[str, ...]:
    """Who can be tried out, by their names in the configuration."""
    return tuple(sorted(each.receiver for each in attendants if isinstance(each, Receiver)))


async def tested(name: str, attendants: Iterable[Attendant], house: House) -> say.Tested | say.Refused:
    """What came of a test event to the webhook of this name."""
    known = {each.receiver: each for each in attendants if isinstance(each, Receiver)}
    if name not in known:
        there = ", ".join(sorted(known)) or "none"
        message = f"there is no webhook {name!r}; there are: {there}"
        advice = "[[webhook]] in the configuration; a new one is there after a restart of the service."
        return say.Refused(code=say.Code.NOT_THERE, message=message, advice=advice)
    try:
        return await known[name].test(house)
    except (SourceError, OSError) as error:
        advice = error.advice if isinstance(error, SourceError) else "See the state directory."
        return say.Refused(code=say.Code.FAILED, message=str(error), advice=advice)
