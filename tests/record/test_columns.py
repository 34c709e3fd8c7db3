"""Records as columns: what is read, what is left to the reader of single lines, and that both find the same."""

import importlib
import io
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import NoReturn

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ringfence.arch.cpuid import Vendor
from ringfence.errors import MissingExtraError
from ringfence.record.columns import (
    Block,
    LineFilter,
    Present,
    every_grammar,
    map_ranges,
    records,
    scan_file,
    scan_stream,
    scan_text,
    single_lines,
)
from ringfence.record.columns.digits import PAD_BYTES, Text, decimal16, hexadecimal16
from ringfence.record.columns.shape import judged
from ringfence.record.evidence import Delivery, Evidence, Record, Registers
from ringfence.record.text import reader
from ringfence.record.text.lines import RawLine

WANTED = every_grammar()

# Linux arch/x86/kernel/cpu/mce/core.c, __print_mce; the values of a Coffee Lake's bank 7 as reported in a forum, 2020.
COFFEE_LAKE = (
    "CPU 0: Machine Check: 0 Bank 7: ae00000000801136",
    "TSC 0 ADDR 8be6c800 MISC 70e0000086 ",
    "PROCESSOR 0:906eb TIME 1607550045 SOCKET 0 APIC 0 microcode ca",
)
EDAC = (
    "EDAC MC0: 1 CE memory read error on CPU_SrcID#0_Ha#0_Chan#0_DIMM#0 (channel:0 slot:0 page:0x8be6c offset:0x800 "
    "grain:32 syndrome:0x0 -  area:DRAM err_code:0080:1136 socket:0 ha:0 channel_mask:1 rank:0)"
)
NOISE = ("usb 1-1: new high-speed USB device number 4 using xhci_hcd", "br0: port 2(vif3.0) entered forwarding state")


def dmesg(bodies: Iterable[str], start_us: int = 333_000_000) -> list[str]:
    """Lines with dmesg's stamps; what is not in ``NOISE`` or ``EDAC`` gets the kernel's tag."""
    return [
        f"[{(start_us + 7 * at) // 1_000_000:5d}.{(start_us + 7 * at) % 1_000_000:06d}] "
        + (body if body in NOISE or body == EDAC else f"mce: [Hardware Error]: {body}")
        for at, body in enumerate(bodies)
    ]


def text_of(lines: Iterable[str]) -> bytes:
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def raw_lines(text: bytes) -> Iterator[RawLine]:
    lines = text.split(b"\n")
    for number, line in enumerate(lines[:-1] if not lines[-1] else lines, start=1):
        yield RawLine(number, line.removesuffix(b"\r"))


def by_single_lines(text: bytes) -> list[Evidence]:
    return list(reader.read(raw_lines(text), "log"))


def by_columns(blocks: Iterable[Block]) -> list[Evidence]:
    plain: list[Evidence] = []
    lines: list[RawLine] = []
    for block in blocks:
        plain += records(block, "log")
        lines += single_lines(block)
    return sorted([*plain, *reader.read(lines, "log")], key=lambda item: item.origin.line or 0)


def plain_records(block: Block) -> list[Record]:
    return list(records(block, "log"))


@dataclass(frozen=True, slots=True)
class Printed:
    """What the kernel prints of one error, None where it prints nothing."""

    cpu: int
    bank: int
    mcg_status: int
    status: int
    tsc: int
    optional: tuple[int | None, ...]
    vendor: int
    cpuid: int
    time: int
    socket: int
    apicid: int
    microcode: int | None
    ip: tuple[int, int, str] | None

    def bodies(self) -> list[str]:
        how = " Exception" if self.mcg_status & 4 else ""
        lines = [f"CPU {self.cpu}: Machine Check{how}: {self.mcg_status:x} Bank {self.bank}: {self.status:016x}"]
        if self.ip is not None:
            inexact = "" if self.mcg_status & 2 else " !INEXACT!"
            lines.append(f"RIP{inexact} {self.ip[0]:02x}:<{self.ip[1]:016x}> {self.ip[2]}")
        names = ("ADDR", "MISC", "PPIN", "SYND", "IPID")
        pairs = zip(names, self.optional, strict=True)
        lines.append(f"TSC {self.tsc:x} " + "".join(f"{name} {value:x} " for name, value in pairs if value is not None))
        microcode = "" if self.microcode is None else f" microcode {self.microcode:x}"
        lines.append(
            f"PROCESSOR {self.vendor}:{self.cpuid:x} TIME {self.time} SOCKET {self.socket} "
            f"APIC {self.apicid:x}{microcode}"
        )
        return lines


