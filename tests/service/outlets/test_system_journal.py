"""systemd's journal, by its native protocol: whatever evidence says is a value, and never a field of its own."""

from __future__ import annotations

import array
import asyncio
import os
import re
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from docs.outlets_pages import catalog
from ringfence.service.attendants import keep
from ringfence.service.configuration.outlets import SystemJournal
from ringfence.service.outlets.notices import Notice
from ringfence.service.outlets.system_journal import Log, SystemJournalOutlet, datagram, fields_of
from ringfence.service.outlets.topics import TOPICS, Priority, Topic
from ringfence.views.metric_values import OutletReading
from tests.service.outlets.receivers import home, until

NOTICE = Notice(
    topic=Topic.CASE_CLOSED, number=7, text="it is killed", priority=Priority.ERROR, kind="Closed", case=3,
    row="I.3a-kill", severity="SRAR", domain=4, domain_name="old-pv", details=("one", "two"),
)  # fmt: skip


def read(message: bytes) -> list[tuple[str, bytes]]:
    """A message as the protocol's text has it read (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""
    found: list[tuple[str, bytes]] = []
    while message:
        line, _, rest = message.partition(b"\n")
        if b"=" in line:
            name, _, value = line.partition(b"=")
            message = rest
        else:
            name, (length,) = line, struct.unpack("<Q", rest[:8])
            value, message = rest[8 : 8 + length], rest[8 + length :]
            assert message[:1] == b"\n"
            message = message[1:]
        assert re.fullmatch(rb"[A-Z][A-Z0-9_]{0,63}", name)
        found.append((name.decode(), value))
    return found


@dataclass
class Listener:
    """A datagram socket as journald's."""

    path: str
    got: list[bytes] = field(default_factory=list)
    large: int = 0
    reads: threading.Event = field(default_factory=threading.Event)


@contextmanager
def journald(*, reads: bool = True) -> Iterator[Listener]:
    with tempfile.TemporaryDirectory(prefix="rf") as directory, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as at:
        listener = Listener(f"{directory}/socket")
        at.bind(listener.path)
        at.settimeout(0.05)
        over = threading.Event()
        if reads:
            listener.reads.set()

        def listen() -> None:
            listener.reads.wait()
            while not over.is_set():
                try:
                    data, extra, _, _ = at.recvmsg(1 << 20, socket.CMSG_SPACE(4))
                except TimeoutError:
                    continue
                for _, _, given in extra:
                    (descriptor,) = array.array("i", given)
                    with os.fdopen(descriptor, "rb") as file:
                        data = os.pread(file.fileno(), 1 << 24, 0)
                    listener.large += 1
                listener.got.append(data)

        thread = threading.Thread(target=listen)
        thread.start()
        try:
            yield listener
        finally:
            over.set()
            listener.reads.set()
            thread.join()


# --- a message --------------------------------------------------------------------------------------------------------


def test_a_message_has_the_fields_that_searches_go_by() -> None:
    assert dict(read(datagram(fields_of(NOTICE)))) == {
        "MESSAGE": b"A case has its outcome: [I.3a-kill] it is killed (case 3)",
        "MESSAGE_ID": TOPICS[Topic.CASE_CLOSED].message_id.encode(),
        "PRIORITY": b"3",
        "SYSLOG_IDENTIFIER": b"ringfence",
        "RINGFENCE_TOPIC": b"case.closed",
        "RINGFENCE_NUMBER": b"7",
        "RINGFENCE_EVENT": b"Closed",
        "RINGFENCE_CASE": b"3",
        "RINGFENCE_ROW": b"I.3a-kill",
        "RINGFENCE_SEVERITY": b"SRAR",
        "RINGFENCE_DOMAIN": b"4",
        "RINGFENCE_DOMAIN_NAME": b"old-pv",
        "RINGFENCE_DETAILS": b"one\ntwo",
        "RINGFENCE_DO": TOPICS[Topic.CASE_CLOSED].do.encode(),
    }


@given(st.lists(st.tuples(st.sampled_from(("MESSAGE", "RINGFENCE_DIMM")), st.text() | st.sampled_from(
    ("x\nPRIORITY=0", "\n", "a=b", "\x00", "x\nMESSAGE\n\x01\0\0\0\0\0\0\0y\n", "\ud800")
)), max_size=4))  # fmt: skip
def test_no_value_ends_early_or_begins_another_field(fields: list[tuple[str, str]]) -> None:
    wanted = [(name, value.encode("utf-8", "backslashreplace")) for name, value in fields]
    assert read(datagram(fields)) == wanted


# --- the socket -------------------------------------------------------------------------------------------------------


def test_what_is_too_large_for_a_datagram_goes_into_a_sealed_memory_file() -> None:
    value = "x" * (4 << 20)
    with journald() as to:
        Log(to.path).send(datagram([("MESSAGE", value)]))
        asyncio.run(until(lambda: to.got))
    assert read(to.got[0]) == [("MESSAGE", value.encode())]
    assert to.large == 1


