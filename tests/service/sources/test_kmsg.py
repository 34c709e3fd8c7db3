"""The kernel log as a source: /dev/kmsg's own format (Linux Documentation/ABI/testing/dev-kmsg), one record a read."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.arch.cpuid import Signature, Vendor
from ringfence.diagnosis.finding import diagnose
from ringfence.diagnosis.severity import Severity
from ringfence.errors import FormatError
from ringfence.record.evidence import Record
from ringfence.service.sources.kmsg import KmsgSource, log_lines, parse
from ringfence.service.sources.source import Lost, Position, Presence
from ringfence.service.sources.this_machine import ASSUMED, signature_of_this_machine
from tests.service.sources.running import batches, items, last

CORRECTED = (
    b"mce: [Hardware Error]: Machine check events logged",
    b"[Hardware Error]: CPU 1: Machine Check: 0 Bank 7: 8c00004000010090",
    b"[Hardware Error]: TSC 5a1 ADDR 12345678c0 MISC 86 ",
    b"[Hardware Error]: PROCESSOR 0:50654 TIME 1700000000 SOCKET 0 APIC 2 microcode 2006b06",
)
QUIET = b"usb 1-1: new high-speed USB device"


def raw(sequence: int, text: bytes, *, prefix: int = 6, flags: bytes = b"-") -> bytes:
    return b"%d,%d,%d,%s;%s\n SUBSYSTEM=cpu\n" % (prefix, sequence, sequence * 1000, flags, text)


class Ring:
    """/dev/kmsg through a datagram socket: one record a read, nothing is BlockingIOError, EPIPE where it is told to."""

    def __init__(self, records: list[bytes | type[OSError]]) -> None:
        self._ours, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._theirs.setblocking(False)
        for record in records:
            self.add(record)

    def add(self, record: bytes | type[OSError]) -> None:
        self._ours.send(record if isinstance(record, bytes) else b"EPIPE")

    def fileno(self) -> int:
        return self._theirs.fileno()

    def read(self) -> bytes:
        found = self._theirs.recv(16_384)
        if found == b"EPIPE":
            raise BrokenPipeError(32, "Broken pipe")
        return found

    def close(self) -> None:
        self._ours.close()
        self._theirs.close()


def source(ring: Ring, boot: str = "one", checkpoint_s: float = 60.0) -> KmsgSource:
    return KmsgSource(
        lull_s=0.02,
        checkpoint_s=checkpoint_s,
        boot_id=lambda: boot,
        wall_of_boot=lambda: 1e9,
        open_device=lambda _: ring,
    )


def log(*texts: bytes, start: int = 0) -> list[bytes | type[OSError]]:
    return [raw(start + number, text) for number, text in enumerate(texts)]


def test_a_machine_check_in_the_log_is_one_record_with_the_devices_bytes() -> None:
    found = asyncio.run(batches(source(Ring(log(QUIET, *CORRECTED, QUIET))), 1))
    (record,) = items(found)
    assert isinstance(record, Record)
    assert (record.bank, record.cpu, record.registers.status) == (7, 1, 0x8C00004000010090)
    assert record.registers.addr == 0x12345678C0
    assert b"6,2,2000,-;[Hardware Error]: CPU 1" in record.raw


SCRUBBED = (
    b"mce: [Hardware Error]: CPU 0: Machine Check Exception: 5 Bank 5: bd000000000000c0",
    b"mce: [Hardware Error]: TSC 5a1 ADDR 12345000 MISC 8c ",
)
CPUINFO = "processor\t: 0\nvendor_id\t: GenuineIntel\ncpu family\t: 6\nmodel\t\t: 85\nstepping\t: 4\n\nprocessor\t: 1\n"


def severity(found: list[object]) -> Severity:
    (record,) = found
    assert isinstance(record, Record)
    return diagnose(record).severity


def test_an_error_whose_processor_was_not_logged_is_judged_as_this_machines(tmp_path: Path) -> None:
    """The line that names the processor is lost: no fatal error is made of one that the processor contained."""
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    this = signature_of_this_machine(tmp_path / "cpuinfo")
    bare = items(asyncio.run(batches(source(Ring(log(*SCRUBBED, QUIET))), 1)))
    known = items(asyncio.run(batches(replace(source(Ring(log(*SCRUBBED, QUIET))), processor=this), 1)))
    assert (severity([*bare]), severity([*known])) == (Severity.FATAL, Severity.SRAO)
    assert isinstance(known[0], Record) and ASSUMED in known[0].assumptions


def test_what_names_its_processor_keeps_it() -> None:
    other = Signature(Vendor.INTEL, 6, 0x2A, 7)
    (record,) = items(asyncio.run(batches(replace(source(Ring(log(*CORRECTED, QUIET))), processor=other), 1)))
    assert isinstance(record, Record) and record.cpuid == 0x50654


@pytest.mark.parametrize("text", ["", "vendor_id: GenuineIntel\n", CPUINFO.replace("85", "8500"), "\0" * 100])
def test_a_machine_that_does_not_say_what_it_is_is_not_guessed_at(text: str, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert signature_of_this_machine(tmp_path / "cpuinfo") is None
    assert signature_of_this_machine(tmp_path / "nothing") is None


def test_a_record_without_a_time_of_its_own_gets_the_wall_time_of_its_stamp() -> None:
    ring = Ring([raw(3_000_000, b"EDAC MC0: 1 CE memory read error on DIMM_A1 (channel:0 slot:0 page:0x1 offset:0x0)")])
    found = items(asyncio.run(batches(source(ring), 2)))
    assert [type(item) for item in found] == [Lost, Record]
    assert isinstance(found[1], Record) and found[1].time == pytest.approx(1e9 + 3000)


def test_a_wall_clock_that_is_set_while_the_log_is_followed_is_that_of_what_comes_then() -> None:
    """Or the kernel's words on a page would be of another time than its trace event, and an error of their own."""
    words = [b"Memory failure: 0x%x: recovery action for dirty LRU page: Recovered" % frame for frame in (1, 2)]
    walls = iter((1e9, 2e9))
    following = replace(source(Ring(log(*words))), wall_of_boot=lambda: next(walls))
    times = [item.time for item in items(asyncio.run(batches(following, 1))) if isinstance(item, Record)]
    assert times == pytest.approx([1e9, 2e9], abs=1)


