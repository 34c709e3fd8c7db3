"""Writes a kernel log full of machine checks, the same one for the same seed.

    python bench/generate.py --mix intel|mixed|smca --records 200000 --seed 1 --out FILE [--distinct]
    python bench/generate.py --mix corpus --corpus DIR --records 200000 --out FILE

The records have the form in which Linux prints them (arch/x86/kernel/cpu/mce/core.c, __print_mce, since 4.x), behind
the stamps of dmesg. What the log is made of (shares are of the records, drawn with the seed):

- ``intel``: one model (Cascade Lake, 0:50657). ``mixed``: nine models of Intel and AMD. ``smca``: five AMD models, Zen
  to Zen 5, every record with IPID and nearly every one with SYND.
- 1 in 2: another line of the kernel follows one of the record's lines (never a line of an EDAC driver).
- 1 in 12: the notice that events were logged stands before the record.
- 1 in 100: signalled by #MC (a cache's kind of error, always with a time stamp), with the RIP line, nine in ten of them
  within the kernel, with the symbol.
- 1 in 2,000: line by line interleaved with the record of another CPU (H1 H2 T1 T2 P1 P2), without printk's caller ids.
- 1 in 100: the record before it once more, a little later, from the same bank (a latched error that is polled again).
- 1 in 100: the record before it as the sibling hyperthread reports it.
- One kind of a model's errors has no ADDR, another no MISC.
- TIME advances with the stamp; CPUs are drawn evenly, so that they interleave.

There are more than half as many different values of STATUS as records, of ADDR and of MISC too: Intel's STATUS counts;
of AMD's the core that an error is of (ErrCoreId), the address's lowest valid bit (AddrLsb) and the extended error code
are drawn, of its MISC the counter, LvtOffset and BlkPtr. The counts are printed on standard error. The kinds of error
are few, as in real logs.

``--distinct`` draws what names the error at random too (Intel's MSCOD and EN, AMD's ErrorCodeExt, all of MCA_SYND), in
any bank, leaves out ADDR in 1 record of 20 and MISC in 1 of 20, and interleaves 1 record in 500: hardly two records are
worded alike. No real log is like that; it shows what a reader costs that cannot gain by few kinds.

``corpus`` repeats the files of a folder, one after the other, until as many head lines of records have been written.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import TextIO

BOOT_TIME_S = 1_700_000_000
LINES_PER_WRITE = 20_000

VAL, OVER, UC, EN, MISCV, ADDRV, PCC = (1 << bit for bit in (63, 62, 61, 60, 59, 58, 57))
CORE_ID_VALID, SYNDV, CECC, DEFERRED, SCRUB = (1 << bit for bit in (56, 53, 46, 44, 40))
INTERLEAVED, INTERLEAVED_DISTINCT = 1 / 2000, 1 / 500


@dataclass(frozen=True, slots=True)
class Model:
    """One kind of machine: ``vendor`` is Linux's X86_VENDOR number, ``cpuid`` CPUID.1:EAX."""

    vendor: int
    cpuid: int
    microcode: int
    cpus: int
    sockets: int
    ppin: bool
    smca: bool


@dataclass(frozen=True, slots=True)
class Check:
    """What the kernel prints of one error; zero registers are left out, as it does."""

    model: Model
    cpu: int
    bank: int
    status: int
    tsc: int
    addr: int
    misc: int
    ppin: int
    synd: int
    ipid: int
    time_s: int
    mcg_status: int = 0
    rip: str = ""


