"""What ``ringfence doctor`` looks at, gathered into one value: below one root, so that tests build a machine of files.

Reads only. What is not there, or may not be read, is None or empty: the checks say what that means.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec

from ringfence.decision.policy import DEFAULT
from ringfence.errors import FileError, RingfenceError
from ringfence.journal.store import Reader
from ringfence.service import control_protocol as say
from ringfence.service.client import ask_once
from ringfence.service.configuration.configuration import Configuration
from ringfence.service.configured import Asked, in_force
from ringfence.service.http.tokens import FILE as TOKENS
from ringfence.service.intake_plan import followed
from ringfence.service.kvm_facts import KvmFacts, kvm_facts
from ringfence.service.others import Fact, facts_of, kernel_log
from ringfence.service.sources.host_facts import HostFiles, Statement, statements, what_runs
from ringfence.service.sources.interrupt_throttle import throttle
from ringfence.service.sources.source import Availability
from ringfence.service.xen_facts import XenFacts, scans_seen, xen_facts

ANSWER_S: Final = 5.0
"""For the service's health: it answers within a turn."""
EVENTS_CHECKED: Final = 2_000
"""The last ones of the journal: `ringfence journal check` goes through all of them."""
MOST_PROCESSES: Final = 65_536

_TIME_KEEPERS: Final = frozenset({"chronyd", "ntpd", "systemd-timesyn", "ptp4l", "phc2sys", "openntpd"})
"""As /proc/PID/comm has them, cut to 15 characters."""

_UNITS: Final = ("etc/systemd/system", "run/systemd/system", "usr/local/lib/systemd/system", "usr/lib/systemd/system")
"""Where systemd looks for a unit, the first that has it wins (systemd.unit(5))."""


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """Mode (the permission bits), room, and the type of the file system."""

    mode: int
    free_bytes: int
    filesystem: str


@dataclass(frozen=True, slots=True)
class JournalFact:
    """What reading the journal's last part said."""

    problem: str = ""
    advice: str = ""
    has_reserve: bool = True
    xen_scans: bool = False
    """A record of Xen's that a scan of the banks made is in it, of the Xen that ran last."""


@dataclass(frozen=True, slots=True)
class Secret:
    """A file that nobody else may read; ``problem`` if it cannot be looked at."""

    what: str
    path: str
    mode: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class SourceFact:
    """A source that the configuration asks for, and whether it is there."""

    name: str
    availability: Availability
    expected: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that the checks know. ``configuration`` is None if it cannot be read, ``unit`` if there is none;
    ``keeps_time`` and ``crash_kernel`` are None where it cannot be told, ``xen`` and ``kvm`` where there is none.
    """

    state_dir: Path
    runs: str
    python: tuple[int, ...] = sys.version_info[:3]
    sqlite: tuple[int, ...] = sqlite3.sqlite_version_info
    configuration_path: Path | None = None
    configuration: Configuration | None = None
    configuration_problems: tuple[str, ...] = ()
    configuration_mode: int | None = None
    unknown_names: tuple[str, ...] = ()
    health: say.Health | None = None
    why_no_health: str = ""
    unit: Mapping[str, str] | None = None
    unit_file: str = ""
    state: StateDirectory | None = None
    journal: JournalFact | None = None
    secrets: tuple[Secret, ...] = ()
    sources: tuple[SourceFact, ...] = ()
    others: tuple[Fact, ...] = ()
    machine_check: Mapping[str, str] = field(default_factory=dict)
    throttle: tuple[Statement, ...] = ()
    edac_controllers: int = 0
    pstore_backend: str = ""
    pstore_records: int | None = None
    crash_kernel: bool | None = None
    keeps_time: bool | None = None
    lockdown: str = ""
    xen: XenFacts | None = None
    kvm: KvmFacts | None = None


def gather(  # noqa: PLR0913 (one argument a place)
    *, root: Path, state_dir: Path, journal: Path, socket: Path, config: Path, config_required: bool = False
) -> Facts:
    """Look at everything. ``root`` is where the machine's own files are; the other paths are taken as they are."""
    host = HostFiles(root)
    wanted, problems, unknown = _configured(config, required=config_required)
    sources = wanted.sources if wanted is not None else Configuration().sources
    log = tuple(kernel_log(root / sources.kernel_log_path.lstrip("/")))
    health, why = _health(socket)
    unit_file, unit = _unit(root)
    xen = xen_facts(host)
    return Facts(
        state_dir=state_dir,
        runs=what_runs(host).in_words,
        configuration_path=config,
        configuration=wanted,
        configuration_problems=problems,
        configuration_mode=_mode(config),
        unknown_names=unknown,
        health=health,
        why_no_health=why,
        unit=unit,
        unit_file=unit_file,
        state=_state(state_dir, host),
        journal=_journal(journal),
        secrets=tuple(_secrets(state_dir, wanted)) if wanted is not None else (),
        sources=_sources(wanted) if wanted is not None else (),
        others=facts_of(sources, statements(HostFiles(root, log))),
        machine_check=dict(_settings(host)),
        throttle=throttle(host) if xen is None else (),
        edac_controllers=len(_names(root / "sys/devices/system/edac/mc", "mc")),
        pstore_backend=_pstore_backend(host),
        pstore_records=_pstore_records(root),
        crash_kernel=_crash_kernel(host) if xen is None or xen.crash_kernel is None else xen.crash_kernel,
        keeps_time=_keeps_time(root, host),
        lockdown=_lockdown(host),
        xen=xen,
        kvm=kvm_facts(host),
    )


# --- Ringfence's own --------------------------------------------------------------------------------------------------


