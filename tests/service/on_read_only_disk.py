"""A service that starts on a disk that is read-only: ``python -m tests.service.on_read_only_disk DIRECTORY known|new``.

To be run in a mount namespace of its own (``unshare -rm``): it mounts a file system in the directory and a file in the
place of /dev/kmsg. Fails by an AssertionError.
"""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

from ringfence.journal import events as ev
from ringfence.journal.store import Reader
from ringfence.record.binary.struct_mce import StructMce
from ringfence.service import control_protocol as say
from tests.service.processes import Service, until

BYTES = 128
UNCORRECTED = StructMce(
    status=0xBD00_0000_0000_00C0, misc=0x8C, addr=0x7654_0000_0000, mcgstatus=5, tsc=1, cpuid=0x50654, bank=13, cpu=1,
    extcpu=1, apicid=2, socketid=0, mcgcap=0xF00_0C14, finished=1,
).pack(BYTES)  # fmt: skip


def mount(*words: object) -> None:
    """mount(8)."""
    subprocess.run(["mount", *map(str, words)], check=True)


def events_of(journal: Path) -> list[ev.Stored]:
    """What is on the disk."""
    if not journal.exists():
        return []
    with Reader(journal) as reader:
        return [event for _, event in reader.events()]


def connected(path: Path) -> socket.socket | None:
    """A connection to a socket, once somebody listens there."""
    sending = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sending.connect(str(path))
    except OSError:
        sending.close()
        return None
    return sending


def main(directory: Path, before: str) -> None:
    """Each step of it."""
    disk, kernel_log, sender = directory / "disk", directory / "kmsg", directory / "in.sock"
    disk.mkdir()
    kernel_log.touch()
    mount("-t", "tmpfs", "-o", "size=32m", "none", disk)
    mount("--bind", kernel_log, "/dev/kmsg")
    journal = disk / "state" / "journal.sqlite"
    (disk / "state").mkdir()
    service = Service(disk / "state", directory / "c.sock", ("--source", f"socket:{sender}"))
    if before == "known":
        service.start()
        service.end()
    lives = len([event for event in events_of(journal) if isinstance(event, ev.Started)])
    assert lives == (before == "known")

    mount("-o", "remount,ro", disk)
    service.start()
    with until(lambda: connected(sender)) as sending:
        sending.sendall(b"structs %d\n" % BYTES + UNCORRECTED)
        until(lambda: service.health().received == 1 and not service.health().open_cases)
        health = service.health()
        assert health.unwritten > 10
        assert health.journal_events == len(events_of(journal)), "on the disk"
        (said,) = (each for each in health.problems if "the journal's disk" in each)
        assert "Read-only file system" in said, said
        assert b'"kind":"' in kernel_log.read_bytes()

        mount("-o", "remount,rw", disk)
        until(lambda: not service.health().unwritten)
        assert service.health().received == 1
        assert not any("the journal's disk" in each for each in service.health().problems)
        assert not isinstance(service.health(), say.Refused)
    assert service.end()[0] == 0
    stored = events_of(journal)
    assert len([event for event in stored if isinstance(event, ev.Received)]) == 1
    assert len([event for event in stored if isinstance(event, ev.Closed)]) == 1
    assert len([event for event in stored if isinstance(event, ev.Started)]) == lives + 1
    with Reader(journal) as reader:
        assert reader.check() == len(stored)
    sys.stdout.write("it acted, and nothing was lost\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
