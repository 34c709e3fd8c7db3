"""The last words of a host's Linux (Dom0, a KVM host), and stopping its machine."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ringfence.record.evidence import Record
from ringfence.world.steps import Result, Status

KMSG: Final = Path("/dev/kmsg")
TRIGGER: Final = Path("/proc/sysrq-trigger")
_EMERGENCY: Final = "<0>"
"""KERN_EMERG: it passes every console's log level, hvc0 and so Xen's serial console among them."""


def last_words(records: Iterable[Record], kmsg: Path = KMSG) -> Result:
    """The registers of what is not acknowledged, to the kernel's log and every console behind it."""
    lines = [_line(record) for record in records] or ["no machine check is waiting to be read"]
    try:
        file = os.open(kmsg, os.O_WRONLY | os.O_CLOEXEC)
    except OSError as error:
        return Result(Status.FAILED, f"{kmsg}: {error.strerror}")
    try:
        for line in lines:
            os.write(file, f"{_EMERGENCY}ringfence: [Hardware Error]: {line}\n".encode())
    except OSError as error:
        return Result(Status.FAILED, f"{kmsg}: {error.strerror}")
    finally:
        os.close(file)
    return Result(Status.DONE)


def _line(record: Record) -> str:
    held = record.registers
    parts = (
        ("CPU", None if record.cpu is None else str(record.cpu)),
        ("Bank", None if record.bank is None else str(record.bank)),
        ("STATUS", _hex(held.status)),
        ("ADDR", _hex(held.addr)),
        ("MISC", _hex(held.misc)),
        ("MCGSTATUS", _hex(held.mcg_status)),
    )
    return " ".join(f"{name} {value}" for name, value in parts if value is not None)


def _hex(value: int | None) -> str | None:
    return None if value is None else f"{value:#x}"


def halt(trigger: Path = TRIGGER) -> Result:
    """Crash the kernel on purpose: a crash kernel saves what there is if one is loaded, else it does what ``panic=``
    says. Xen goes down with its Dom0: it stops or restarts the machine (xen/common/shutdown.c, hwdom_shutdown).
    """
    try:
        trigger.write_text("c")
    except OSError as error:
        return Result(Status.FAILED, f"{trigger}: {error.strerror}; enable sysrq (kernel.sysrq) for Ringfence to halt")
    return Result(Status.RUNNING, "the kernel is being crashed")
