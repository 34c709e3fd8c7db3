"""What the host's processor does with bad data, as far as Linux shows it (proc(5), cpuinfo)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Processor:
    """Who made it, and its feature flags in the kernel's words."""

    vendor: str = ""
    flags: frozenset[str] = frozenset()

    @classmethod
    def of_this_machine(cls, path: Path = Path("/proc/cpuinfo")) -> Processor:
        """By the first processor that the file lists; nothing known if it cannot be read."""
        said: dict[str, str] = {}
        try:
            with path.open(encoding="ascii", errors="replace") as file:
                for line in file:
                    key, _, value = line.partition(":")
                    if not key.strip():
                        break
                    said[key.strip()] = value.strip()
        except OSError:
            return cls()
        return cls(said.get("vendor_id", ""), frozenset(said.get("flags", "").split()))

    @property
    def is_intel(self) -> bool:
        """Whether Intel made it."""
        return self.vendor == "GenuineIntel"

    def poisons(self, ser_p: bool) -> tuple[bool | None, str]:
        """Whether it keeps bad data marked until consumed, and by which evidence; ``ser_p``: a record's MCG_CAP has it.
        Where nothing says so, nothing is claimed: Linux does not show MCG_CAP.
        """
        if ser_p:
            return True, "MCG_CAP.SER_P is set"
        if "succor" in self.flags:
            return True, "the processor has SUCCOR (CPUID 80000007 EBX)"
        return None, ""