def _configured(path: Path, *, required: bool) -> tuple[Configuration | None, tuple[str, ...], tuple[str, ...]]:
    try:
        found = in_force(Asked(config=path, required=required), DEFAULT)
    except FileError as error:
        return None, tuple(f"{error.path}:{each.line}: {each}" for each in error.problems), ()
    except RingfenceError as error:
        return None, (str(error),), ()
    return found.configuration, (), found.roster.unknown


def _health(socket: Path) -> tuple[say.Health | None, str]:
    try:
        reply = ask_once(socket, say.Status(), ANSWER_S)
    except OSError as error:
        return None, f"{socket}: {error.strerror or error}"
    except msgspec.DecodeError as error:
        return None, f"its answer cannot be read: {error}"
    if isinstance(reply, say.Health):
        return reply, ""
    return None, reply.message if isinstance(reply, say.Refused) else "it answers something else"


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode & 0o7777
    except OSError:
        return None


def _state(path: Path, host: HostFiles) -> StateDirectory | None:
    mode = _mode(path)
    if mode is None:
        return None
    room = os.statvfs(path)
    return StateDirectory(mode, room.f_bavail * room.f_frsize, _filesystem(path, host.text("/proc/self/mounts") or ""))


def _filesystem(path: Path, mounts: str) -> str:
    """The type of the file system that a path lies on: of the longest mount point above it, the last one (proc(5))."""
    best, kind = -1, ""
    whole = str(path.resolve())
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:
            continue
        point = fields[1].replace("\\040", " ").rstrip("/")
        if (whole == point or whole.startswith(f"{point}/")) and len(point) >= best:
            best, kind = len(point), fields[2]
    return kind


def _journal(path: Path) -> JournalFact | None:
    if not path.exists():
        return None
    reserve = path.with_name(path.name + ".reserve")
    try:
        scans = False
        with Reader(path) as reader:
            for _, event in reader.events(max(0, reader.last - EVENTS_CHECKED)):
                scans = scans_seen(event, before=scans)
    except RingfenceError as error:
        return JournalFact(str(error), error.advice, reserve.exists())
    return JournalFact(has_reserve=reserve.exists(), xen_scans=scans)


def _secrets(state_dir: Path, wanted: Configuration) -> Iterator[Secret]:
    tokens = state_dir / TOKENS
    if tokens.exists():
        yield _secret("the tokens", tokens)
    if wanted.http.key is not None:
        yield _secret("[http] key", Path(wanted.http.key))
    for each in wanted.webhook:
        if each.secret_file is not None:
            yield _secret(f"the secret of webhook {each.name}", Path(each.secret_file))


def _secret(what: str, path: Path) -> Secret:
    try:
        return Secret(what, str(path), path.stat().st_mode & 0o7777)
    except OSError as error:
        return Secret(what, str(path), problem=error.strerror or str(error))


def _sources(wanted: Configuration) -> tuple[SourceFact, ...]:
    return tuple(SourceFact(each.source.name, each.source.probe(), each.expected) for each in followed(wanted.sources))


def _unit(root: Path) -> tuple[str, Mapping[str, str] | None]:
    """The settings of ringfence.service with its drop-ins; the last word on each counts (systemd.unit(5)).

    Lists that add up (SystemCallFilter) are not told apart from others: no check looks at one.
    """
    for directory in _UNITS:
        main = root / directory / "ringfence.service"
        if not main.is_file():
            continue
        drop_ins = sorted(
            (each for where in reversed(_UNITS) for each in (root / where / "ringfence.service.d").glob("*.conf")),
            key=lambda each: each.name,
        )
        found: dict[str, str] = {}
        for each in (main, *drop_ins):
            found.update(_unit_settings(each))
        return str(main), found
    return "", None


def _unit_settings(path: Path) -> Iterator[tuple[str, str]]:
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.lstrip().startswith(("#", ";")):
            yield key.strip(), value.strip()


# --- the machine's ----------------------------------------------------------------------------------------------------


def _settings(host: HostFiles) -> Iterator[tuple[str, str]]:
    for name in ("check_interval", "ignore_ce", "cmci_disabled", "dont_log_ce"):
        text = host.text(f"/sys/devices/system/machinecheck/machinecheck0/{name}")
        if text is not None:
            yield name, text.strip()


def _names(directory: Path, begins: str = "") -> list[str]:
    try:
        return [each.name for each in directory.iterdir() if each.name.startswith(begins)]
    except OSError:
        return []


def _pstore_backend(host: HostFiles) -> str:
    """Linux fs/pstore/platform.c: the parameter says "(null)" without one."""
    found = (host.text("/sys/module/pstore/parameters/backend") or "").strip()
    return "" if found == "(null)" else found


def _pstore_records(root: Path) -> int | None:
    directory = root / "sys/fs/pstore"
    return len(_names(directory)) if directory.is_dir() else None


def _crash_kernel(host: HostFiles) -> bool | None:
    text = host.text("/sys/kernel/kexec_crash_loaded")
    return None if text is None else text.strip() == "1"


def _keeps_time(root: Path, host: HostFiles) -> bool | None:
    numbers = [each for each in _names(root / "proc") if each.isdecimal()]
    if not numbers:
        return None
    found = ((host.text(f"/proc/{each}/comm") or "").strip() for each in numbers[:MOST_PROCESSES])
    return any(each in _TIME_KEEPERS for each in found)


def _lockdown(host: HostFiles) -> str:
    """The word in brackets (Linux security/lockdown/lockdown.c)."""
    text = host.text("/sys/kernel/security/lockdown") or ""
    return text.partition("[")[2].partition("]")[0]
