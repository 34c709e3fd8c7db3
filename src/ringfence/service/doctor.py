"""What clashes and what is missing on this machine: one table of checks, each a pure function of what was gathered.

A check answers with findings, or with none where all is well; what it cannot know it does not guess, and says so in a
note. ``doctor_facts`` gathers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from ringfence import __version__
from ringfence.service.doctor_facts import Facts
from ringfence.service.doctor_findings import Check, Checked, Finding, Severity, note, warning, wrong
from ringfence.service.doctor_kvm import under_kvm
from ringfence.service.doctor_xen import under_xen
from ringfence.service.sources.source import Presence
from ringfence.views.capabilities import CAPABILITIES

# --- the program ------------------------------------------------------------------------------------------------------

LEAST_PYTHON: Final = (3, 11)
LEAST_SQLITE: Final = (3, 38)
"""Where json_each is built in (sqlite.org/releaselog/3_38_0.html), which the journal's queries use."""


def _versions(facts: Facts) -> Iterator[Finding]:
    if facts.python < LEAST_PYTHON:
        yield wrong(f"Python {_dotted(facts.python)} is too old", advice="Use Python 3.11 or later.")
    if facts.sqlite < LEAST_SQLITE:
        yield wrong(
            f"SQLite {_dotted(facts.sqlite)} is too old",
            "The journal's queries use json_each, which is built in since 3.38.",
            "Use a Python that is built with SQLite 3.38 or later.",
        )


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))


def _service(facts: Facts) -> Iterator[Finding]:
    health = facts.health
    if health is None:
        yield wrong(
            f"the service does not answer: {facts.why_no_health}",
            "Nothing is watched, decided or written down.",
            "Start it: systemctl start ringfence. If it runs, name its --state-dir or --socket, and see `ringfence "
            "status`.",
        )
        return
    if health.service_version != __version__:
        yield warning(
            f"the service is version {health.service_version}, this command {__version__}",
            "An update is installed and not in force.",
            "systemctl restart ringfence",
        )
    for problem in health.problems:
        yield wrong(problem, "The service itself says so.", evidence="ringfence status")
    if health.at_restart:
        yield warning(
            f"{', '.join(health.at_restart)}: changed in the configuration, and not in force before a restart",
            advice="systemctl restart ringfence",
        )
    for missing in health.lacks:
        yield note(
            f"the hypervisor cannot {CAPABILITIES.get(missing, missing)}", "What needs it falls to the next row."
        )


def _unit(facts: Facts) -> Iterator[Finding]:
    if facts.unit is None:
        yield note(
            "there is no systemd unit ringfence.service", "Nobody starts the service again when it ends, or feeds on "
            "its watchdog.", "Install packaging/ringfence.service.",
        )  # fmt: skip
        return
    if facts.unit.get("WatchdogSec", "0") in {"", "0"}:
        yield warning("the unit has no watchdog", "A service that is stuck is not started again.", "WatchdogSec=30")
    if facts.unit.get("Restart", "no") == "no":
        yield warning("the unit does not start the service again", advice="Restart=on-failure")
    for needed, keys, why in _needs_of_unit(facts):
        for key, bad in keys.items():
            value = facts.unit.get(key, "")
            if bad(value):
                yield wrong(
                    f"the unit's {key}={value} takes away what {needed} needs", why,
                    f"A drop-in (systemctl edit ringfence) that sets {key}= anew, with the reason.", facts.unit_file,
                )  # fmt: skip


_Bad = Mapping[str, Callable[[str], bool]]


def _yes(value: str) -> bool:
    return value.lower() in {"yes", "true", "1", "on"}


def _no_network(value: str) -> bool:
    return bool(value) and not value.startswith("~") and "AF_INET" not in value.split()


def _needs_of_unit(facts: Facts) -> Iterator[tuple[str, _Bad, str]]:
    """What is switched on, and the settings of a unit that stand in its way (systemd.exec(5))."""
    wanted = facts.configuration
    if wanted is None:
        return
    network: _Bad = {"PrivateNetwork": _yes, "RestrictAddressFamilies": _no_network}
    if wanted.http.enabled and any(":" in each for each in wanted.http.listen):
        yield "[http]", network, "It cannot be reached over the network."
    if wanted.webhook:
        yield "[[webhook]]", network, "No receiver can be reached."
    sources = wanted.sources
    if sources.host and sources.kernel_log:
        yield "[sources] kernel-log", {"ProtectKernelLogs": _yes}, "/dev/kmsg cannot be opened (it is hidden)."
    if sources.host and sources.mcelog_device:
        yield "[sources] mcelog-device", {"PrivateDevices": _yes}, "/dev/mcelog is not there for the service."
    if sources.host and sources.tracefs:
        yield (
            "[sources] tracefs",
            {"ProtectKernelTunables": _yes},
            "No trace instance can be made.",
        )


# --- what it writes ---------------------------------------------------------------------------------------------------

LEAST_FREE_BYTES: Final = 64 << 20
"""Below that the reserve and the WAL of a bad day have hardly room (journal.store.RESERVE_BYTES is 4 MiB)."""

