"""How this machine keeps corrected errors from interrupting it without end: what the kernel has set, read back.

Ringfence changes none of these settings: they are root's, and hold for all who read the same errors. It reads them
back, says what they amount to, and what root can write where. Below one sysfs directory for each CPU (Linux
arch/x86/kernel/cpu/mce/core.c): ``check_interval`` in seconds, ``cmci_disabled``, ``ignore_ce``; on AMD, for each bank
and block (mce/amd.c): ``threshold_limit`` and ``interrupt_enable``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringfence.service.sources.host_facts import HostFiles, Statement, Topic

DIRECTORY: Final = "/sys/devices/system/machinecheck"
MAX_CPUS: Final = 8_192
"""NR_CPUS of the largest kernels (arch/x86/Kconfig, MAXSMP)."""
MAX_BLOCKS: Final = 64 * 9
"""Of one CPU: banks (MAX_NR_BANKS), and a first block and eight more each (mce/amd.c, NR_BLOCKS)."""
THRESHOLD_MAX: Final = 0xFFF
"""The largest threshold_limit, which is the default too (mce/amd.c)."""

_CPU: Final = re.compile(r"machinecheck\d{1,5}")
_INTEL_STORM: Final = (
    "on Intel the kernel turns a CPU's CMCI off by itself while more than 15 come within a second, and polls every 30 s"
    " until it is over (mce/intel.c, CMCI_STORM_THRESHOLD, CMCI_POLL_INTERVAL): there is nothing to set"
)
_IMPOSSIBLE: Final = "The rate of the interrupts cannot be limited here: whoever reads the errors must bear it"


@dataclass(frozen=True, slots=True)
class _Block:
    """A threshold counter of a bank: how many errors make an interrupt, and whether they make one."""

    file: str
    limit: int
    interrupts: bool | None


def throttle(host: HostFiles) -> tuple[Statement, ...]:
    """What limits the interrupts of corrected errors, by the settings that the kernel gives back.

    A setting that may not be read is left out; where there is none at all, it is said that nothing can be limited.
    """
    cpus = _cpus(host)
    if not cpus:
        return (
            Statement(
                Topic.THROTTLE, "the kernel shows no settings of machine checks", _IMPOSSIBLE, DIRECTORY,
                "it is not there",
            ),
        )  # fmt: skip
    found = [*_modes(host, cpus[0]), *_thresholds(host, cpus)]
    return tuple(found)


def _cpus(host: HostFiles) -> list[str]:
    try:
        names = [entry.name for entry in (host.root / DIRECTORY.lstrip("/")).iterdir()]
    except OSError:
        return []
    cpus = sorted((name for name in names if _CPU.fullmatch(name)), key=lambda name: int(name[len("machinecheck") :]))
    return [f"{DIRECTORY}/{name}" for name in cpus[:MAX_CPUS]]


def _number(host: HostFiles, file: str) -> int | None:
    text = (host.text(file) or "").strip()
    return int(text) if re.fullmatch(r"[0-9]{1,19}", text) else None


def _modes(host: HostFiles, cpu: str) -> Iterator[Statement]:
    """How corrected errors are noticed: the same for all CPUs (the kernel keeps one setting)."""
    ignored, off = _number(host, f"{cpu}/ignore_ce"), _number(host, f"{cpu}/cmci_disabled")
    interval_s = _number(host, f"{cpu}/check_interval")
    if ignored:
        text, so = (
            "corrected errors are ignored",
            "No interrupt comes and nothing is polled: only other errors are seen",
        )
        yield Statement(Topic.THROTTLE, text, so, f"{cpu}/ignore_ce", str(ignored))
    elif off:
        text = "corrected errors do not interrupt (CMCI is off): they are polled"
        yield Statement(
            Topic.THROTTLE, text, "A storm costs no interrupts; errors come late", f"{cpu}/cmci_disabled", str(off)
        )
    elif off is not None:
        text = "corrected errors interrupt where the processor can (CMCI)"
        so = f"{_INTEL_STORM}; root can write 1 to it, and they are polled"
        yield Statement(Topic.THROTTLE, text, so, f"{cpu}/cmci_disabled", str(off))
    if interval_s is not None and not ignored:
        text = f"banks are polled every {interval_s} s at the slowest" if interval_s else "banks are not polled"
        so = "Between two looks a bank keeps one error and counts, or overwrites, the others"
        yield Statement(Topic.THROTTLE, text, so, f"{cpu}/check_interval", str(interval_s))


def _thresholds(host: HostFiles, cpus: list[str]) -> Iterator[Statement]:
    """AMD's counters: an interrupt for each ``threshold_limit`` errors of a bank's block."""
    blocks = [block for cpu in cpus for block in _blocks(host, cpu)]
    with_interrupt = [block for block in blocks if block.interrupts]
    if not blocks:
        return
    low, high = min(block.limit for block in blocks), max(block.limit for block in blocks)
    limits = str(low) if low == high else f"{low} to {high}"
    text = (
        f"{len(with_interrupt)} of {len(blocks)} threshold counters (AMD) interrupt, after {limits} errors each"
        if with_interrupt
        else f"none of {len(blocks)} threshold counters (AMD) interrupts"
    )
    so = (
        f"A storm makes an interrupt for every {limits} errors; root can write up to {THRESHOLD_MAX} to "
        "threshold_limit, or 0 to interrupt_enable, and read both back"
    )
    yield Statement(Topic.THROTTLE, text, so, blocks[0].file, f"threshold_limit={blocks[0].limit}")


def _blocks(host: HostFiles, cpu: str) -> Iterator[_Block]:
    below = host.root / cpu.lstrip("/")
    try:
        files = sorted(below.glob("*/*/threshold_limit"))[:MAX_BLOCKS]
    except OSError:
        return
    for path in files:
        block = "/" + str(Path(path).parent.relative_to(host.root))
        limit = _number(host, f"{block}/threshold_limit")
        if limit is not None:
            interrupts = _number(host, f"{block}/interrupt_enable")
            yield _Block(f"{block}/threshold_limit", limit, None if interrupts is None else bool(interrupts))