def numbers(bits: int) -> st.SearchStrategy[int]:
    """Numbers of all lengths, not only of the greatest."""
    return st.integers(0, bits).flatmap(lambda width: st.integers(0, (1 << width) - 1))


PRINTED = st.builds(
    Printed,
    cpu=st.integers(0, 9999),
    bank=st.integers(0, 127),
    mcg_status=st.integers(0, 0xFFFF),
    status=numbers(64),
    tsc=numbers(64),
    optional=st.tuples(*[st.none() | numbers(64)] * 5),
    vendor=st.sampled_from((0, 2, 5, 9)),
    cpuid=st.integers(0x600, 0xFFFFFFF),
    time=st.integers(1, 1 << 40),  # 0 is left to the reader of single lines: it is no time
    socket=st.integers(0, 255),
    apicid=numbers(32),
    microcode=st.none() | numbers(32),
    ip=st.none() | st.tuples(st.sampled_from((0x10, 0x33)), numbers(64), st.sampled_from(("", "{memcpy+0x4/0x70}"))),
)


def test_a_plain_record_comes_out_with_all_that_its_lines_say() -> None:
    block = scan_text(text_of(dmesg(COFFEE_LAKE)), WANTED)
    (record,) = plain_records(block)
    assert record.registers == Registers(
        status=0xAE00000000801136, addr=0x8BE6C800, misc=0x70E0000086, mcg_status=0, tsc=0
    )
    assert (record.cpu, record.bank, record.socket, record.apicid) == (0, 7, 0, 0)
    assert (record.vendor, record.cpuid, record.microcode) == (Vendor.INTEL, 0x906EB, 0xCA)
    assert (record.time, record.stamp, record.delivery) == (1607550045.0, "333.000000", Delivery.POLLED)
    assert record.raw == text_of(dmesg(COFFEE_LAKE)).rstrip(b"\n")
    assert block.rest == ()


