"""systemd's journal: messages with structured fields, over its native protocol.

Source: systemd.io/JOURNAL_NATIVE_PROTOCOL. A datagram holds fields: ``NAME=value`` and a newline, or, where a value
may hold newlines, ``NAME``, a newline, its length in 64 bits (little-endian), the value and a newline. What is too
large for a datagram goes into a sealed memfd whose descriptor is sent. systemd.journal-fields(7) explains the fields.
"""

from __future__ import annotations

import array
import asyncio
import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from ringfence.errors import SourceError
from ringfence.service.attendants import House
from ringfence.service.configuration.outlets import SYSTEM_JOURNAL, SystemJournal
from ringfence.service.outlets.cursor import Identity
from ringfence.service.outlets.notices import Notice
from ringfence.service.outlets.telling import Outlet, tell
from ringfence.service.outlets.topics import TOPICS
from ringfence.views.metric_values import OutletReading

NAME: Final = SYSTEM_JOURNAL
IDENTIFIER: Final = "ringfence"
FULL_S: Final = 0.25
"""Between two tries while the journal's socket is full: it reads thousands of messages a second when it reads."""
LONGEST_FULL_S: Final = 30.0
"""After so long it does not read at all: health says so, and the message is tried on."""

_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_TOO_LARGE: Final = frozenset({errno.EMSGSIZE, errno.ENOBUFS})


def fields_of(notice: Notice) -> list[tuple[str, str]]:
    """The fields of a message. Those that say nothing are left out."""
    about = TOPICS[notice.topic]
    case = f" (case {notice.case})" if notice.case is not None else ""
    row = f"[{notice.row}] " if notice.row else ""
    given = (
        ("MESSAGE", f"{about.subject}: {row}{notice.text}{case}"),
        ("MESSAGE_ID", about.message_id),
        ("PRIORITY", str(notice.priority.value)),
        ("SYSLOG_IDENTIFIER", IDENTIFIER),
        ("RINGFENCE_TOPIC", notice.topic.value),
        ("RINGFENCE_NUMBER", str(notice.number)),
        ("RINGFENCE_EVENT", notice.kind),
        ("RINGFENCE_CASE", str(notice.case) if notice.case is not None else ""),
        ("RINGFENCE_ROW", notice.row),
        ("RINGFENCE_SEVERITY", notice.severity),
        ("RINGFENCE_DOMAIN", str(notice.domain) if notice.domain is not None else ""),
        ("RINGFENCE_DOMAIN_NAME", notice.domain_name),
        ("RINGFENCE_DIMM", notice.dimm),
        ("RINGFENCE_DETAILS", "\n".join(notice.details)),
        ("RINGFENCE_DO", about.do),
    )
    return [(name, value) for name, value in given if value]


def datagram(fields: Iterable[tuple[str, str]]) -> bytes:
    """Fields as one message of the protocol. No value can end early or begin another field: each has its length."""
    parts: list[bytes] = []
    for name, value in fields:
        data = value.encode("utf-8", "backslashreplace")
        if name == "MESSAGE" or any(byte < 0x20 for byte in data):
            parts.append(name.encode() + b"\n" + struct.pack("<Q", len(data)) + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


@dataclass(slots=True)
class Log:
    """systemd's journal at a socket's path."""

    path: str

    def send(self, message: bytes) -> None:
        """Send one message. Raises BlockingIOError if the journal's queue is full, OSError if nobody listens."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            to.setblocking(False)
            to.connect(self.path)
            try:
                to.send(message)
            except OSError as error:
                if error.errno not in _TOO_LARGE:
                    raise
                _send_large(to, message)

    def problem(self) -> str:
        """Why messages cannot be sent, empty if they can; for ``ringfence doctor``."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to:
            try:
                to.connect(self.path)
            except OSError as error:
                return f"systemd's journal does not listen at {self.path}: {error.strerror or error}"
        return ""


def _send_large(to: socket.socket, message: bytes) -> None:
    memory = os.memfd_create("ringfence-message", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with os.fdopen(os.dup(memory), "wb") as file:
            file.write(message)
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, _SEALS)
        to.sendmsg([], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [memory]))])
    finally:
        os.close(memory)


@dataclass(slots=True)
class SystemJournalOutlet:
    """The outlet, as an attendant. Without a journal it does nothing, and says nothing: many hosts have none."""

    settings: SystemJournal
    name: str = NAME
    _reading: OutletReading = field(default_factory=OutletReading)

    async def attend(self, house: House) -> None:
        """As ``Attendant.attend``. Raises SourceError if a journal that was there is not there any more."""
        log = Log(self.settings.socket)
        if await asyncio.to_thread(log.problem):
            return

        async def deliver(notice: Notice, _: Identity) -> None:
            await self._deliver(log, house, notice)

        def done(number: int) -> None:
            self._say(house, replace(self._reading, at=number))

        await tell(Outlet(NAME, self.settings.events, deliver, done), house)

    async def _deliver(self, log: Log, house: House, notice: Notice) -> None:
        message, waited_s = datagram(fields_of(notice)), 0.0
        while True:
            try:
                log.send(message)
            except BlockingIOError:
                if waited_s >= LONGEST_FULL_S:
                    house.problems.says(NAME, "systemd's journal reads nothing (systemctl restart systemd-journald)")
                await asyncio.sleep(FULL_S)
                waited_s += FULL_S
                continue
            except OSError as error:
                self._say(house, replace(self._reading, up=False, failed=self._reading.failed + 1))
                advice = "See systemctl status systemd-journald; what is not told yet is told later."
                raise SourceError(log.path, error.strerror or str(error), advice=advice) from error
            house.problems.says(NAME, "")
            self._say(house, replace(self._reading, up=True, taken=self._reading.taken + 1))
            return

    def _say(self, house: House, reading: OutletReading) -> None:
        self._reading = reading
        house.measures.outlets.says(NAME, reading)
