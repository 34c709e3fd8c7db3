"""Domains of the model host: what one is created from, and what the hypervisor keeps of it. SKELETON."""

from __future__ import annotations

from dataclasses import dataclass

from ringfence.hypervisor.model.guests import BEHAVIOURS
from ringfence.world.domain import DomainKind, McaHandler
from ringfence.world.identities import DomainId


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainSpec:
    """What a guest is created from. Raises ValueError for a count below one, an unknown behaviour, or kind Dom0.

    ``behaviour`` is a key of ``guests.BEHAVIOURS``. ``whole_superpages``: its memory is backed by 2 MiB pages that the
    hypervisor cannot split. ``shadow``: HVM without hardware assisted paging.

    """

    name: str
    kind: DomainKind
    memory_pages: int = 1 << 16
    vcpus: int = 1
    uuid: str = ""
    labels: frozenset[str] = frozenset()
    handler: McaHandler = McaHandler.NONE
    mca_enabled: bool = False
    behaviour: str = "heals"
    dirty_pages_per_s: int | None = None
    may_migrate: bool = True
    whole_superpages: bool = False
    shadow: bool = False
    serves: frozenset[DomainId] = frozenset()

    def __post_init__(self) -> None:
        if self.kind is DomainKind.DOM0:
            raise ValueError("there is one Dom0, and it is there already")
        if self.behaviour not in BEHAVIOURS:
            raise ValueError(f"no behaviour {self.behaviour!r}: there are {', '.join(BEHAVIOURS)}")
        if min(self.memory_pages, self.vcpus) < 1:
            raise ValueError("a guest has at least one page and one vCPU")
