"""The ways from a guest to its host: each a file to sleep on, whole messages in, whole messages out.

A transport that is lost raises OSError; who uses it opens it again after a while. Which domain this is, the host knows
by the transport.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ringfence.guest import xenstore
from ringfence.guest.mailbox import GUEST_NODE, HOST_NODE, Mailbox
from ringfence.guest.protocol import Lines

PORT: Final = Path("/dev/virtio-ports/org.ringfence.guest.0")
"""The virtio-serial port: its name is the host's to give (QEMU: -device virtserialport,name=org.ringfence.guest.0)."""
VSOCK: Final = Path("/dev/vsock")
VSOCK_PORT: Final = 20815
"""Where a host listens; unprivileged, and not IANA's business: vsock's ports are a space of their own."""
VSOCK_HOST: Final = 2
"""VMADDR_CID_HOST (include/uapi/linux/vm_sockets.h)."""
READ_BYTES: Final = 16_384
MOST_UNSENT_BYTES: Final = 1 << 17
"""Of messages that the host does not take: 64 of the longest. Beyond that the connection is given up and begun anew."""


class Transport(Protocol):
    """A way to the host that is open."""

    @property
    def name(self) -> str:
        """What it is, for people."""
        ...

    def fileno(self) -> int:
        """The file to sleep on until it is readable."""
        ...

    @property
    def has_unsent(self) -> bool:
        """Whether something waits until the file is writable."""
        ...

    def receive(self) -> list[bytes]:
        """The messages that have come; what was too long is left out. Does not wait. Raises OSError if it is lost."""
        ...

    def begins_anew(self) -> bool:
        """Whether the host has begun anew since the last look, and knows nothing of this agent."""
        ...

    def send(self, line: bytes) -> None:
        """Say a message, as soon as it can be said. Raises OSError if it is lost."""
        ...

    def flush(self) -> None:
        """Send what could not be sent before. Raises OSError if it is lost."""
        ...

    def beat(self) -> None:
        """See after it, now and then; ``receive`` afterwards. Raises OSError if it is lost."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Stream:
    """A byte stream: JSON lines."""

    def __init__(self, name: str, file: int, owner: socket.socket | None = None) -> None:
        self._name, self._file, self._owner = name, file, owner
        self._lines = Lines()
        self._unsent = b"\n"  # what an earlier life left unfinished ends here

    @property
    def name(self) -> str:
        """As ``Transport.name``."""
        return self._name

    def fileno(self) -> int:
        """As ``Transport.fileno``."""
        return self._file

    @property
    def has_unsent(self) -> bool:
        """As ``Transport.has_unsent``."""
        return bool(self._unsent)

    def receive(self) -> list[bytes]:
        """As ``Transport.receive``."""
        try:
            data = os.read(self._file, READ_BYTES)
        except BlockingIOError:
            return []
        if not data:
            raise OSError(errno.EPIPE, "the host has hung up")
        return [line for line in self._lines.of(data) if line is not None]

    def begins_anew(self) -> bool:
        """As ``Transport.begins_anew``: a host that does so hangs up."""
        return False

    def send(self, line: bytes) -> None:
        """As ``Transport.send``."""
        if len(self._unsent) > MOST_UNSENT_BYTES:
            raise OSError(errno.ENOBUFS, "the host takes nothing any more")
        self._unsent += line + b"\n"
        self.flush()

    def flush(self) -> None:
        """As ``Transport.flush``."""
        while self._unsent:
            try:
                sent = os.write(self._file, self._unsent)
            except BlockingIOError:
                return
            self._unsent = self._unsent[sent:]

    def beat(self) -> None:
        """As ``Transport.beat``."""

    def close(self) -> None:
        """As ``Transport.close``."""
        if self._owner is not None:
            self._owner.close()
        elif self._file >= 0:
            os.close(self._file)
        self._file = -1


class Xenstore:
    """A mailbox in the xenstore."""

    def __init__(self, device: Path) -> None:
        self._store = xenstore.Store(device)
        self._mailbox = Mailbox(int.from_bytes(os.urandom(4), "little"))
        self._written = b""
        self._is_due = False
        try:
            self._store.watch(HOST_NODE)
        except OSError:
            self._store.close()
            raise

    @property
    def name(self) -> str:
        """As ``Transport.name``."""
        return "xenstore"

    def fileno(self) -> int:
        """As ``Transport.fileno``."""
        return self._store.fileno()

    @property
    def has_unsent(self) -> bool:
        """As ``Transport.has_unsent``: what waits does so for the host's word, which a watch tells."""
        return False

    def receive(self) -> list[bytes]:
        """As ``Transport.receive``."""
        found = []
        if self._store.fired() or self._is_due:
            self._is_due = False
            node = self._store.read(HOST_NODE)
            if node and (message := self._mailbox.look(node)) is not None:
                found.append(message)
            self._write()
        return found

    def begins_anew(self) -> bool:
        """As ``Transport.begins_anew``: by the session in its node."""
        return self._mailbox.begins_anew()

    def send(self, line: bytes) -> None:
        """As ``Transport.send``."""
        self._mailbox.put(line)
        self._write()

    def flush(self) -> None:
        """As ``Transport.flush``."""

    def beat(self) -> None:
        """As ``Transport.beat``: a domain that was restored or migrated has another, empty node, and may have missed
        what stands in the host's.
        """
        self._is_due = True
        if self._store.read(GUEST_NODE) != self._mailbox.node:
            self._written = b""
        self._write()

    def close(self) -> None:
        """As ``Transport.close``."""
        self._store.close()

    def _write(self) -> None:
        if self._mailbox.node != self._written:
            self._store.write(GUEST_NODE, self._mailbox.node)
            self._written = self._mailbox.node


