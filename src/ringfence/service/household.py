"""Which attendants a configuration asks for: the one list of them."""

from __future__ import annotations

from ringfence.service.attendants import Attendant
from ringfence.service.configuration.configuration import Configuration


def attendants(configuration: Configuration) -> tuple[Attendant, ...]:
    """The attendants, in the order in which they are started. One that needs a library imports it only here."""
    del configuration
    return ()