NETWORK: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "fuse.glusterfs",
                            "glusterfs", "lustre", "gfs2", "ocfs2", "virtiofs"})  # fmt: skip
"""File systems on which WAL must not be: it needs memory shared by all who open it (sqlite.org/wal.html)."""
VOLATILE: Final = frozenset({"tmpfs", "ramfs", "overlay"})


def _state(facts: Facts) -> Iterator[Finding]:
    state = facts.state
    if state is None:
        yield warning(
            f"there is no state directory {facts.state_dir}", advice="Start the service once, or name --state-dir."
        )
        return
    if state.mode & 0o022:
        yield wrong(
            f"{facts.state_dir} may be written by others (mode {state.mode:o})",
            "Whoever may write there can put another journal in its place.", f"chmod go-w {facts.state_dir}",
        )  # fmt: skip
    if state.free_bytes < LEAST_FREE_BYTES:
        yield wrong(
            f"{state.free_bytes >> 20} MiB are free for the journal", "When it is full, events go to the kernel's log.",
            "Make room on that disk.", str(facts.state_dir),
        )  # fmt: skip
    if state.filesystem in NETWORK:
        yield wrong(
            f"the journal lies on a network file system ({state.filesystem})",
            "SQLite's WAL is not safe there: the journal can be damaged.", "Put --state-dir on a local disk.",
        )  # fmt: skip
    if state.filesystem in VOLATILE:
        yield warning(
            f"the journal lies on {state.filesystem}", "It may not outlive a reboot: history and bad pages are "
            "forgotten.", "Put --state-dir on a local disk.",
        )  # fmt: skip


def _journal(facts: Facts) -> Iterator[Finding]:
    journal = facts.journal
    if journal is None:
        return
    if journal.problem:
        yield wrong(f"the journal is damaged or cannot be read: {journal.problem}", advice=journal.advice)
    if not journal.has_reserve:
        yield warning(
            "the journal's reserve is not there", "The next full disk stops the journal at once.", "Make room on its "
            "disk; the service makes the reserve anew.",
        )  # fmt: skip


def _secrets(facts: Facts) -> Iterator[Finding]:
    for each in facts.secrets:
        if each.problem:
            yield wrong(f"{each.what}: {each.path}: {each.problem}", advice="Name a file that the service may read.")
        elif each.mode & 0o077:
            yield wrong(
                f"{each.what}: {each.path} may be read by others (mode {each.mode:o})",
                "Whoever reads it can act in the service's name.", f"chmod 600 {each.path}",
            )  # fmt: skip


def _configuration(facts: Facts) -> Iterator[Finding]:
    for problem in facts.configuration_problems:
        yield wrong(problem, "Nothing of the file is in force at the next start.", "ringfence config check")
    for name in facts.unknown_names:
        yield warning(f"[rights] names {name}: not known on this machine", "It gives nobody anything.")
    if facts.configuration_mode is not None and facts.configuration_mode & 0o022:
        yield wrong(
            f"{facts.configuration_path} may be written by others (mode {facts.configuration_mode:o})",
            "Whoever writes there decides who may do what.", f"chmod go-w {facts.configuration_path}",
        )  # fmt: skip


def _http(facts: Facts) -> Iterator[Finding]:
    wanted = facts.configuration
    if wanted is None or not wanted.http.enabled:
        return
    for place in wanted.http.places:
        if not getattr(place, "is_loopback", True):
            yield note(f"HTTP listens on {place}: other machines reach it, over TLS", "Tokens decide who may do what.")


# --- the machine ------------------------------------------------------------------------------------------------------


def _clock(facts: Facts) -> Iterator[Finding]:
    if facts.keeps_time is False:
        yield warning(
            "nothing keeps the clock (no chronyd, ntpd, systemd-timesyncd)",
            "Times of different hosts cannot be compared, and a clock that steps misplaces errors in their windows.",
            "Run one of them.",
        )  # fmt: skip


def _hypervisor(facts: Facts) -> Iterator[Finding]:
    yield note(facts.runs, evidence="/proc/xen, /sys/hypervisor, /dev/kvm")


def _sources(facts: Facts) -> Iterator[Finding]:
    for each in facts.sources:
        if each.availability.presence is Presence.PRESENT:
            continue
        make = wrong if each.expected else note
        yield make(f"{each.name} cannot be followed: {each.availability.why}", advice=each.availability.advice)
    if facts.sources and not any(each.availability.presence is Presence.PRESENT for each in facts.sources):
        yield wrong("not one source can be followed", "No evidence arrives.", "See the advice on each.")


def _others(facts: Facts) -> Iterator[Finding]:
    for each in facts.others:
        make = warning if each.clashes else note
        yield make(each.text, advice=each.advice, evidence=each.evidence)