def _unix(path: Path) -> Transport:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    return _connected(f"unix:{path}", made, str(path))


def _vsock() -> Transport:
    made = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    return _connected("vsock", made, (VSOCK_HOST, VSOCK_PORT))


CONNECT_S: Final = 5.0


def _connected(name: str, made: socket.socket, address: str | tuple[int, int]) -> Transport:
    try:
        made.settimeout(CONNECT_S)
        made.connect(address)
        made.setblocking(False)
    except OSError:
        made.close()
        raise
    return Stream(name, made.fileno(), made)


def _port() -> Transport:
    return Stream("virtio-serial", os.open(PORT, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))


def _xenstore() -> Transport:
    device = xenstore.first_device()
    if device is None:
        raise FileNotFoundError(errno.ENOENT, "there is no xenstore here", str(xenstore.DEVICES[0]))
    return Xenstore(device)


@dataclass(frozen=True, slots=True)
class Way:
    """A transport that can be asked for: its word, whether it is to be had here, and how it is opened."""

    word: str
    is_here: Callable[[], bool]
    open: Callable[[], Transport]


WAYS: Final = (
    Way("virtio-serial", PORT.exists, _port),
    Way("xenstore", lambda: xenstore.first_device() is not None and not is_dom0(), _xenstore),
    Way("vsock", VSOCK.exists, _vsock),
)
"""In the order in which ``auto`` looks: what somebody configured for Ringfence comes before what is there anyway."""
AUTO: Final = "auto"
UNIX: Final = "unix:"
XENSTORE: Final = "xenstore:"
"""Before the path of a xenbus device, or of a xenstored's socket, that is not where they usually are."""


def is_dom0() -> bool:
    """Whether this is the control domain, which is no guest."""
    try:
        return "control_d" in Path("/proc/xen/capabilities").read_text()
    except OSError:
        return False


def way(word: str) -> Way:
    """The transport that a word asks for. Raises ValueError if none has that name, FileNotFoundError if ``auto`` finds
    none here.
    """
    if word == AUTO:
        found = next((each for each in WAYS if each.is_here()), None)
        if found is None:
            raise FileNotFoundError(errno.ENOENT, "no way to a host is to be found here")
        return found
    if word.startswith(UNIX) and len(word) > len(UNIX):
        path = Path(word.removeprefix(UNIX))
        return Way(word, path.exists, lambda: _unix(path))
    if word.startswith(XENSTORE) and len(word) > len(XENSTORE):
        path = Path(word.removeprefix(XENSTORE))
        return Way(word, path.exists, lambda: Xenstore(path))
    for each in WAYS:
        if each.word == word:
            return each
    raise ValueError(
        f"{word}: no such transport; one of {AUTO}, {', '.join(each.word for each in WAYS)}, {UNIX}PATH, {XENSTORE}PATH"
    )
