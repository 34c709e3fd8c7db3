"""Which boot of a real host this is, and its clock: a file that outlives both the process and the boot.

The host's clock counts milliseconds and never steps: within a boot it follows CLOCK_BOOTTIME, and over a reboot it goes
on by the wall clock, but never back. What the wall clock does within a boot does not matter.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from ringfence.errors import HypervisorError

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
NAME: Final = "boot.json"


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """One boot: its number, the kernel's name for it, and what the host's clock was at 0 of CLOCK_BOOTTIME."""

    number: int
    id: str
    base_ms: int

    def now_ms(self) -> int:
        """The host's clock."""
        return self.base_ms + _since_boot_ms()


@dataclass(frozen=True, slots=True)
class Least:
    """What an earlier life is known to have reached: the number of its boot, and the host's clock."""

    boot: int = 0
    now_ms: int = 0


def this_boot(state_dir: Path, least: Least = Least(), boot_id: Path = BOOT_ID) -> Boot:
    """This boot, known from the file if an earlier life ran in it. Raises HypervisorError if it cannot be written down.

    A file that is damaged is made anew: the journal's numbers (``least``) are not used again.
    """
    path = state_dir / NAME
    name = boot_id.read_text(encoding="ascii").strip()
    known = _known(path)
    if known is not None and known.id == name and known.number >= least.boot:
        return known
    wall_ms = time.time_ns() // 1_000_000
    now_ms = max(wall_ms, least.now_ms + 1)
    number = 1 + max(least.boot, known.number if known is not None else 0)
    boot = Boot(number=number, id=name, base_ms=now_ms - _since_boot_ms())
    making = path.with_suffix(".making")
    try:
        making.write_bytes(msgspec.json.encode(boot) + b"\n")
        making.replace(path)
    except OSError as error:
        advice = "See that the state directory may be written and has room."
        raise HypervisorError(f"{path}: {error.strerror}", advice=advice) from error
    return boot


def _known(path: Path) -> Boot | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=Boot)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def _since_boot_ms() -> int:
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000
