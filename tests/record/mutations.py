"""Damaged evidence: real lines of every textual format, and blobs of every binary one, each changed at random.

All is drawn from the seed that is given: the same seed gives the same damage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Final

from ringfence.arch.cpuid import Vendor
from ringfence.record.binary import cper
from ringfence.record.binary.struct_mce import StructMce
from ringfence.record.binary.xen_mc_info import McFlag, McInfo, McInfoBank, McInfoExtended, McInfoGlobal, McInfoRecovery
from ringfence.record.evidence import ClaimedSeverity, Format, Location, MemoryReport, Origin, Record, Registers
from tests.corpus.test_corpus import AS_FOUND
from tests.record.test_cper import ALDER_LAKE_BERT_HEAD, LIBCPER_IA32_X64, LIBCPER_MEMORY, XEN_ERST
from tests.record.test_text_bmc import IMM, RSA
from tests.record.test_text_freebsd import APEI, OPTERON
from tests.record.test_text_ghes import MEMORY, OLD_MEMORY, PROCESSOR
from tests.record.test_text_rasdaemon import SUMMARY

MORE_FORMS: Final = (
    OPTERON,
    APEI,
    SUMMARY,
    RSA,
    IMM,
    MEMORY,
    OLD_MEMORY,
    PROCESSOR,
    # Linux mm/memory-failure.c and arch/x86/kernel/cpu/mce/core.c.
    "[ 1.0] Memory failure: 0x1d301b: recovery action for dirty LRU page: Recovered\n"
    "[ 1.1] Memory failure: 0x1d301b: Killing einj_mem_uc:3720 due to hardware memory corruption\n"
    "[ 1.2] mce: Uncorrected hardware memory error in user-access at f921f31400\n"
    "[ 1.3] Soft offline: 0x46a9f: page already poisoned\n",
    # mcelog --raw (mcelog.c, dump_mce_raw_ascii).
    "CPU 6\nBANK 8\nTSC 0x5f8de1b6c4a\nRIP 0x10:0xffffffff81006\nMISC 0x98873a2000043000\nADDR 0x1a2b3c000\n"
    "STATUS 0x88000040000200cf\nMCGSTATUS 0x0\nPROCESSOR 0:0x106a5\nTIME 1262304000\nSOCKETID 1\nAPICID 20\n"
    "MCGCAP 0x1c09\n",
    # A file for mce-inject (mce.y): two ordered machine checks.
    "# comment\nCPU 1 BANK 2\nSTATUS UNCORRECTED SRAR 0x134\nMCGSTATUS RIPV MCIP EIPV\nADDR 0x12345000\nMISC 0x8c\n"
    "RIP 0x73:0x1eadbabe\nIRQBROADCAST\nCPU 0 2\nPROCESSOR 0:0x106a0\nMCGCAP 0x800\nSTATUS 0x8820000000000105\n",
    # rasdaemon's log (ras-mce-handler.c, ras-mc-handler.c, ras-extlog-handler.c, ras-memory-failure-handler.c).
    "rasdaemon: <...>-1234 [020] 0.001: mce_record: 2023-05-31 10:06:19 -0400 bank=d, status= 8c00004200800090, "
    "MEMORY CONTROLLER RD_CHANNEL0_ERR, mci=Corrected_error, mcgstatus=0, n_errors=1, cpu_type= Intel Ice Lake, "
    "cpu= 32, socketid= 1, misc= d03451de4819486, addr= 1efa4c7cc40, mcgcap= f000c1c, apicid= 80\n"
    "mc_event: 2023-05-31 10:06:19 -0400 1 Corrected error: memory read error on CPU_SrcID#1_MC#0_Chan#0_DIMM#0 "
    "(mc: 2 location: 0:0 address: 0x175321bec0 grain: 5 syndrome: 0x12)\n"
    "memory_failure_event: 2023-05-31 10:06:20 -0400 pfn=0x1d301b page_type=dirty LRU page action_result=Recovered\n"
    "extlog_mem_event: 2023-05-31 10:06:20 -0400 7 corrected error: single-bit ECC physical addr: 0xab5e34000 "
    "mask: 0x3fffffffffc0 node: 1 card: 2\n",
    # ESX 4 to ESXi 6.5 (Broadcom KB 367928, 372284).
    "cpu3:33012)MCA: 200: UC Excp G5 B1 Sbf80000000000114 Aaf9e74900 M86 Paf9e74900/40 Data Cache Read Error.\n"
    "MC:PCPU42 B:4 S:0xb200000000000005 M:0x0 A:0x0 5\n"
    "MCE: 123: MCE on cpu3 bank4: Status:0xb200001806000e0f Misc:0x0 Addr:0x1000: bus error\n",
    # A record as mail carries it: quoted-printable, with a soft line break.
    "mce: [Hardware Error]: CPU 1: Machine Check: 0 Bank 5: bea0000=\n000000108\n"
    "mce: [Hardware Error]: TSC 0 ADDR 1ffff98edc72e MISC d012000100000000=20\n",
)

SEEDS: Final = (*(log.text for log in AS_FOUND), *MORE_FORMS)
"""Real logs; together they hold every textual format."""

HONEST: Final = (
    b"systemd[1]: Started Session 42 of user root.",
    b"audit: type=1400 audit(1612137600.123:45): apparmor=\"STATUS\" operation=\"profile_load\"",
    b"usb 1-1: new high-speed USB device number 5 using xhci_hcd",
    b"CPU0: Intel(R) Xeon(R) CPU E5-2680 v3 @ 2.50GHz",
    b"",
)  # fmt: skip
"""Lines without any evidence."""

_NUMBERS: Final = (
    b"0", b"00", b"1", b"255", b"256", b"65536", b"4294967295", b"4294967296", b"18446744073709551615",
    b"18446744073709551616", b"9" * 30, b"f" * 16, b"f" * 17, b"0x" + b"f" * 40, b"-1", b"0x", b"8" * 5000,
)  # fmt: skip
_ODDITIES: Final = (
    b"\x00", b"\x1b[31m", b"\x1b]0;title\x07", b"\x7f", b"\x85", b"\xff\xfe", b"\xc3", b"\xed\xa0\x80", b"\t", b"\r",
    b"\x0b", b"\x0c", "\u202e".encode(), "\u2028".encode(), "\ue000".encode(), "\u0663".encode(), "\uff11".encode(),
    "\u00b2".encode(), "\u00a0".encode(), b"%s", b"%", b"=", b"=20", b"=3D", b"> ", b"(XEN) ", b"[Hardware Error]: ",
    b"{1}", b"'", b"[", b"]", b"*" * 8,
)  # fmt: skip

Lines = list[bytes]
_Damage = Callable[[Random, Lines], None]


def _flip_bits(random: Random, lines: Lines) -> None:
    at = random.randrange(len(lines))
    line = bytearray(lines[at])
    for _ in range(random.randint(1, 4)):
        if line:
            line[random.randrange(len(line))] ^= 1 << random.randrange(8)
    lines[at] = bytes(line).replace(b"\n", b" ")


def _truncate(random: Random, lines: Lines) -> None:
    at = random.randrange(len(lines))
    cut = random.randint(0, len(lines[at]))
    lines[at] = lines[at][:cut] if random.random() < 0.7 else lines[at][cut:]


def _duplicate(random: Random, lines: Lines) -> None:
    at = random.randrange(len(lines))
    lines[at:at] = [lines[at]] * (random.choice((5, 70)) if random.random() < 0.03 else 1)


def _drop(random: Random, lines: Lines) -> None:
    del lines[random.randrange(len(lines))]


def _splice(random: Random, lines: Lines) -> None:
    one, two = random.randrange(len(lines)), random.randrange(len(lines))
    other = lines[two] if random.random() < 0.5 else random.choice(random.choice(_SEED_LINES))
    lines[one] = lines[one][: random.randint(0, len(lines[one]))] + other[random.randint(0, len(other)) :]


def _digits(random: Random, lines: Lines) -> None:
    at = random.randrange(len(lines))
    line = bytearray(lines[at])
    for place, byte in enumerate(line):
        if byte in b"0123456789abcdef" and random.random() < 0.2:
            line[place] = random.choice(b"0123456789abcdefgF")
    lines[at] = bytes(line)


def _number(random: Random, lines: Lines) -> None:
    at = random.randrange(len(lines))
    words = lines[at].split(b" ")
    words[random.randrange(len(words))] = random.choice(_NUMBERS)
    lines[at] = b" ".join(words)


def _swap(random: Random, lines: Lines) -> None:
    one, two = random.randrange(len(lines)), random.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]


def _reorder(random: Random, lines: Lines) -> None:
    if random.random() < 0.5:
        lines.reverse()
    else:
        random.shuffle(lines)


def _words(random: Random, lines: Lines) -> None:
    at = random.randrange(len(lines))
    words = lines[at].split(b" ")
    random.shuffle(words)
    lines[at] = b" ".join(words)


def _oddity(random: Random, lines: Lines) -> None:
    at = random.randrange(len(lines))
    place = random.randint(0, len(lines[at]))
    lines[at] = lines[at][:place] + random.choice(_ODDITIES) + lines[at][place:]


def _noise(random: Random, lines: Lines) -> None:
    at = random.randrange(len(lines) + 1)
    lines[at:at] = [random.choice(HONEST)] * (45 if random.random() < 0.05 else 1)


def _long(random: Random, lines: Lines) -> None:
    at = random.randrange(len(lines))
    filler = random.choice((b" ", b"a", b"0", b"> ", b"[", b"\xc3\xa9")) * (5_000 if random.random() < 0.1 else 100)
    place = random.randint(0, len(lines[at]))
    lines[at] = lines[at][:place] + filler + lines[at][place:]


def _wrap(random: Random, lines: Lines) -> None:
    at = random.randrange(len(lines))
    place = random.randint(0, len(lines[at]))
    mark = b"=" if random.random() < 0.3 else b""
    lines[at : at + 1] = [lines[at][:place] + mark, lines[at][place:]]


_DAMAGES: Final[tuple[_Damage, ...]] = (
    _flip_bits, _flip_bits, _truncate, _duplicate, _drop, _splice, _splice, _digits, _digits, _number, _swap, _reorder,
    _words, _oddity, _oddity, _noise, _long, _wrap,
)  # fmt: skip
_SEED_LINES: Final = tuple(text.encode().splitlines() for text in SEEDS)
_WHOLE: Final = frozenset(line for lines in (*_SEED_LINES, HONEST) for line in lines)


def damaged_log(random: Random) -> Lines:
    """Some seeds, one behind the other or interleaved, and damaged as often as there are lines."""
    lines: Lines = []
    for _ in range(random.choice((1, 1, 2, 3))):
        more = random.choice(_SEED_LINES)
        if lines and random.random() < 0.3:
            place = random.randrange(len(lines))
            lines = [*lines[:place], *more, *lines[place:]]
        else:
            lines = [*lines, *more]
    for _ in range(random.randint(1, 2 * len(lines))):
        if lines:
            random.choice(_DAMAGES)(random, lines)
    return lines


def damaged_logs(seed: int, lines: int) -> Iterator[Lines]:
    """Damaged logs until that many of their lines are as no seed has them."""
    random = Random(seed)
    changed = 0
    while changed < lines:
        log = damaged_log(random)
        changed += sum(line not in _WHOLE for line in log)
        yield log


# --- blobs -----------------------------------------------------------------------------------------------------------

_MCE = StructMce(
    status=0xBD000000000000C0, addr=0x12345000, misc=0x8C, mcgstatus=5, bank=5, cpuid=0x306F2, time=1_500_000_000,
    tsc=0x123456789A, apicid=3, socketid=1, cpu=7,
)  # fmt: skip
_MEMORY = Record(
    origin=Origin("-"),
    format=Format.TYPED,
    raw=b"",
    memory=MemoryReport(
        severity=ClaimedSeverity.RECOVERABLE,
        physical_address=0xAB5E34000,
        location=Location(node=1, card=2, module=1, rank=0, bank=3, row=234, column=8),
    ),
)
_SMCA = Record(
    origin=Origin("-"),
    format=Format.TYPED,
    raw=b"",
    vendor=Vendor.AMD,
    cpuid=0xA20F10,
    bank=5,
    registers=Registers(status=0xBEA0000001000108, addr=0x1000, synd=0x4D000000, ipid=0x500B000000000),
)
BLOBS: Final[tuple[tuple[Format, bytes], ...]] = (
    (Format.STRUCT_MCE, _MCE.pack(88) * 4),
    (Format.STRUCT_MCE, _MCE.pack(128) * 3),
    (
        Format.XEN_MC_INFO,
        McInfo(
            entries=(
                McInfoGlobal(domid=0, vcpuid=1, apicid=0, flags=McFlag.MCE | McFlag.RECOVERABLE, gstatus=5),
                McInfoBank(bank=5, status=0xBD000000000000C0, addr=0x12345000, misc=0x8C),
                McInfoExtended(msrs=((0x180, 1), (0x181, 2))),
                McInfoRecovery.page_offline(bank=5, mfn=0x12345, status=0x2002),
            )
        ).pack(),
    ),
    (Format.CPER, cper.write(_MEMORY)),
    (Format.CPER, cper.write(_SMCA)),
    (Format.CPER, LIBCPER_MEMORY),
    (Format.CPER, LIBCPER_IA32_X64),
    (Format.CPER, XEN_ERST),
    (Format.GHES_BLOCK, ALDER_LAKE_BERT_HEAD),
)
"""Blobs of every binary form that stands in memory or in a dump; a database is a file of SQLite's."""


def damaged_blobs(seed: int, count: int) -> Iterator[tuple[Format, bytes]]:
    """Blobs with bits flipped, fields overwritten, cut, glued and shifted."""
    random = Random(seed)
    for _ in range(count):
        form, whole = random.choice(BLOBS)
        blob = bytearray(whole)
        for _ in range(random.randint(0, 5)):
            _damage_blob(random, blob)
        yield form, bytes(blob)


def _damage_blob(random: Random, blob: bytearray) -> None:
    at = random.randint(0, len(blob))
    match random.randrange(6):
        case 0 if blob:
            blob[at % len(blob)] ^= 1 << random.randrange(8)
        case 1:
            size = random.choice((1, 2, 4, 8))
            value = random.choice((0, 1, (1 << 8 * size) - 1, 1 << (8 * size - 1), random.getrandbits(8 * size)))
            blob[at : at + size] = value.to_bytes(size, "little")
        case 2:
            del blob[at:]
        case 3:
            del blob[at : at + random.choice((1, 4, 8, 88))]
        case 4:
            blob[at:at] = random.choice((bytes(8), b"\xff" * 8, random.choice(BLOBS)[1]))
        case _:
            blob += random.choice(BLOBS)[1]