def _polling(facts: Facts) -> Iterator[Finding]:
    """Documentation/ABI/testing/sysfs-mce and arch/x86/x86_64/machinecheck.rst."""
    said = facts.machine_check
    if not said and facts.xen is not None:
        return  # Xen polls, and its Dom0 does not
    if not said:
        yield note("whether the kernel polls cannot be told", evidence="/sys/devices/system/machinecheck is not there")
    if said.get("ignore_ce") == "1":
        yield warning(
            "the kernel neither polls nor signals corrected errors (ignore_ce)", "No trend is ever seen.",
            "echo 0 > /sys/devices/system/machinecheck/machinecheck0/ignore_ce",
        )  # fmt: skip
    if said.get("cmci_disabled") == "1":
        yield note("CMCI is off: corrected errors are polled", "They arrive up to check_interval late.")
    if said.get("check_interval") == "0":
        yield warning("banks are not polled (check_interval is 0)", "What is not signalled is not seen.")
    if said.get("dont_log_ce") == "1":
        yield warning("corrected errors are cleared unlogged (dont_log_ce)", "No trend is ever seen.")


def _throttle(facts: Facts) -> Iterator[Finding]:
    """What the kernel gives back of its own settings; under Xen they are Xen's, which gives none (``doctor_xen``)."""
    for each in facts.throttle:
        yield note(each.text, f"{each.consequence}.", evidence=f"{each.file}: {each.evidence}")


PSTORE_FULL: Final = 64
"""Records: ERST and EFI variables hold some dozen to some hundred before a crash finds no room."""


def _pstore(facts: Facts) -> Iterator[Finding]:
    if facts.pstore_backend == "":
        yield note(
            "no pstore back end is in use", "Last words of a crash are kept nowhere but on the console.",
            "ERST needs firmware that has it; efi_pstore and ramoops are others.",
        )  # fmt: skip
    if facts.pstore_records is not None and facts.pstore_records >= PSTORE_FULL:
        yield warning(
            f"pstore holds {facts.pstore_records} records", "It may be full: the next crash is not recorded.",
            "Let somebody erase them: systemd-pstore, or [sources] erase-pstore = true.", "/sys/fs/pstore",
        )  # fmt: skip


def _kdump(facts: Facts) -> Iterator[Finding]:
    if facts.crash_kernel is None:
        yield note("whether a crash kernel is loaded cannot be told", evidence="/sys/kernel/kexec_crash_loaded")
    if facts.crash_kernel is False:
        yield note("no crash kernel is loaded (kdump)", "A panic leaves no dump to learn from.", "See kdump(8).")


def _edac(facts: Facts) -> Iterator[Finding]:
    if facts.edac_controllers == 0 and facts.configuration is not None and facts.configuration.sources.host:
        yield warning(
            "EDAC knows no memory controller", "Errors are not named by DIMM, and counters are missing.",
            "Load the driver of the memory controller (skx_edac, i10nm_edac, amd64_edac ...); under Xen there is none.",
        )  # fmt: skip


def _lockdown(facts: Facts) -> Iterator[Finding]:
    if facts.lockdown in {"integrity", "confidentiality"}:
        yield note(
            f"the kernel is locked down ({facts.lockdown})",
            "MSRs, /dev/mem and (confidentiality) trace events are closed even to root.",
            evidence="/sys/kernel/security/lockdown",
        )


CHECKS: Final = (
    Check("versions", "Are Python and SQLite new enough?", _versions),
    Check("configuration", "Is the configuration good, with its policy?", _configuration),
    Check("service", "Does the service run, and is it well?", _service),
    Check("unit", "Does systemd keep it going, and leave it what it needs?", _unit),
    Check("state", "Is the state directory safe?", _state),
    Check("journal", "Is the journal whole, with its reserve?", _journal),
    Check("secrets", "Are tokens, keys and secrets for the service alone?", _secrets),
    Check("http", "Who can reach the HTTP API?", _http),
    Check("hypervisor", "What does Ringfence run on?", _hypervisor),
    Check("xen", "What does this Xen do, and what does it keep to itself?", under_xen),
    Check("kvm", "What do this kernel and its QEMUs do with poisoned memory?", under_kvm),
    Check("sources", "Can every source be followed that is switched on?", _sources),
    Check("others", "Who else acts on the same errors?", _others),
    Check("polling", "Does the kernel look for corrected errors?", _polling),
    Check("throttle", "What limits the interrupts of corrected errors?", _throttle),
    Check("edac", "Are DIMMs known by name?", _edac),
    Check("pstore", "Is there room for last words?", _pstore),
    Check("kdump", "Would a panic leave a dump?", _kdump),
    Check("clock", "Does somebody keep the clock?", _clock),
    Check("lockdown", "Does the kernel close what Ringfence reads?", _lockdown),
)
"""Every check, in the order in which it is told."""

BY_ID: Final[Mapping[str, Check]] = MappingProxyType({check.id: check for check in CHECKS})


def examined(facts: Facts) -> tuple[Checked, ...]:
    """Every check with what it found."""
    return tuple(Checked(check, tuple(check.answer(facts))) for check in CHECKS)


def is_well(checked: Iterable[Checked]) -> bool:
    """Whether nothing need be done: notes do not count."""
    return not any(each.severity is not Severity.NOTE for one in checked for each in one.findings)