CASCADE_LAKE = Model(0, 0x50657, 0x5003604, 96, 2, ppin=True, smca=False)
MIXED = (
    Model(0, 0x206D7, 0x71A, 32, 2, ppin=False, smca=False),
    Model(0, 0x306E4, 0x42E, 40, 2, ppin=True, smca=False),
    Model(0, 0x306F2, 0x49, 56, 2, ppin=True, smca=False),
    Model(0, 0x406F1, 0xB000040, 72, 2, ppin=True, smca=False),
    CASCADE_LAKE,
    Model(0, 0x606A6, 0xD0003A5, 128, 2, ppin=True, smca=False),
    Model(0, 0x906E9, 0xB4, 8, 1, ppin=False, smca=False),
    Model(2, 0x830F10, 0x830104D, 128, 2, ppin=True, smca=True),
    Model(2, 0xA00F11, 0xA0011D1, 128, 2, ppin=True, smca=True),
)
SMCA = (
    Model(2, 0x800F12, 0x800126E, 64, 2, ppin=False, smca=True),
    MIXED[7],
    MIXED[8],
    Model(2, 0xA10F11, 0xA101144, 192, 2, ppin=True, smca=True),
    Model(2, 0xB00F21, 0xB002151, 256, 2, ppin=True, smca=True),
)
MIXES: dict[str, tuple[Model, ...]] = {"intel": (CASCADE_LAKE,), "mixed": MIXED, "smca": SMCA}

# What a model's banks report, as (bank, MSCOD, MCACOD). Public logs of one machine hold a few kinds of error, again and
# again: memory errors of one or two channels, and now and then a cache. So a model has about a dozen kinds here.
_CACHES = ((0, 0x0000, 0x0150), (1, 0x0010, 0x0134), (2, 0x0000, 0x0014), (3, 0x0004, 0x0136))
INTEL_KINDS: dict[int, tuple[tuple[int, int, int], ...]] = {
    0x206D7: (*_CACHES, *((5, 0x0001, 0x90 + n) for n in range(4)), *((8 + n, 0x0008, 0xC0 + n) for n in range(4))),
    0x306E4: (*_CACHES, *((7, 0x0001, 0x90 + n) for n in range(4)), *((9 + n, 0x0008, 0xC0 + n) for n in range(4))),
    0x306F2: (*_CACHES, *((7, 0x0001, 0x90 + n) for n in range(4)), *((9 + n, 0x0008, 0xC0 + n) for n in range(4))),
    0x406F1: (*_CACHES, *((7, 0x0001, 0x90 + n) for n in range(4)), *((9 + n, 0x0008, 0xC0 + n) for n in range(4))),
    0x50657: (*_CACHES, *((7 + n % 2, 0x0101, 0x90 + n) for n in range(3)),
              *((13 + n, 0x0008, 0xC0 + n % 3) for n in range(6))),
    0x606A6: (*_CACHES, *((12, 0x0101, 0x90 + n) for n in range(2)),
              *((13 + n, 0x0080, 0x90 + n % 2) for n in range(2)), *((17 + n, 0x0008, 0xC0 + n % 2) for n in range(4))),
    0x906E9: (*_CACHES, *((6 + n, 0x0040, code) for n, code in enumerate((0x110A, 0x1136, 0x1152, 0x0136)))),
}  # fmt: skip
# MCA_IPID[63:32] (McaType and HardwareID) with the bank that carries it on Zen, ErrorCodeExt (one that real logs show,
# and others that the PPRs name) and ErrorCode: LS, IF, L2, L3, UMC, PIE (PPRs; linux-edac and distribution forums).
UMC_ERRORS = (0, 1, 2, 3, 4, 5)
SMCA_KINDS = (
    (0, 0x001000B0, (13, 9, 14, 10, 12), 0x0175), (1, 0x000100B0, (0, 1, 2, 3, 4), 0x0151),
    (2, 0x000200B0, (2, 0, 1, 3), 0x0179), (7, 0x000700B0, (5, 1, 2, 3, 4), 0x0136),
    (17, 0x00000096, UMC_ERRORS, 0x011B), (18, 0x00000096, UMC_ERRORS, 0x011B), (19, 0x00000096, UMC_ERRORS, 0x011B),
    (27, 0x0001002E, (2, 0, 1, 3, 4), 0x080B),
)  # fmt: skip
ADDRESS_LSBS = 57
# For --distinct: MCACOD, compound forms of SDM vol. 3B 17.9.2 that Linux logs most; LS, IF, L2, EX, L3, CS, UMC, PIE.
INTEL_CODES = (
    *(0x0080 | kind << 4 | channel for kind in (1, 2, 4) for channel in range(6)),
    0x134,
    0x136,
    0x151,
    0x152,
)
SMCA_BANKS = (
    (0, 0x001000B0), (1, 0x000100B0), (2, 0x000200B0), (5, 0x000500B0), (7, 0x000700B0), (20, 0x0002002E),
    (17, 0x00000096), (27, 0x0001002E),
)  # fmt: skip
ICE_LAKE = 0x606A6

