"""Who else acts on the same errors on this host, and what the firmware keeps to itself: each with its evidence.

Nothing here decides who wins: ``doctor`` shows it, the configuration says it. All is read from files below one root.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

MAX_FILE_BYTES: Final = 1 << 20
MAX_PROCESSES: Final = 65_536


class Topic(StrEnum):
    """What a statement is about."""

    RAS_CEC = "the kernel's Correctable Errors Collector"
    DAEMON = "another daemon that reads the same errors"
    PAGE_ISOLATION = "another that takes pages out of use"
    KERNEL_PARAMETER = "a parameter of the kernel"
    FIRMWARE_FIRST = "firmware takes the errors first"
    MEMORY_FAILURE = "the kernel's own handling of poisoned pages"
    THROTTLE = "what keeps corrected errors from interrupting without end"


@dataclass(frozen=True, slots=True)
class Statement:
    """Something that holds on this host, the ``consequence`` for Ringfence, and the evidence: a file, what it says."""

    topic: Topic
    text: str
    consequence: str
    file: str
    evidence: str


@dataclass(frozen=True, slots=True)
class HostFiles:
    """The host's files below ``root`` (tests: a directory), and the lines of its kernel log."""

    root: Path = Path("/")
    log: tuple[str, ...] = ()

    def text(self, path: str) -> str | None:
        """A file's beginning; None if it is not there or may not be read."""
        found = self.blob(path)
        return found.decode("utf-8", "replace") if found is not None else None

    def blob(self, path: str) -> bytes | None:
        """A file's first bytes; None if it is not there or may not be read."""
        try:
            with (self.root / path.lstrip("/")).open("rb") as file:
                return file.read(MAX_FILE_BYTES)
        except OSError:
            return None

    def exists(self, path: str) -> bool:
        """Whether it is there, as far as this process may see."""
        try:
            return (self.root / path.lstrip("/")).exists()
        except OSError:
            return False


# --- RAS_CEC ---------------------------------------------------------------------------------------------------------

_CEC_DIRECTORY: Final = "/sys/kernel/debug/ras/cec"


def _cec(host: HostFiles) -> Iterator[Statement]:
    """drivers/ras/cec.c: decays counts per page and soft-offlines a page at action_threshold; it eats what it takes."""
    if not host.exists(_CEC_DIRECTORY):
        return
    settings = {
        name: (host.text(f"{_CEC_DIRECTORY}/{name}") or "").strip() for name in ("action_threshold", "decay_interval")
    }
    said = ", ".join(f"{name}={value}" for name, value in settings.items() if value) or "the directory is there"
    yield Statement(
        Topic.RAS_CEC,
        "The kernel counts corrected errors per page itself, and soft-offlines a page that has too many",
        "Corrected memory errors that it takes reach neither EDAC nor /dev/mcelog (they do reach mce:mce_record); "
        "its page actions clash with Ringfence's: boot with ras=cec_disable, or leave corrected errors to it",
        _CEC_DIRECTORY,
        said,
    )


# --- the command line ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Parameter:
    """A kernel parameter (Linux Documentation/admin-guide/kernel-parameters.txt, arch/x86/x86_64/boot-options.rst)."""

    pattern: str
    text: str
    consequence: str


_BY_HAND: Final = "machine checks are set up by hand"
PARAMETERS: Final = (
    Parameter(r"mce=off|nomce", "machine checks are disabled", "Nothing is reported and every #MC shuts the host down"),
    Parameter(r"mce=no_cmci", "corrected errors are polled, not signalled", "They arrive up to five minutes late"),
    Parameter(r"mce=ignore_ce", "corrected errors are not polled", "Only uncorrected errors are seen by this kernel"),
    Parameter(r"mce=dont_log_ce", "corrected errors are cleared unlogged", "No corrected error reaches any source"),
    Parameter(r"mce=no_lmce", "local machine checks are disabled", "Every #MC is broadcast to all CPUs"),
    Parameter(
        r"mce=bios_cmci_threshold", "firmware's CMCI thresholds are kept", "CMCIs come per threshold, not per error"
    ),
    Parameter(r"mce=(?:recovery|nobootlog|bootlog|print_all)", _BY_HAND, "What is logged differs from the default"),
    Parameter(r"mce=[0-3](?:,\d+)?", _BY_HAND, "The kernel panics, or goes on, where the policy expects otherwise"),
    Parameter(r"ras=cec_disable", "the kernel's collector of corrected errors is off", "It does not clash"),
    Parameter(
        r"hest_disable|ghes\.disable(?:=\w+)?", "firmware's records are not read", "Its errors are not seen at all"
    ),
    Parameter(r"erst_disable", "ERST is not used", "Last words are not kept over a crash by firmware"),
    Parameter(r"acpi=off", "ACPI is off", "No firmware error records, no ERST"),
)