def test_who_is_told_gets_every_notice_once_and_again_nothing_after_a_restart(tmp_path: Path) -> None:
    async def scene(path: str) -> None:
        async with home(tmp_path) as at:
            settings = SystemJournal(socket=path, events=("fault.ended",))
            for names in (("A1", "A2"), ("A3",)):
                task = asyncio.create_task(keep(SystemJournalOutlet(settings), at.house))
                await at.tell(*names)
                await until(lambda: names[-1].encode() in b"".join(to.got))  # noqa: B023 (it is over before names change)
                await until(lambda: at.house.measures.outlets.all["system-journal"].at >= at.house.news.last)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)

    with journald() as to:
        asyncio.run(asyncio.wait_for(scene(to.path), 15))
    said = [dict(read(each))["MESSAGE"].decode() for each in to.got]
    assert said == [f"A part is at fault no more: DIMM A{number}: repaired" for number in (1, 2, 3)]


def max_waiting() -> int:
    """How many datagrams the kernel lets wait (unix(7))."""
    return int(Path("/proc/sys/net/unix/max_dgram_qlen").read_text())


def test_a_journal_that_does_not_read_holds_up_nobody_and_is_told_when_it_reads_again(tmp_path: Path) -> None:
    names = [f"A{number}" for number in range(max_waiting() + 50)]
    settings = SystemJournal(socket="", events=("fault.ended",))

    async def scene(path: str) -> None:
        async with home(tmp_path) as at:
            task = asyncio.create_task(keep(SystemJournalOutlet(replace(settings, socket=path)), at.house))
            await at.tell(*names)
            await until(lambda: at.house.measures.outlets.all.get("system-journal", OutletReading()).taken)
            await asyncio.sleep(0.3)
            last = await asyncio.wrap_future(at.writer.ask(lambda desk: desk.journal.last))
            assert last > len(names) > at.house.measures.outlets.all["system-journal"].taken
            to.reads.set()
            await until(lambda: len(to.got) == len(names))
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    with journald(reads=False) as to:
        asyncio.run(asyncio.wait_for(scene(to.path), 20))
    assert [dict(read(each))["MESSAGE"].split()[-2].rstrip(b":").decode() for each in to.got] == names


def test_a_host_without_the_journal_is_well(tmp_path: Path) -> None:
    async def scene() -> None:
        async with home(tmp_path) as at:
            await keep(SystemJournalOutlet(SystemJournal(socket=str(tmp_path / "nothing"))), at.house)
            assert at.problems == ()

    asyncio.run(asyncio.wait_for(scene(), 10))
    problem = Log(str(tmp_path / "nothing")).problem()
    assert problem == f"systemd's journal does not listen at {tmp_path / 'nothing'}: No such file or directory"


# --- message ids ------------------------------------------------------------------------------------------------------


def test_message_ids_are_what_they_always_were() -> None:
    """Searches and catalogs in the field go by them: a line that changes here breaks somebody."""
    assert {topic.value: about.message_id for topic, about in TOPICS.items()} == {
        "error": "494a45279f35413d8eab35755db7bbd7",
        "case.opened": "cdb2be75ceb24908a3eaffc35f1cec07",
        "decision": "00a28d77bb7c4b618798ded859a2366d",
        "order.failed": "83603ebfed774b888fb23d9f259aa12d",
        "case.closed": "da767123c843456e81313c0238dbabc9",
        "approval.asked": "573126b7d84d42caa3a379d36fc71b66",
        "approval.given": "eeac5e56fc3b44139f097419a7012488",
        "instruction": "49c19cd174b74b5c8d53762fdc191520",
        "deadline.passed": "d3d3d9c40b97454381b6b74938c666d3",
        "trend": "77bf8478077e4e2ea36d3f6d07d59e14",
        "fault.ended": "30da2defa8ad4c7da6e43e166f2390fe",
        "evidence.lost": "dd25252b69824c539048a28ccf8609b9",
        "evidence.unrecognised": "f217ab679ea244e287efe593e597753d",
        "dom0": "31c2afd5760d45a0a64ecc01971fb561",
        "service.started": "6c5b3c8e08bc47e99afc450bff5781a6",
        "service.stopped": "f21dbdbe33354393a8065e7515991d15",
        "configuration": "cba54a03aa2b424894406fde5458b512",
        "health.problem": "202eef09cc70418993fb005c1af13536",
        "health.well": "b74dd41b3fb448928593f4cac5ad75e5",
        "journal.gap": "7cfde93861194d039465ed8028ef8690",
        "journal.salvaged": "d2254e83d0dc48a287ef24e0e87b1623",
        "test": "8b67ca05d62943948dbe799750b05a3d",
    }
    assert len({about.message_id for about in TOPICS.values()}) == len(Topic)


@pytest.mark.skipif(shutil.which("journalctl") is None, reason="journalctl is not there to read the catalog")
def test_systemd_reads_the_catalog(tmp_path: Path) -> None:
    directory = tmp_path / "usr/lib/systemd/catalog"
    directory.mkdir(parents=True)
    (directory / "ringfence.catalog").write_text(catalog())
    (tmp_path / "var/lib/systemd/catalog").mkdir(parents=True)
    done = subprocess.run(
        ["journalctl", f"--root={tmp_path}", "--update-catalog"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    shown = subprocess.run(
        ["journalctl", f"--root={tmp_path}", "--dump-catalog"], capture_output=True, text=True, check=False
    ).stdout
    assert all(about.message_id in shown and about.subject in shown for about in TOPICS.values())