NOISE = (
    "usb 1-{a}: new high-speed USB device number {b} using xhci_hcd",
    "EXT4-fs (sda{a}): mounted filesystem with ordered data mode. Opts: (null)",
    'audit: type=1400 audit({t}.{b:03d}:{c}): apparmor="ALLOWED" operation="open" name="/proc/{c}/status" pid={c}',
    "ixgbe 0000:{a:02x}:00.0 eth{a}: NIC Link is Up 10 Gbps, Flow Control: RX/TX",
    "br0: port {b}(vif{c}.0) entered forwarding state",
    "nvme nvme{a}: I/O {b} QID {a} timeout, completion polled",
    "IPv6: ADDRCONF(NETDEV_CHANGE): veth{c:x}: link becomes ready",
    "perf: interrupt took too long ({c} > {b}), lowering kernel.perf_event_max_sample_rate to {c}",
    "xen-blkback: backend/vbd/{b}/51712: using {a} queues, protocol 1 (x86_64-abi) persistent grants",
    "kvm [{c}]: vcpu{a}, guest rIP: 0xffffffff8{c:07x} disabled perfctr wrmsr: 0xc{a} data 0xffff",
    "TCP: request_sock_TCP: Possible SYN flooding on port {c}. Sending cookies.  Check SNMP counters.",
)  # fmt: skip
SYMBOLS = (
    "intel_idle+0x7e/0x120",
    "copy_user_enhanced_fast_string+0xe/0x30",
    "clear_page_erms+0x7/0x10",
    "memcpy_mcsafe+0x4b/0x70",
)


def intel_check(draw: Random, model: Model) -> Check:
    """A corrected memory or cache error of an Intel processor."""
    kind = draw.choice(INTEL_KINDS[model.cpuid])
    bank, mscod, code = kind
    count = draw.randrange(1, 0x4000)
    status = VAL | OVER * (count > 0x3000) | count << 38 | mscod << 16 | code
    addr = draw.randrange(1 << 34) << 6 if kind != _CACHES[0] else 0
    misc = draw.randrange(1 << 32) << 9 | 0x86 if kind != _CACHES[2] else 0
    if misc and model.cpuid == ICE_LAKE:
        # Column, row and bank are drawn; ECC mode SDDC, one of two ranks (i10nm_edac, show_retry_rd_err_log).
        misc |= draw.randrange(8) << 41 | 1 << 59 | draw.randrange(2) << 56
    status |= ADDRV * bool(addr) | MISCV * bool(misc)
    return _check(draw, model, bank, (status, addr, misc))