def test_what_was_journaled_is_not_repeated_and_what_came_meanwhile_is_not_lost() -> None:
    first = asyncio.run(batches(source(Ring(log(*CORRECTED))), 1))
    again = asyncio.run(batches(source(Ring(log(*CORRECTED, QUIET, *CORRECTED))), 1, last(first)))
    (record,) = items(again)
    assert isinstance(record, Record) and b"6,6,6000" in record.raw


def test_an_overrun_is_counted_by_the_gap_in_the_numbers() -> None:
    records = [*log(*CORRECTED), BrokenPipeError, *log(*CORRECTED, start=104)]
    found = items(asyncio.run(batches(source(Ring(records)), 3)))
    assert [type(item) for item in found] == [Record, Lost, Record]
    assert isinstance(found[1], Lost) and (found[1].at_least, found[1].exact) == (100, True)


def test_an_overrun_that_was_told_is_not_told_again_after_a_restart() -> None:
    first = asyncio.run(batches(source(Ring(log(*CORRECTED, start=50))), 2))
    assert [type(item) for item in items(first)] == [Lost, Record]
    again = asyncio.run(batches(source(Ring(log(*CORRECTED, *CORRECTED, start=50))), 1, last(first)))
    assert [type(item) for item in items(again)] == [Record]


def test_what_was_overwritten_while_away_is_lost_and_counted() -> None:
    first = asyncio.run(batches(source(Ring(log(*CORRECTED))), 1))
    again = items(asyncio.run(batches(source(Ring(log(*CORRECTED, start=10))), 2, last(first))))
    assert isinstance(again[0], Lost) and again[0].at_least == 6


def test_after_a_boot_the_log_is_read_from_its_beginning_and_the_tail_of_the_one_before_is_unknown() -> None:
    first = asyncio.run(batches(source(Ring(log(*CORRECTED))), 1))
    again = items(asyncio.run(batches(source(Ring(log(*CORRECTED)), boot="two"), 2, last(first))))
    lost, record = again
    assert isinstance(lost, Lost) and (lost.at_least, lost.exact) == (0, False)
    assert isinstance(record, Record)


def test_what_a_program_wrote_into_the_log_is_no_evidence() -> None:
    forged = [raw(number, text, prefix=12) for number, text in enumerate(CORRECTED)]
    found = asyncio.run(batches(source(Ring([*forged, *log(*CORRECTED, start=4)])), 1))
    (record,) = items(found)
    assert isinstance(record, Record) and b"6,5,5000" in record.raw


def test_a_log_that_never_falls_silent_does_not_hold_evidence_back() -> None:
    ring = Ring(log(*CORRECTED))
    number = 4

    async def run() -> None:
        nonlocal number

        async def chatter() -> None:
            nonlocal number
            while True:
                ring.add(raw(number, QUIET))
                number += 1
                await asyncio.sleep(0.002)

        talk = asyncio.create_task(chatter())
        assert len(items(await batches(source(ring), 1))) == 1
        talk.cancel()

    asyncio.run(run())


def test_reading_on_without_evidence_is_told_so_that_no_gap_appears_later() -> None:
    async def run() -> Position:
        queue: asyncio.Queue[Position | None] = asyncio.Queue()
        follower = source(Ring(log(QUIET, QUIET)), checkpoint_s=0.02).follow(lambda batch: queue.put(batch.position))
        task = asyncio.create_task(follower)
        position = await asyncio.wait_for(queue.get(), 5)
        task.cancel()
        assert position is not None
        return position

    found = asyncio.run(batches(source(Ring(log(*CORRECTED, start=2))), 1, asyncio.run(run())))
    assert [type(item) for item in items(found)] == [Record]


def test_a_fragment_is_joined_to_the_line_before_it() -> None:
    head, tail = CORRECTED[2].split(b" MISC")
    records = log(*CORRECTED[:2], head)
    records += [raw(3, b"MISC" + tail, flags=b"c"), raw(4, CORRECTED[3])]
    (record,) = items(asyncio.run(batches(source(Ring(records)), 1)))
    assert isinstance(record, Record) and record.registers.misc == 0x86


def test_escapes_callers_and_facilities_are_read() -> None:
    record = parse(rb"30,7,1500000,-,caller=T21;a\x09b\x0ac" + b"\n KEY=value\n")
    assert record is not None
    assert (record.facility, record.level, record.sequence, record.caller) == (3, 6, 7, "T21")
    assert [text for _, text in log_lines(record)] == [b"[    1.500000][   T21] a\tb", b"[    1.500000][   T21] c"]


def test_a_position_of_another_source_is_refused() -> None:
    ring = Ring([])
    with pytest.raises(FormatError, match="no position"):
        asyncio.run(batches(source(ring), 1, Position('{"inode": 1}')))
    ring.close()


def test_without_the_device_the_source_says_what_to_do(tmp_path: Path) -> None:
    found = KmsgSource(path=tmp_path / "kmsg").probe()
    assert found.presence is Presence.ABSENT and "CONFIG_PRINTK" in found.advice
