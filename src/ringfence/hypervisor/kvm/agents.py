"""The agents in this host's guests: one socket a guest, of the virtio-serial port that QEMU gives it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from ringfence.hypervisor.guest_link import MOST_LINKS, GuestLinks
from ringfence.hypervisor.guest_stream import GuestStream
from ringfence.hypervisor.kvm.guests import Guest
from ringfence.world.identities import DomainId


@dataclass(slots=True)
class Agents:
    """The talks with all agents. Used by one thread."""

    links: GuestLinks = field(default_factory=GuestLinks)
    _streams: dict[DomainId, GuestStream] = field(default_factory=dict)

    def turn(self, guests: Iterable[tuple[DomainId, Guest]], now_ms: int) -> None:
        """Read what has come and send what is to be said; follow the guests that run."""
        running = {
            number: (guest, path) for number, guest in guests if guest.process is not None and (path := _socket(guest))
        }
        for number, stream in list(self._streams.items()):
            if number not in running or str(stream.path) != running[number][1]:
                stream.close()
                del self._streams[number]
        self.links.keep({number: guest.uuid for number, (guest, _) in running.items()})
        for number, (guest, path) in running.items():
            if number not in self._streams and len(self._streams) < MOST_LINKS:
                peer = None if guest.by_libvirt or guest.process is None else guest.process.pid
                self._streams[number] = GuestStream(self.links.of(number, guest.uuid), Path(path), peer)
            if number in self._streams:
                self._streams[number].turn(now_ms)

    def close(self) -> None:
        """Hang up everywhere: each port serves one host's process, and the next one wants it."""
        while self._streams:
            self._streams.popitem()[1].close()


def _socket(guest: Guest) -> str:
    """Where its agent is heard: by libvirt's word, for a command line is its process's to write. Without libvirt by
    that, and then the QEMU itself must be there: it shall hear of no pages but its own guest's.
    """
    if guest.by_libvirt:
        return guest.details.agent_socket
    return "" if guest.process is None else guest.process.agent_socket