def smca_check(draw: Random, model: Model) -> Check:
    """A corrected or deferred error of an AMD processor with scalable MCA."""
    bank, unit, extended, code = draw.choice(SMCA_KINDS)
    memory = unit == 0x96
    status = VAL | EN | CECC | SYNDV | OVER * (draw.random() < 0.2) | draw.choice(extended) << 16 | code
    status |= CORE_ID_VALID | draw.randrange(64) << 32 | draw.randrange(ADDRESS_LSBS) << 24
    if memory and draw.random() < 0.02:
        status = status & ~CECC | DEFERRED
    addr = draw.randrange(1 << 34) << 6 if bank != 27 else 0
    misc = 0xD000 << 48 | draw.randrange(16) << 52 | draw.randrange(0xFFF) << 32 | draw.randrange(16) << 24
    misc = misc if bank != 2 else 0
    status |= ADDRV * bool(addr) | MISCV * bool(misc)
    synd = draw.randrange(1 << 16) << 32 | 2 << 24 | 16 << 18 | bank & 3
    ipid = unit << 32 | ((bank - 17) << 20 | 0x50F00 if memory else 0)
    return replace(_check(draw, model, bank, (status, addr, misc)), synd=synd, ipid=ipid)


def distinct_intel_check(draw: Random, model: Model) -> Check:
    """An error of an Intel processor whose model-specific code is drawn."""
    code = draw.choice(INTEL_CODES)
    count = draw.randrange(1, 0x3FF)
    status = (
        VAL | EN * (draw.random() < 0.5) | OVER * (count > 0x300) | count << 38 | draw.randrange(1 << 12) << 16 | code
    )
    addr = draw.randrange(1 << 40) << 6 if draw.random() < 0.95 else 0
    misc = draw.randrange(1 << 44) << 9 | 0x86 if draw.random() < 0.95 else 0
    bank = draw.randrange(5, 20) if code < 0x100 else draw.randrange(4)
    return _check(draw, model, bank, (status | ADDRV * bool(addr) | MISCV * bool(misc), addr, misc))


def distinct_smca_check(draw: Random, model: Model) -> Check:
    """An error of a Scalable MCA processor of which all is drawn that can be."""
    bank, unit = draw.choice(SMCA_BANKS)
    memory = unit == 0x96
    status = VAL | EN | CECC | SYNDV | OVER * (draw.random() < 0.2) | SCRUB * (memory and draw.random() < 0.3)
    status |= CORE_ID_VALID | draw.randrange(64) << 32 | draw.randrange(64) << 24 | draw.randrange(10) << 16
    status |= 0x011B | draw.randrange(4) << 10 if memory else draw.choice((0x0108, 0x0135, 0x0151, 0x0859, 0x080B))
    if memory and draw.random() < 0.02:
        status = status & ~CECC | DEFERRED
    addr = draw.randrange(1 << 42) << 4 if draw.random() < 0.95 else 0
    misc = 0xD000 << 48 | draw.randrange(16) << 52 | draw.randrange(1 << 12) << 32 | draw.randrange(16) << 24
    misc = misc if draw.random() < 0.95 else 0
    status |= ADDRV * bool(addr) | MISCV * bool(misc)
    synd = draw.randrange(1 << 40) if draw.random() < 0.97 else 0
    ipid = unit << 32 | (draw.randrange(8) << 20 | 0x50F00 if memory else 0)
    return replace(_check(draw, model, bank, (status, addr, misc)), synd=synd, ipid=ipid)


def _check(draw: Random, model: Model, bank: int, registers: tuple[int, int, int]) -> Check:
    status, addr, misc = registers
    tsc = draw.randrange(1 << 50) if draw.random() < 0.4 else 0
    cpu = draw.randrange(model.cpus)
    ppin = 0x1E741E7700000000 | socket_of(model, cpu) * 0x5AB1 + model.cpuid if model.ppin else 0
    return Check(model, cpu, bank, status, tsc, addr, misc, ppin, 0, 0, 0)


def socket_of(model: Model, cpu: int) -> int:
    """The socket of a logical CPU: the first half of the CPUs are the cores, the second half their hyperthreads."""
    cores = model.cpus // 2
    return cpu % cores * model.sockets // cores