def _parameters(host: HostFiles) -> Iterator[Statement]:
    line = host.text("/proc/cmdline") or ""
    for word in line.split():
        found = next((known for known in PARAMETERS if re.fullmatch(known.pattern, word)), None)
        if found is not None:
            text = f"{word}: {found.text}"
            yield Statement(Topic.KERNEL_PARAMETER, text, found.consequence, "/proc/cmdline", word)


# --- daemons ---------------------------------------------------------------------------------------------------------


def _process_numbers(host: HostFiles) -> list[str]:
    try:
        names = [entry.name for entry in (host.root / "proc").iterdir() if entry.name.isdecimal()]
    except OSError:
        return []
    return sorted(names, key=int)[:MAX_PROCESSES]


def _processes(host: HostFiles) -> Iterator[tuple[str, str]]:
    """The number and the name of each process."""
    for number in _process_numbers(host):
        if (name := host.text(f"/proc/{number}/comm")) is not None:
            yield number, name.strip()


_SETTING = re.compile(r"^\s*(?P<key>[A-Za-z_-]+)\s*=\s*\"?(?P<value>[^\"#\n]*?)\"?\s*(?:#.*)?$", re.MULTILINE)


def _settings(host: HostFiles, *files: str) -> tuple[str, dict[str, str]]:
    for file in files:
        if (text := host.text(file)) is not None:
            return file, {match["key"]: match["value"].strip() for match in _SETTING.finditer(text)}
    return files[0], {}


def _rasdaemon(host: HostFiles, process: str) -> Iterator[Statement]:
    yield Statement(
        Topic.DAEMON,
        "rasdaemon runs",
        "It reads trace events from an instance of its own: it takes nothing away",
        f"/proc/{process}/comm",
        "rasdaemon",
    )
    file, found = _settings(host, "/etc/sysconfig/rasdaemon", "/etc/default/rasdaemon")
    action = found.get("PAGE_CE_ACTION", "soft")
    if action != "off":
        said = f"PAGE_CE_ACTION={action}" if "PAGE_CE_ACTION" in found else "PAGE_CE_ACTION is not set: soft"
        yield Statement(
            Topic.PAGE_ISOLATION,
            f"rasdaemon takes pages out of use at {found.get('PAGE_CE_THRESHOLD', '50')} corrected errors in "
            f"{found.get('PAGE_CE_REFRESH_CYCLE', '24h')} ({action})",
            "It can act on a page before Ringfence's policy does: set PAGE_CE_ACTION=off, or turn Ringfence's own off",
            file,
            said,
        )
    if found.get("CPU_ISOLATION_ENABLE", "no").lower() in {"yes", "1", "true"}:
        yield Statement(
            Topic.PAGE_ISOLATION,
            "rasdaemon takes CPUs offline that have too many corrected errors",
            "It can act on a CPU before Ringfence's policy does: set CPU_ISOLATION_ENABLE=no",
            file,
            f"CPU_ISOLATION_ENABLE={found['CPU_ISOLATION_ENABLE']}",
        )


def _mcelog(host: HostFiles, process: str) -> Iterator[Statement]:
    yield Statement(
        Topic.DAEMON,
        "the mcelog daemon runs",
        "It reads /dev/mcelog, and what one reader gets the other does not: Ringfence must not read that device here",
        f"/proc/{process}/comm",
        "mcelog",
    )
    file, found = _settings(host, "/etc/mcelog/mcelog.conf")
    action = found.get("memory-ce-action", "soft")
    if action != "off":
        yield Statement(
            Topic.PAGE_ISOLATION,
            f"mcelog takes pages out of use at {found.get('memory-ce-threshold', '10 / 24h')} errors ({action})",
            "It can act on a page before Ringfence's policy does: set memory-ce-action = off in section [page]",
            file,
            f"memory-ce-action = {action}" if "memory-ce-action" in found else "memory-ce-action is not set: soft",
        )


_DAEMONS: Final[dict[str, Callable[[HostFiles, str], Iterator[Statement]]]] = {
    "rasdaemon": _rasdaemon,
    "mcelog": _mcelog,
}


def _daemons(host: HostFiles) -> Iterator[Statement]:
    for process, name in _processes(host):
        if name in _DAEMONS:
            yield from _DAEMONS[name](host, process)


# --- firmware first --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class LogSign:
    """A line of the kernel log that says who takes errors first."""

    pattern: re.Pattern[str]
    topic: Topic
    text: str
    consequence: str


