"""Which domains others depend on: driver domains, stub domains and whoever else has a back end or a device model.

Sources: docs/misc/xenstore-paths.pandoc and tools/libs/light/libxl_device.c, libxl_dm.c: a back end of domain B for
domain F is ``/local/domain/B/backend/KIND/F``; a stub domain's ``/local/domain/B/target`` names whose device model it
is. B's own directory is B's to write: what it says there of others is taken at its word only where it names domains
that are there, and does nothing but have B be counted as serving them.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from ringfence.hypervisor.xen.parts import Store
from ringfence.world.identities import DOM0, DomainId

EVERY_MS: Final = 10_000
"""Devices come and go with their domains, at which this is looked at anew anyway."""
MOST_KINDS: Final = 32
MOST_SERVED: Final = 1_024

PASSED_THROUGH: Final = ("pci", "vtpm")
"""Kinds of back ends that tie a domain to its host (libxl refuses to migrate with passed-through devices)."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Whom each domain serves, and which domains have a device of this host."""

    serves: dict[DomainId, frozenset[DomainId]]
    tied: frozenset[DomainId]


class Servants:
    """Who serves whom, looked up now and then."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._here: frozenset[DomainId] = frozenset()
        self._next_ms = 0
        self._known = Serving({}, frozenset())

    def now(self, here: Collection[DomainId], stores: Collection[DomainId], now_ms: int) -> Serving:
        """Who of the domains ``here`` serves whom; ``stores`` are those that Xen marks as the xenstore's own."""
        present = frozenset(here)
        if present != self._here or now_ms >= self._next_ms:
            self._here, self._next_ms = present, now_ms + EVERY_MS
            served = {domain: self._served(domain, present) for domain in present}
            others = present - {DOM0}
            self._known = Serving(
                {
                    domain: frozenset(whom) | (others - {domain} if domain in stores else frozenset())
                    for domain, whom in ((each, served[each][0]) for each in present)
                    if domain != DOM0
                },
                frozenset().union(*(tied for _, tied in served.values())),
            )
        return self._known

    def _served(self, domain: DomainId, here: frozenset[DomainId]) -> tuple[set[DomainId], set[DomainId]]:
        home = f"/local/domain/{domain}"
        found: set[DomainId] = set()
        tied: set[DomainId] = set()
        for kind in self._store.directory(f"{home}/backend")[:MOST_KINDS]:
            whom = {
                number
                for name in self._store.directory(f"{home}/backend/{kind}")[:MOST_SERVED]
                if (number := _number(name)) in here
            }
            found |= whom
            if domain == DOM0 and kind in PASSED_THROUGH:
                tied |= whom
        target = _number(self._store.read(f"{home}/target") or "")
        if target in here:
            found.add(target)
        return found - {domain}, tied


def _number(name: str) -> DomainId:
    """A domain's number; that of nobody if it is none."""
    return DomainId(int(name) if name.isdecimal() and len(name) <= _DIGITS else -1)


_DIGITS: Final = 5
