"""The host that guests can be moved to: whether it can be reached and has room, looked at now and then."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import Final

from ringfence.errors import HypervisorError
from ringfence.hypervisor.kvm.libvirt import LibvirtError, connected
from ringfence.world.identities import PAGE_SHIFT
from ringfence.world.situation import Destination

LOOK_S: Final = 60.0
"""It is asked again before each migration; until then an old answer serves to choose between operations."""


@dataclass(slots=True)
class OtherHost:
    """The host at libvirt's ``uri``; none if that is empty. ``seen`` is what the newest look found."""

    uri: str
    seen: Destination | None = None
    _over: threading.Event = field(default_factory=threading.Event)

    def start(self) -> None:
        """Look, and go on looking in a thread: a host that hangs holds nobody up."""
        self._over.clear()
        if self.uri:
            self.seen = Destination(name=self.uri, healthy=False)
            threading.Thread(target=self._go_on, name="other host", daemon=True).start()

    def close(self) -> None:
        """Look no more, once a look that is being taken has ended."""
        self._over.set()

    def _go_on(self) -> None:
        while not self._over.is_set():
            self.seen = self.look()
            self._over.wait(LOOK_S)

    def look(self) -> Destination:
        """Look now; may block for as long as the network lets it."""
        try:
            with connected(self.uri) as there:
                return Destination(name=self.uri, free_pages=there.free_memory_bytes >> PAGE_SHIFT)
        except (HypervisorError, LibvirtError):
            return Destination(name=self.uri, healthy=False)
