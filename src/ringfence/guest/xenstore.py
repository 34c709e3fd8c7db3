"""The xenstore's wire, for whoever talks to it: a guest over /dev/xen/xenbus, Dom0 over that or xenstored's socket.

Source: xen/include/public/io/xs_wire.h, docs/misc/xenstore.txt; Linux drivers/xen/xenbus/xenbus_dev_frontend.c.
"""

from __future__ import annotations

import os
import select
import socket
import stat
import time
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from struct import Struct
from typing import Final

DEVICES: Final = (Path("/dev/xen/xenbus"), Path("/proc/xen/xenbus"))
"""Where a Linux domain reaches the xenstore; the second is xenfs's, for older kernels."""
MOST_BYTES: Final = 4096
"""XENSTORE_PAYLOAD_MAX."""
WAIT_S: Final = 30.0
"""xenstored answers in a millisecond, on a host that is overloaded in seconds; one that is stuck is asked anew."""

_HEAD: Final = Struct("<IIII")


class Kind(IntEnum):
    """enum xsd_sockmsg_type, as far as it is used here."""

    DIRECTORY = 1
    READ = 2
    WATCH = 4
    WRITE = 11
    RM = 13
    WATCH_EVENT = 15
    ERROR = 16


class XenstoreError(OSError):
    """The xenstore refuses, or cannot be talked to. ``said`` is its word ("ENOENT"), empty if it said nothing."""

    def __init__(self, message: str, said: str = "") -> None:
        super().__init__(message)
        self.said = said


@dataclass(frozen=True, slots=True)
class Packet:
    """struct xsd_sockmsg with what follows it. ``kind`` is a number: what is unknown is none of ``Kind``."""

    kind: int
    payload: bytes
    request: int = 0

    def packed(self) -> bytes:
        """Its bytes. Raises XenstoreError if it is longer than the xenstore takes."""
        if len(self.payload) > MOST_BYTES:
            raise XenstoreError(f"the xenstore takes {MOST_BYTES} bytes at a time, not {len(self.payload)}")
        return _HEAD.pack(self.kind, self.request, 0, len(self.payload)) + self.payload


class Packets:
    """A stream of bytes as packets; it holds one that is unfinished."""

    def __init__(self) -> None:
        self._held = b""

    def of(self, data: bytes) -> list[Packet]:
        """The packets that are complete now. Raises XenstoreError for a length that none may have."""
        held, found = self._held + data, []
        while len(held) >= _HEAD.size:
            kind, request, _, size = _HEAD.unpack_from(held)
            if size > MOST_BYTES:
                raise XenstoreError(f"a packet of {size} bytes: the xenstore's are {MOST_BYTES} at most")
            end = _HEAD.size + size
            if len(held) < end:
                break
            found.append(Packet(kind, held[_HEAD.size : end], request))
            held = held[end:]
        self._held = held
        return found


class Store:
    """A connection to the xenstore.

    ``wait_s`` is for its answer. Raises XenstoreError (an OSError) wherever it cannot be talked to.
    """

    def __init__(self, path: Path, wait_s: float = WAIT_S) -> None:
        self._wait_s = wait_s
        self._packets = Packets()
        self._fired = False
        self._request = 0
        self._socket: socket.socket | None = None
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                self._socket.connect(str(path))
            except OSError:
                self._socket.close()
                raise
            self._socket.setblocking(False)
            self._file = self._socket.fileno()
        else:
            self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)

    def fileno(self) -> int:
        """Its descriptor: readable when a watch has fired."""
        return self._file

    def close(self) -> None:
        """End the connection; its watches go with it."""
        if self._socket is not None:
            self._socket.close()
        elif self._file >= 0:
            os.close(self._file)
        self._file = -1

    def read(self, path: str) -> bytes | None:
        """The value at a path, None if there is none."""
        try:
            return self._ask(Kind.READ, path.encode() + b"\0")
        except XenstoreError as error:
            if error.said == "ENOENT":
                return None
            raise

    def write(self, path: str, value: bytes) -> None:
        """Set the value at a path; whatever is missing above it is made."""
        self._ask(Kind.WRITE, path.encode() + b"\0" + value)

    def remove(self, path: str) -> None:
        """Remove a path with all below it; one that is not there is no error."""
        try:
            self._ask(Kind.RM, path.encode() + b"\0")
        except XenstoreError as error:
            if error.said != "ENOENT":
                raise

    def watch(self, path: str) -> None:
        """Have changes at a path told; one event comes at once."""
        self._ask(Kind.WATCH, path.encode() + b"\0ringfence\0")

    def fired(self) -> bool:
        """Whether a watch has fired since the last look. Takes what has come, and does not wait."""
        self.answers()
        fired, self._fired = self._fired, False
        return fired

    def ask(self, kind: Kind, path: str, value: bytes = b"") -> int:
        """Ask without waiting: the number that the answer will have. Ask nothing else until it has come: Linux keeps a
        file's question in one buffer until it is sent (drivers/xen/xenbus/xenbus_xs.c).
        """
        return self._send(kind, path.encode() + b"\0" + value)

    def wait(self, most_s: float) -> bool:
        """Wait until something has come; False if nothing does in time."""
        return bool(select.select([self._file], [], [], most_s)[0])

    def answers(self) -> list[Packet]:
        """The answers that have come to what was asked without waiting."""
        found = []
        while select.select([self._file], [], [], 0)[0]:
            for packet in self._take():
                if packet.kind == Kind.WATCH_EVENT:
                    self._fired = True
                else:
                    found.append(packet)
        return found

    def _send(self, kind: Kind, payload: bytes) -> int:
        self._request = (self._request + 1) & 0xFFFFFFFF
        os.write(self._file, Packet(kind, payload, self._request).packed())
        return self._request

    def _ask(self, kind: Kind, payload: bytes) -> bytes:
        # Kernels number what they answer by themselves (a watch) with 0: one question at a time needs no number.
        self._send(kind, payload)
        until_s = time.monotonic() + self._wait_s
        while (left_s := until_s - time.monotonic()) > 0:
            if not select.select([self._file], [], [], left_s)[0]:
                break
            answer = None
            for packet in self._take():
                if packet.kind == Kind.WATCH_EVENT:
                    self._fired = True
                else:
                    answer = packet
            if answer is not None:
                if answer.kind == Kind.ERROR:
                    said = answer.payload.rstrip(b"\0").decode("ascii", "replace")
                    raise XenstoreError(f"the xenstore answers {said}", said)
                return answer.payload
        self.close()  # an answer that comes later would be taken for the next one's
        raise XenstoreError(f"the xenstore has not answered within {self._wait_s:g} s")

    def _take(self) -> list[Packet]:
        data = os.read(self._file, _HEAD.size + MOST_BYTES)
        if not data:
            raise XenstoreError("the xenstore has hung up")
        return self._packets.of(data)


def first_device() -> Path | None:
    """Where the xenstore is reached here, None if nowhere."""
    return next((each for each in DEVICES if each.exists()), None)