SIGNS: Final = (
    LogSign(
        re.compile(r"HEST: Enabling Firmware First mode for corrected errors"),
        Topic.FIRMWARE_FIRST,
        "the firmware takes corrected errors of some banks",
        "The kernel neither polls those banks nor gets their CMCI (HEST type 1, flag FIRMWARE_FIRST): corrected errors "
        "come as firmware's records, or not at all",
    ),
    LogSign(
        re.compile(r"GHES: APEI firmware first mode is enabled by (?P<who>.*)"),
        Topic.FIRMWARE_FIRST,
        "firmware reports errors through APEI",
        "Errors can come as firmware's records (GHES) in place of, or beside, the banks' own",
    ),
    LogSign(
        re.compile(r"mce: \[Firmware Bug\]: .*|\[Firmware Bug\]: (?:.*\b(?:mce|MCE|BIOS has|CMCI|bank)\b.*)"),
        Topic.FIRMWARE_FIRST,
        "the kernel complains of how firmware set machine checks up",
        "See the line: thresholds or banks may not be what the kernel expects",
    ),
    LogSign(
        re.compile(r"EDAC .*(?:ghes|GHES).*|ghes_edac: .*|EDAC MC: .*ghes_edac.*"),
        Topic.FIRMWARE_FIRST,
        "EDAC is fed by firmware (ghes_edac), not by a driver of the memory controller",
        "DIMM names are firmware's; counters count what firmware chose to report",
    ),
    LogSign(
        re.compile(r"(?:mce: )?CPU supports 0 MCE banks|MCE: In-kernel MCE decoding .*disabled"),
        Topic.FIRMWARE_FIRST,
        "no machine-check bank is visible",
        "The hypervisor or firmware keeps them: nothing comes but through firmware's records",
    ),
)  # fmt: skip


def _signs(host: HostFiles) -> Iterator[Statement]:
    for line in host.log:
        for sign in SIGNS:
            if sign.pattern.search(line):
                yield Statement(sign.topic, sign.text, sign.consequence, "the kernel log", line.strip())
                break


_PRESENT: Final = "the table is there"


def _tables(host: HostFiles) -> Iterator[Statement]:
    """The ACPI tables of APEI (ACPI 6.5 18): that they are there, not what they say (only root may read them)."""
    tables = "/sys/firmware/acpi/tables"
    meanings = {
        "HEST": "firmware can be a source of errors (GHES)",
        "ERST": "firmware keeps records over a crash",
        "BERT": "firmware may have left the error of the last boot",
        "EINJ": "firmware can inject errors: what follows such a test is no fault",
    }
    for name, meaning in meanings.items():
        if host.exists(f"{tables}/{name}"):
            topic = Topic.FIRMWARE_FIRST
            yield Statement(topic, f"ACPI has {name}: {meaning}", "", f"{tables}/{name}", _PRESENT)


@dataclass(frozen=True, slots=True)
class _HestSource:
    """One kind of error source in HEST: how long its structure is, and each of its banks' (ACPI 6.5 18.3.2)."""

    text: str
    bytes: int
    banks_at: int | None = None


_HEST_HEADER: Final = 40
"""The table's header (36 bytes) and the number of sources."""
_HEST_BANK: Final = 28
_HEST: Final[dict[int, _HestSource]] = {
    0: _HestSource("machine check exceptions", 40, 32),
    1: _HestSource("corrected machine checks", 48, 44),
    2: _HestSource("non-maskable interrupts", 20),
    6: _HestSource("PCIe root port errors", 48),
    7: _HestSource("PCIe device errors", 44),
    8: _HestSource("PCIe bridge errors", 56),
    9: _HestSource("generic errors", 64),
    10: _HestSource("generic errors, version 2", 92),
    11: _HestSource("deferred machine checks", 48, 44),
}
_HEST_BANKED: Final = frozenset({0, 1, 11})
FIRMWARE_FIRST_FLAG: Final = 1 << 0
"""Of a source's flags: firmware handles it first, and tells by a generic source (ACPI 6.5 18.4)."""


def _hest(host: HostFiles) -> Iterator[Statement]:
    """Which kinds of machine checks firmware takes first, by the flags of ACPI's HEST (only root may read it)."""
    path = "/sys/firmware/acpi/tables/HEST"
    table = host.blob(path) or b""
    at = _HEST_HEADER
    for _ in range(int.from_bytes(table[36:40], "little")):
        kind = _HEST.get(int.from_bytes(table[at : at + 2], "little"))
        if kind is None or at + kind.bytes > len(table):
            return  # a kind of later versions, of a length that is not known
        number, flags = table[at], table[at + 6]
        if number in _HEST_BANKED and flags & FIRMWARE_FIRST_FLAG:
            yield Statement(
                Topic.FIRMWARE_FIRST,
                f"firmware takes {kind.text} first",
                "The kernel leaves those banks alone: such errors come as firmware's records, or not at all",
                path,
                f"error source {int.from_bytes(table[at + 2 : at + 4], 'little')}, type {number}, flags {flags:#04x}",
            )
        banks = table[at + kind.banks_at] if kind.banks_at is not None else 0
        at += kind.bytes + banks * _HEST_BANK