def machine_check_exception(draw: Random, check: Check) -> Check:
    """The same error as the #MC handler prints it: uncorrected, with MCG_STATUS and where the CPU stood."""
    exact = draw.random() < 0.5
    within_kernel = draw.random() < 0.9
    where = (
        f"10:<{0xFFFFFFFF81000000 + draw.randrange(1 << 23):016x}> "
        if within_kernel
        else f"33:<{draw.randrange(1 << 47):016x}> "
    )
    symbol = f"{{{draw.choice(SYMBOLS)}}}" if within_kernel else ""
    return replace(
        check,
        status=check.status & ~(CECC | OVER) | UC | EN | PCC,
        tsc=check.tsc or 1 + draw.randrange(1 << 50),
        mcg_status=7 if exact else 5,
        rip=f"RIP{'' if exact else ' !INEXACT!'} {where}{symbol}",
    )


def bodies(check: Check) -> list[str]:
    """The lines of one record as __print_mce writes them, after the tag."""
    model = check.model
    kind = " Exception" if check.mcg_status else ""
    lines = [f"CPU {check.cpu}: Machine Check{kind}: {check.mcg_status:x} Bank {check.bank}: {check.status:016x}"]
    if check.rip:
        lines.append(check.rip)
    optional = (
        ("ADDR", check.addr),
        ("MISC", check.misc),
        ("PPIN", check.ppin),
        ("SYND", check.synd),
        ("IPID", check.ipid),
    )
    lines.append(f"TSC {check.tsc:x} " + "".join(f"{name} {value:x} " for name, value in optional if value))
    lines.append(
        f"PROCESSOR {model.vendor}:{model.cpuid:x} TIME {check.time_s} SOCKET {socket_of(model, check.cpu)} "
        f"APIC {check.cpu * 2:x} microcode {model.microcode:x}"
    )
    return lines


