"""Which attendants a configuration asks for: the one list of them."""

from __future__ import annotations

from ringfence.service.attendants import Attendant
from ringfence.service.configuration.configuration import Configuration


def attendants(configuration: Configuration) -> tuple[Attendant, ...]:
    """The attendants, in the order in which they are started. One that needs a library imports it only here.

    Raises MissingExtraError if a library is not installed that the configuration asks for.
    """
    found: list[Attendant] = []
    if configuration.http.enabled:
        from ringfence.service.http.server import HttpServer  # noqa: PLC0415 (a library of the extra web)

        found.append(HttpServer())
    return tuple(found)