def _memory_failure(host: HostFiles) -> Iterator[Statement]:
    """Documentation/admin-guide/sysctl/vm.rst: memory_failure_early_kill, memory_failure_recovery."""
    recovery = (host.text("/proc/sys/vm/memory_failure_recovery") or "").strip()
    if recovery == "0":
        yield Statement(
            Topic.MEMORY_FAILURE,
            "the kernel panics at every uncorrected memory error",
            "No guest is told and no page is taken out: nothing is left to decide",
            "/proc/sys/vm/memory_failure_recovery",
            recovery,
        )
    if (host.text("/proc/sys/vm/memory_failure_early_kill") or "").strip() == "1":
        yield Statement(
            Topic.MEMORY_FAILURE,
            "the kernel kills every process that maps a poisoned page at once",
            "QEMU asks for the signal itself, so a guest is told either way; others die without having touched it",
            "/proc/sys/vm/memory_failure_early_kill",
            "1",
        )


# --- what runs here ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Runs:
    """What this machine is to Ringfence. ``hypervisor`` is what it therefore runs on ("xen", "kvm", "model");
    ``in_words`` says what was found, and why.
    """

    hypervisor: str
    in_words: str

    @property
    def is_dom0(self) -> bool:
        """Whether it is a Xen that can be asked."""
        return self.hypervisor == "xen"


_ON_MODEL: Final = "it runs on the model host, which stands in for this machine: nothing is carried out on it"
_LIBVIRT: Final = ("/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock")
"""The socket of libvirtd, and that of the daemon for QEMU alone, which newer distributions run."""
_KVM_GUEST: Final = "anon_inode:kvm-vm"
"""What an open virtual machine of /dev/kvm is called in /proc/PID/fd (Linux virt/kvm/kvm_main.c)."""


def what_runs(host: HostFiles) -> Runs:
    """Which hypervisor runs here, by the files that each of them makes.

    /proc/xen/privcmd is in Dom0 alone (xenfs), /sys/hypervisor/type says "xen" in every guest of Xen as well
    (Linux Documentation/ABI/stable/sysfs-hypervisor-xen), /dev/kvm is the module's device: it is in use if libvirt
    listens, or a process has a guest of it.
    """
    if host.exists("/proc/xen/privcmd"):
        return Runs("xen", "Xen's Dom0 (/proc/xen/privcmd is there): it runs on this Xen")
    if (host.text("/sys/hypervisor/type") or "").strip() == "xen":
        found = "a guest of Xen (/sys/hypervisor/type), not its Dom0: machine checks are the hypervisor's affair"
    elif host.exists("/dev/kvm"):
        if used := _kvm_is_used(host):
            return Runs("kvm", f"a host of KVM (/dev/kvm is there, and {used}): it runs on this KVM")
        found = "a machine with /dev/kvm, which nobody uses (no libvirt listens, no process has a guest)"
    else:
        found = "no hypervisor (neither /proc/xen/privcmd nor /dev/kvm is there)"
    return Runs("model", f"{found}; {_ON_MODEL}")


def _kvm_is_used(host: HostFiles) -> str:
    for path in _LIBVIRT:
        if host.exists(path):
            return f"libvirt listens at {path}"
    for number in _process_numbers(host):
        directory = host.root / "proc" / number / "fd"
        try:
            with os.scandir(directory) as files:
                if any(os.readlink(each.path) == _KVM_GUEST for each in files):  # noqa: PTH115
                    return f"process {number} has a guest"
        except OSError:
            continue
    return ""


def statements(host: HostFiles) -> tuple[Statement, ...]:
    """All that holds on this host and bears on machine checks. Reads files only; what may not be read is left out."""
    parts = (_cec, _parameters, _daemons, _signs, _tables, _hest, _memory_failure)
    return tuple(statement for part in parts for statement in part(host))


def is_firmware_first(found: tuple[Statement, ...]) -> bool:
    """Whether firmware takes errors before the kernel: by its log or by HEST's flags, not by a table's presence."""
    return any(each.topic is Topic.FIRMWARE_FIRST and each.evidence != _PRESENT for each in found)