def checks(draw: Random, models: tuple[Model, ...], records: int, distinct: bool) -> Iterator[Check]:
    """The errors in the order in which they happen, without their times."""
    last: Check | None = None
    of_smca, of_intel = (distinct_smca_check, distinct_intel_check) if distinct else (smca_check, intel_check)
    for _ in range(records):
        chance = draw.random()
        if last is not None and chance < 0.01:
            last = replace(last, tsc=0)
        elif last is not None and chance < 0.02:
            last = replace(last, cpu=(last.cpu + last.model.cpus // 2) % last.model.cpus)
        else:
            model = draw.choice(models)
            last = of_smca(draw, model) if model.smca else of_intel(draw, model)
            if distinct:
                last = machine_check_exception(draw, last) if chance > 0.99 else last
            elif last.bank == 1 and draw.random() < (0.08 if model.smca else 0.12):
                last = machine_check_exception(draw, last)
        yield last


class Counts:
    """How many different values the log holds."""

    def __init__(self) -> None:
        self.records = 0
        self.lines = 0
        self.status: set[int] = set()
        self.addr: set[int] = set()
        self.misc: set[int] = set()
        self.banks: set[tuple[int, ...]] = set()
        self.whole: set[tuple[int, ...]] = set()

    def add(self, check: Check) -> None:
        """Count one record."""
        self.records += 1
        self.status.add(check.status)
        self.addr.add(check.addr)
        self.misc.add(check.misc)
        self.banks.add((check.status, check.addr, check.misc))
        self.whole.add(
            (check.cpu, check.bank, check.status, check.addr, check.misc, check.tsc, check.synd, check.time_s)
        )

    def __str__(self) -> str:
        return (
            f"{self.records} records in {self.lines} lines; distinct: status {len(self.status)}, "
            f"addr {len(self.addr)}, misc {len(self.misc)}, all three {len(self.banks)}, whole record {len(self.whole)}"
        )


def log(mix: str, records: int, seed: int, counts: Counts, *, distinct: bool = False) -> Iterator[str]:
    """The log, line by line; ``counts`` is filled on the way."""
    interleaved = INTERLEAVED_DISTINCT if distinct else INTERLEAVED
    draw = Random(f"{mix}/{seed}")
    clock_us = 333_123_456
    waiting: list[str] | None = None
    for check in checks(draw, MIXES[mix], records, distinct):
        clock_us += draw.randrange(1, 1_500_000)
        timed = replace(check, time_s=BOOT_TIME_S + clock_us // 1_000_000)
        counts.add(timed)
        lines = bodies(timed)
        if waiting is not None:
            lines = (
                [line for pair in zip(waiting, lines, strict=False) for line in pair]
                + waiting[len(lines) :]
                + lines[len(waiting) :]
            )
            waiting = None
        elif draw.random() < interleaved:
            waiting = lines
            continue
        tagged = [f"mce: [Hardware Error]: {line}" for line in lines]
        if draw.random() < 1 / 12:
            tagged.insert(0, "mce: [Hardware Error]: Machine check events logged")
        if draw.random() < 1 / 2:
            noise = draw.choice(NOISE).format(
                a=draw.randrange(1, 8), b=draw.randrange(100), c=draw.randrange(1000, 99999), t=timed.time_s
            )
            tagged.insert(draw.randrange(1, len(tagged) + 1), noise)
        for line in tagged:
            clock_us += draw.randrange(2, 40)
            counts.lines += 1
            yield f"[{clock_us // 1_000_000:5d}.{clock_us % 1_000_000:06d}] {line}\n"
    for line in waiting or ():
        counts.lines += 1
        yield f"[{clock_us // 1_000_000:5d}.{clock_us % 1_000_000:06d}] mce: [Hardware Error]: {line}\n"


# A head line in any of the forms that a folder of real logs has, only to know how often to repeat it.
HEAD = re.compile(
    rb"CPU ?\d+:? ?(?:Machine Check|\d+ northbridge|BANK \d+)|MC\d+_STATUS|Bank \d+: [0-9a-f]{16}|mce_record",
    re.IGNORECASE,
)


def repeated(folder: Path, records: int) -> Iterator[bytes]:
    """The folder's files, again and again, until they have held ``records`` head lines.

    Raises ValueError if no file of the folder has one.
    """
    files = [path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()]
    heads = [len(HEAD.findall(text)) for text in files]
    if not sum(heads):
        raise ValueError(f"{folder} holds no head line of a record")
    written = 0
    while written < records:
        for text, count in zip(files, heads, strict=True):
            yield text if text.endswith(b"\n") else text + b"\n"
            written += count
            if written >= records:
                return


def write(  # noqa: PLR0913 (one parameter an option)
    out: Path, mix: str, records: int, seed: int, folder: Path | None = None, *, distinct: bool = False
) -> str:
    """Write the log to ``out`` and say in one line what it holds."""
    if mix == "corpus":
        if folder is None:
            raise ValueError("--mix corpus needs --corpus DIR")
        with out.open("wb") as sink:
            sink.writelines(repeated(folder, records))
        return f"at least {records} head lines, {folder} repeated: nearly all records are repetitions"
    counts = Counts()
    with out.open("w", encoding="ascii", newline="\n") as sink:
        _write_in_chunks(sink, log(mix, records, seed, counts, distinct=distinct))
    return str(counts)


def _write_in_chunks(sink: TextIO, lines: Iterator[str]) -> None:
    chunk: list[str] = []
    for line in lines:
        chunk.append(line)
        if len(chunk) == LINES_PER_WRITE:
            sink.write("".join(chunk))
            chunk.clear()
    sink.write("".join(chunk))


def main(argv: list[str] | None = None, say: Callable[[str], object] = sys.stderr.write) -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--mix", choices=(*MIXES, "corpus"), required=True)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, help="the folder that --mix corpus repeats")
    parser.add_argument("--distinct", action="store_true", help="draw what names the error, too")
    asked = parser.parse_args(argv)
    say(write(asked.out, asked.mix, asked.records, asked.seed, asked.corpus, distinct=asked.distinct) + "\n")


if __name__ == "__main__":
    main()