@given(st.lists(PRINTED, min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_every_number_that_the_kernel_prints_comes_back(printed: list[Printed], draw: Random) -> None:
    bodies: list[str] = []
    for one in printed:
        for body in one.bodies():
            bodies += [body, *([draw.choice(NOISE)] if draw.random() < 0.3 else [])]
    block = scan_text(text_of(dmesg(bodies)), WANTED)
    columns = block.records
    assert block.rest == ()
    assert len(columns) == len(printed)
    for name in ("cpu", "bank", "mcg_status", "status", "tsc", "vendor", "cpuid", "time", "socket", "apicid"):
        assert getattr(columns, name).tolist() == [getattr(one, name) for one in printed]
    for place, name in enumerate(("addr", "misc", "ppin", "synd", "ipid")):
        values = [one.optional[place] for one in printed]
        present = (columns.present & Present[name.upper()]) != 0
        assert [value if here else None for value, here in zip(getattr(columns, name), present, strict=True)] == values
    with_microcode = (columns.present & Present.MICROCODE) != 0
    assert [int(m) if here else None for m, here in zip(columns.microcode, with_microcode, strict=True)] == [
        one.microcode for one in printed
    ]
    with_ip = (columns.present & Present.IP) != 0
    ips = [(int(c), int(i)) if here else None for c, i, here in zip(columns.cs, columns.ip, with_ip, strict=True)]
    assert ips == [one.ip and one.ip[:2] for one in printed]


@given(st.lists(PRINTED, min_size=1, max_size=8))
def test_a_plain_record_is_what_the_reader_of_single_lines_makes_of_it(printed: list[Printed]) -> None:
    text = text_of(dmesg(body for one in printed for body in one.bodies()))
    assert plain_records(scan_text(text, WANTED)) == by_single_lines(text)


PREFIXES = (
    "mce: [Hardware Error]: ",
    "[Hardware Error]: ",
    "[    0.860837] mce: [Hardware Error]: ",
    "[123456.860837] [Hardware Error]: ",
    "Dec  9 14:40:48 tyana kernel: mce: [Hardware Error]: ",
    "Dec 09 14:40:48 smoon7.example.org kernel: [  333.123456] mce: [Hardware Error]: ",
    "2023-05-14T08:09:09.123456+02:00 host-1 kernel: mce: [Hardware Error]: ",
    "[Wed Apr 12 11:05:16 2023] mce: [Hardware Error]: ",
    "kernel: mce: [Hardware Error]: ",
)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_known_prefix_is_plain_and_means_the_same_to_both_readers(prefix: str) -> None:
    text = text_of(prefix + body for body in COFFEE_LAKE * 3)
    block = scan_text(text, WANTED)
    assert len(block.records) == 3
    assert plain_records(block) == by_single_lines(text)


@pytest.mark.parametrize(
    "prefix",
    [
        "> [  333.123456] mce: [Hardware Error]: ",
        "[  333.123456][  T123] mce: [Hardware Error]: ",
        "<0>[  333.123456] mce: [Hardware Error]: ",
        "(XEN) [Hardware Error]: ",
        "[  333.12345] mce: [Hardware Error]: ",
        "[ 3 3.123456] mce: [Hardware Error]: ",
        "{1}[Hardware Error]: ",
        "mce:  [Hardware Error]: ",
    ],
)
def test_any_other_prefix_is_left_to_the_reader_of_single_lines(prefix: str) -> None:
    text = text_of(prefix + body for body in COFFEE_LAKE)
    block = scan_text(text, WANTED)
    assert len(block.records) == 0
    assert by_columns([block]) == by_single_lines(text)
    assert judged(prefix.encode()) is None


DOUBTS = {
    "a capital digit": (COFFEE_LAKE[0].replace("ae00", "AE00"), *COFFEE_LAKE[1:]),
    "a status of 15 digits": (COFFEE_LAKE[0][:-1], *COFFEE_LAKE[1:]),
    "a status of 17 digits": (COFFEE_LAKE[0] + "0", *COFFEE_LAKE[1:]),
    "an address of 17 digits": (COFFEE_LAKE[0], "TSC 0 ADDR 11112222333344445 ", COFFEE_LAKE[2]),
    "a field more": (*COFFEE_LAKE[:2], COFFEE_LAKE[2] + " x"),
    "a carriage return": tuple(body + "\r" for body in COFFEE_LAKE),
    "no TSC line": (COFFEE_LAKE[0], COFFEE_LAKE[2]),
    "no PROCESSOR line": COFFEE_LAKE[:2],
    "no TIME": (*COFFEE_LAKE[:2], COFFEE_LAKE[2].replace("TIME 1607550045 ", "")),
    "registers in another order": (COFFEE_LAKE[0], "TSC 0 MISC 86 ADDR 8be6c800 ", COFFEE_LAKE[2]),
    "a register twice": (COFFEE_LAKE[0], "TSC 0 ADDR 8be6c800 ADDR 8be6c800 ", COFFEE_LAKE[2]),
    "an unknown register": (COFFEE_LAKE[0], "TSC 0 ADDR 8be6c800 SYND1 86 ", COFFEE_LAKE[2]),
    "a register without value": (COFFEE_LAKE[0], "TSC 0 ADDR ", COFFEE_LAKE[2]),
    "an exception without MCIP": (COFFEE_LAKE[0].replace("Check:", "Check Exception:"), *COFFEE_LAKE[1:]),
    "MCIP without an exception": (COFFEE_LAKE[0].replace(": 0 Bank", ": 5 Bank"), *COFFEE_LAKE[1:]),
    "an exact RIP without EIPV": (
        COFFEE_LAKE[0].replace("Check: 0", "Check Exception: 5"), "RIP 10:<ffffffff81000000> ", *COFFEE_LAKE[1:],
    ),
    "letters in a decimal number": (*COFFEE_LAKE[:2], COFFEE_LAKE[2].replace("SOCKET 0", "SOCKET a")),
    "a soft break of mail": (*COFFEE_LAKE[:2], COFFEE_LAKE[2] + "="),
    "lines backwards": COFFEE_LAKE[::-1],
}  # fmt: skip


@pytest.mark.parametrize("doubt", DOUBTS)
def test_a_record_in_doubt_is_left_with_a_plain_one_on_either_side(doubt: str) -> None:
    text = text_of(dmesg([*COFFEE_LAKE * 3, *DOUBTS[doubt], *COFFEE_LAKE * 3]))
    block = scan_text(text, WANTED)
    left = {number for span in block.rest for number in range(span.line, span.line + span.lines)}
    assert left >= set(range(10, 10 + len(DOUBTS[doubt])))
    assert 4 <= len(block.records) <= 5
    assert by_columns([block]) == by_single_lines(text)


def test_a_line_wrapped_behind_its_record_keeps_the_record_from_being_plain() -> None:
    lines = dmesg(COFFEE_LAKE * 3)
    lines[4] = lines[4].removesuffix("MISC 70e0000086 ")
    lines.insert(5, "MISC 70e0000086")
    text = text_of(lines)
    assert scan_text(text, LineFilter([b"[Hardware Error]"])).records.line.tolist() == [1]
    assert by_columns([scan_text(text, WANTED)]) == by_single_lines(text)


def test_interleaved_records_are_left_and_the_others_are_not() -> None:
    other = [body.replace("CPU 0", "CPU 9").replace("APIC 0", "APIC 12") for body in COFFEE_LAKE]
    pair = [body for both in zip(COFFEE_LAKE, other, strict=True) for body in both]
    text = text_of(dmesg([*COFFEE_LAKE * 4, *pair, *COFFEE_LAKE * 4]))
    block = scan_text(text, WANTED)
    assert block.records.line.tolist() == [1, 4, 7, 10, 22, 25, 28]
    assert by_columns([block]) == by_single_lines(text)


@pytest.mark.parametrize("gap", [0, 5, 31, 39, 60])
def test_a_line_that_speaks_of_records_takes_all_within_its_reach(gap: int) -> None:
    text = text_of(dmesg([*COFFEE_LAKE * 20, *NOISE[:1] * gap, EDAC, *COFFEE_LAKE * 20]))
    block = scan_text(text, WANTED)
    assert not any(abs(line + 2 - (61 + gap)) <= 32 for line in block.records.line.tolist())
    assert by_columns([block]) == by_single_lines(text)


def test_what_the_kernel_says_beside_its_records_disturbs_none() -> None:
    bodies = ["Machine check events logged", *COFFEE_LAKE, "Run the above through 'mcelog --ascii'", *COFFEE_LAKE]
    block = scan_text(text_of(dmesg(bodies)), WANTED)
    assert len(block.records) == 2
    assert block.rest == ()


def test_stamps_may_grow_by_a_digit_within_a_log() -> None:
    lines: Sequence[str] = [
        line for start in (9, 99, 999, 99_999, 100_000) for line in dmesg(COFFEE_LAKE * 4, start * 1_000_000)
    ]
    block = scan_text(text_of(lines), WANTED)
    assert len(block.records) >= 16
    assert by_columns([block]) == by_single_lines(text_of(lines))


# --- damage ---------------------------------------------------------------------------------------------------------


def log(draw: Random, count: int) -> list[str]:
    """Records with noise between, some interleaved."""
    bodies: list[str] = []
    held: list[str] = []
    for _ in range(count):
        status = draw.getrandbits(64)
        own = [
            f"CPU {draw.randrange(64)}: Machine Check: 0 Bank {draw.randrange(20)}: {status:016x}",
            f"TSC {draw.getrandbits(40):x} ADDR {draw.getrandbits(44):x} ",
            f"PROCESSOR 0:50657 TIME {draw.randrange(1 << 31)} SOCKET 0 APIC {draw.randrange(64):x} microcode 5003604",
        ]
        if held:
            own, held = [body for pair in zip(held, own, strict=True) for body in pair], []
        elif draw.random() < 0.1:
            held = own
            continue
        for body in own:
            bodies += [body, *([draw.choice(NOISE)] if draw.random() < 0.2 else [])]
    return dmesg([*bodies, *held])


def damaged(draw: Random, lines: list[str]) -> list[str]:
    lines = list(lines)
    for _ in range(draw.randrange(1, 5)):
        at, other = draw.randrange(len(lines)), draw.randrange(len(lines))
        line = lines[at]
        cut = draw.randrange(len(line) + 1)
        match draw.randrange(9):
            case 0 if len(lines) > 1:
                del lines[at]
            case 1:
                lines.insert(other, line)
            case 2:
                lines[at] = line[:cut]
            case 3:
                lines[at], lines[other] = lines[other], line
            case 4 if line:
                code = draw.choice([*range(32, 127), 0, 9, 13, 0xDC80, 0xDCFF])
                lines[at] = line[: cut - 1] + chr(code) + line[cut:] if cut else line
            case 5:
                lines[at : at + 1] = [line[:cut], line[cut:]]
            case 6:
                lines[at : at + 3] = lines[at : at + 3][::-1]
            case 7:
                lines.insert(at, draw.choice((EDAC, "", "Hardware event. This is not a software error.", "foo=")))
            case _:
                lines[at] = line + draw.choice((" ", "=", "\r", " 1", "0"))
    return lines


@settings(max_examples=300)
@given(st.integers(0, 1 << 32))
def test_damage_never_makes_a_plain_record_that_single_lines_do_not_show(seed: int) -> None:
    draw = Random(seed)
    text = text_of(damaged(draw, log(draw, draw.randrange(1, 40))))
    shown = by_single_lines(text)
    for record in plain_records(scan_text(text, WANTED)):
        assert record in shown


@settings(max_examples=200)
@given(st.integers(0, 1 << 32))
def test_every_line_is_a_plain_records_or_left_or_no_evidence(seed: int) -> None:
    draw = Random(seed)
    text = text_of(damaged(draw, log(draw, draw.randrange(1, 40))))
    block = scan_text(text, LineFilter(reader.TOKENS))
    lines = list(raw_lines(text))
    plain = [line.number for record in plain_records(block) for line in lines if line.raw in record.raw.split(b"\n")]
    left = [line.number for line in single_lines(block)]
    assert block.lines == len(lines)
    assert sum(block.records.lines.tolist()) <= len(plain)
    assert len(set(left)) == len(left)
    neither = {line.number for line in lines} - set(plain) - set(left)
    for line in lines:
        if line.number in neither:
            assert not any(token in line.raw for token in reader.TOKENS)
    assert [line for line in lines if line.number in set(left)] == list(single_lines(block))


@settings(max_examples=60)
@given(st.integers(0, 1 << 32), st.sampled_from([200, 700, 3000]))
def test_a_log_reads_the_same_however_it_is_cut(seed: int, block_bytes: int) -> None:
    text = text_of(log(Random(seed), 60))
    whole = by_single_lines(text)
    assert by_columns([scan_text(text, WANTED)]) == whole
    blocks = list(scan_stream(io.BytesIO(text).read, WANTED, block_bytes))
    assert len(blocks) > 1
    assert by_columns(blocks) == whole
    assert b"".join(block.text(block.offset, block.offset + block.size) for block in blocks) == text


# --- files and processes --------------------------------------------------------------------------------------------


@pytest.fixture
def big(tmp_path: Path) -> Iterator[tuple[int, bytes]]:
    text = text_of(log(Random(1), 3000))
    path = tmp_path / "log"
    path.write_bytes(text)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor, text
    os.close(descriptor)


def test_a_file_reads_as_its_text(big: tuple[int, bytes]) -> None:
    descriptor, text = big
    assert by_columns(scan_file(descriptor, WANTED, 50_000)) == by_single_lines(text)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_the_parts_of_a_file_are_worth_the_whole_in_its_order(big: tuple[int, bytes], processes: int) -> None:
    descriptor, text = big
    parts = list(map_ranges(descriptor, by_columns, WANTED, processes=processes, range_bytes=200_000))
    assert len(parts) > 2
    assert [item for part in parts for item in part] == by_single_lines(text)


@pytest.mark.parametrize("processes", [1, 2])
def test_what_the_work_on_a_part_raises_is_raised_here(big: tuple[int, bytes], processes: int) -> None:
    def work(blocks: Iterator[Block]) -> NoReturn:
        raise LookupError(f"{sum(block.lines for block in blocks)} lines")

    with pytest.raises(LookupError, match="lines"):
        list(map_ranges(big[0], work, WANTED, processes=processes, range_bytes=200_000))


_DIES = """
import os, sys
from ringfence.record.columns.ranges import map_ranges
from tests.record.test_columns import WANTED

here = os.getpid()

def work(blocks):
    if os.getpid() != here:
        os._exit(3)
    return sum(block.lines for block in blocks)

try:
    print(list(map_ranges(os.open(sys.argv[1], os.O_RDONLY), work, WANTED, processes=2, range_bytes=200_000)))
except OSError as error:
    print(error)
"""


def test_a_process_that_dies_is_an_error_and_not_a_shorter_log(big: tuple[int, bytes], tmp_path: Path) -> None:
    """In a process of its own: beside the threads that other tests left behind nothing is forked."""
    command = [sys.executable, "-c", _DIES, str(tmp_path / "log")]
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True, timeout=60)
    assert "died" in done.stdout


def test_an_empty_log_has_nothing() -> None:
    block = scan_text(b"", WANTED)
    assert (len(block.records), block.rest, block.lines) == (0, (), 0)
    assert list(scan_stream(io.BytesIO(b"").read, WANTED)) == []


def test_without_numpy_the_extra_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("ringfence.record.columns")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(MissingExtraError, match="columnar"):
        importlib.import_module("ringfence.record.columns")


# --- the parts ------------------------------------------------------------------------------------------------------

DIGIT_LIKE = st.text(st.sampled_from("0123456789abcdefABFG`g/:@op \n\x7f\x80\xff"), max_size=20)


def leading(text: str, digits: str) -> str:
    return text[: next((at for at, character in enumerate(text) if character not in digits), len(text))]


@given(st.lists(DIGIT_LIKE, min_size=1, max_size=40))
def test_numbers_are_read_up_to_the_first_character_that_is_no_digit(texts: list[str]) -> None:
    size = 24
    joined = b"".join(text.encode("latin-1").ljust(size, b" ") for text in texts)
    text = Text(joined + bytes(PAD_BYTES), len(joined))
    rows = text.rows(np.arange(len(texts)) * size, 2)
    for read, digits, base in ((hexadecimal16, "0123456789abcdef", 16), (decimal16, "0123456789", 10)):
        values, lengths = read(rows)
        wanted = [leading(each, digits)[:16] for each in texts]
        assert lengths.tolist() == [len(each) for each in wanted]
        assert values.tolist() == [int(each or "0", base) for each in wanted]


@settings(max_examples=200)
@given(
    st.lists(st.binary(max_size=150) | st.sampled_from([b"x" * 59, b"y" * 1500, b"[Hardware "]), max_size=30),
    st.lists(st.sampled_from([t.decode() for t in reader.TOKENS]), max_size=10),
    st.randoms(use_true_random=False),
)
def test_the_filter_finds_just_the_lines_with_a_token(noise: list[bytes], tokens: list[str], draw: Random) -> None:
    pieces = [piece.replace(b"\n", b"") for piece in noise] + [token.encode() for token in tokens]
    draw.shuffle(pieces)
    lines = [b"".join(pieces[at : at + 3]) for at in range(0, len(pieces), 3)]
    text = b"\n".join([*lines, b""])
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == 10)
    starts = np.concatenate([np.zeros(min(1, len(ends)), np.intp), ends[:-1] + 1])
    found = LineFilter(reader.TOKENS).among(Text(text + bytes(PAD_BYTES), len(text)), starts, ends)
    assert found.tolist() == [n for n, line in enumerate(lines) if any(token in line for token in reader.TOKENS)]


def test_a_token_too_short_to_look_for_is_refused() -> None:
    with pytest.raises(ValueError, match="4 characters"):
        LineFilter([b"MCE"])
