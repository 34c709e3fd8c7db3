"""A scenario: a host, its guests, and how often what goes wrong there. By name, or from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from ringfence.decision.policy import DEFAULT, Answer, DomainRule, Operation, Policy
from ringfence.decision.policy_file import read as read_policy
from ringfence.errors import SourceError
from ringfence.hypervisor.model.domains import DomainSpec
from ringfence.hypervisor.model.guests import BEHAVIOURS
from ringfence.hypervisor.model.machine import Patrol
from ringfence.hypervisor.model.personality import BEHAVIOURS as PERSONALITIES
from ringfence.hypervisor.model.platforms import PLATFORMS
from ringfence.service.policy_source import load as load_policy
from ringfence.service.simulation.acts import Place, Unit, Way
from ringfence.world.domain import DomainKind, McaHandler

MAX_PER_HOUR: Final = 1_000.0
"""Of any one rate: more is no day of a host, and a script of a day stays below a hundred thousand acts of a kind."""
MAX_PATROL_HOURS: Final = 24 * 30
MAX_GUESTS: Final = 64
"""More tell nothing new, and each costs memory and time."""
MAX_FILE_BYTES: Final = 1 << 20
"""A scenario with a hundred guests and every rate has a fiftieth of that."""


class Mishap(StrEnum):
    """What goes wrong besides the hardware."""

    KILL = "kill"
    BUSY = "busy"
    HANDLER_GONE = "handler gone"
    DOM0_HURT = "dom0 hurt"
    GUEST_CRASHES = "guest crashes"
    GUEST_READS = "guest reads"
    """A guest reads the page that was hit last."""
    DESTROY = "destroy"
    MIGRATE = "migrate"
    PAUSE = "pause"
    CHECKPOINT = "checkpoint"
    BALLOON = "balloon"
    SINK_BROKEN = "sink broken"
    STEPS_FAIL = "steps fail"
    REBOOT = "reboot"
    WRONG = "wrong instruction"
    APPROVE = "approve"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The host's hardware. ``patrol_hours`` is how long the patrol scrubber takes for all memory once."""

    platform: str = "cascade-lake"
    sockets: int = 2
    cores: int = 2
    threads: int = 2
    memory_gib: int = 4
    patrol: Patrol = Patrol.MACHINE_CHECK
    patrol_hours: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """All that a script is drawn from, and that a run needs besides it. Rates are per hour.

    ``personality``: which hypervisor it is, a key of ``personality.BEHAVIOURS``; where that acts alone, the laws are
    checked that are Ringfence's to keep (``laws.story.Story.alone``).
    ``handler``: Dom0 has an MCA handler at all. ``other_host``: there is a second host to migrate to.
    """

    name: str
    says: str = ""
    machine: Machine = Machine()
    personality: str = "concept"
    handler: bool = True
    other_host: bool = True
    guests: tuple[DomainSpec, ...]
    memory: Mapping[Way, Mapping[Place, float]]
    units: Mapping[Unit, float]
    mishaps: Mapping[Mishap, float]
    policy: Policy = DEFAULT

    @property
    def errors_per_hour(self) -> float:
        """How many errors are to be expected, a storm as one."""
        return sum(rate for places in self.memory.values() for rate in places.values()) + sum(self.units.values())


# --- built in ---------------------------------------------------------------------------------------------------------

_PAGES: Final = 1 << 13


def _guest(  # noqa: PLR0913 (one argument a choice)
    name: str,
    kind: DomainKind,
    handler: McaHandler = McaHandler.NONE,
    *,
    mca: bool = False,
    behaviour: str = "heals",
    vcpus: int = 1,
    superpages: bool = False,
    dirty: int | None = 100,
) -> DomainSpec:
    return DomainSpec(
        name=name, kind=kind, memory_pages=_PAGES, vcpus=vcpus, handler=handler, mca_enabled=mca, behaviour=behaviour,
        dirty_pages_per_s=dirty, whole_superpages=superpages, labels=frozenset({behaviour}),
    )  # fmt: skip


_PV, _PVH, _HVM = DomainKind.PV, DomainKind.PVH, DomainKind.HVM
_TRAP, _AGENT, _NONE = McaHandler.TRAP, McaHandler.AGENT, McaHandler.NONE

GUESTS: Final = (
    _guest("pv-trap", _PV, _TRAP),
    _guest("pv-agent", _PV, _AGENT, behaviour="slow"),
    _guest("pv-plain", _PV),
    _guest("pvh-mca", _PVH, mca=True, behaviour="kills-process"),
    _guest("hvm-mca", _HVM, mca=True, vcpus=2),
    _guest("hvm-trap", _HVM, _TRAP, mca=True, behaviour="refuses"),
    _guest("hvm-plain", _HVM),
    _guest("hvm-super", _HVM, mca=True, superpages=True),
)
"""Every kind of guest, and several that do not behave."""

_HOSTILE: Final = tuple(
    _guest(f"{kind.name.lower()}-{name}", kind, _TRAP if kind is _PV else _NONE, mca=kind is not _PV, behaviour=name)
    for name in BEHAVIOURS
    for kind in (_PV, _HVM)
    if name != "heals"
)

_PLACES: Final = {
    Place.GUEST: 6.0,
    Place.GRANTED: 1.0,
    Place.SHARED: 1.0,
    Place.FOREIGN: 1.0,
    Place.DEVICE: 0.5,
    Place.DEVICE_FIXED: 0.5,
    Place.SAME_PAGE: 1.0,
    Place.SAME_DOMAIN: 1.0,
}
_HOST_PLACES: Final = {
    Place.DOM0: 0.5,
    Place.XEN: 0.5,
    Place.FREE: 1.0,
    Place.BALLOONED: 0.5,
}


def _scaled(places: Mapping[Place, float], per_hour: float) -> dict[Place, float]:
    whole = sum(places.values())
    return {place: share * per_hour / whole for place, share in places.items()}


_MEMORY: Final[Mapping[Way, Mapping[Place, float]]] = {
    Way.READ: _scaled(_PLACES, 1.6),
    Way.FETCHED: _scaled(_PLACES, 0.4),
    Way.XEN_READ: {Place.XEN: 0.01, Place.XEN_VITAL: 0.005},
    Way.FOUND: {
        **_scaled({**_PLACES, **_HOST_PLACES}, 1.8),
        Place.DOM0_VITAL: 0.005,
        Place.XEN_VITAL: 0.005,
    },
    Way.WRITTEN_BACK: _scaled({**_PLACES, **_HOST_PLACES}, 0.3),
    Way.DMA: {Place.DEVICE: 0.1, Place.DEVICE_FIXED: 0.05},
    Way.CORRECTED: _scaled({**_PLACES, **_HOST_PLACES}, 3.0),
    Way.STUCK: _scaled({**_PLACES, **_HOST_PLACES}, 0.05),
    Way.STORM: _scaled({**_PLACES, **_HOST_PLACES}, 0.05),
    Way.CACHED: _scaled({**_PLACES, **_HOST_PLACES}, 0.2),
}

_UNITS: Final = {
    Unit.UNLOCATED: 0.02,
    Unit.CONTEXT: 0.005,
    Unit.CACHE_TAGS: 0.005,
    Unit.LINK_CORRECTED: 0.3,
    Unit.LINK: 0.005,
    Unit.SPURIOUS: 0.01,
    Unit.STUCK_CPU: 0.005,
}

_MISHAPS: Final = {
    Mishap.KILL: 0.3,
    Mishap.BUSY: 0.3,
    Mishap.HANDLER_GONE: 0.1,
    Mishap.DOM0_HURT: 0.05,
    Mishap.GUEST_CRASHES: 0.1,
    Mishap.GUEST_READS: 0.5,
    Mishap.DESTROY: 0.1,
    Mishap.MIGRATE: 0.05,
    Mishap.PAUSE: 0.1,
    Mishap.CHECKPOINT: 0.3,
    Mishap.BALLOON: 0.2,
    Mishap.SINK_BROKEN: 0.1,
    Mishap.STEPS_FAIL: 0.2,
    Mishap.REBOOT: 0.02,
    Mishap.WRONG: 0.3,
    Mishap.APPROVE: 0.2,
}

_POLICY: Final = replace(
    DEFAULT,
    approve=frozenset({Operation.SAVE}),
    domains=(
        DomainRule(
            name="*-plain",
            on_ue=Answer.OPERATE,
            on_srar=Answer.OPERATE,
            operations=(Operation.RESTORE, Operation.MIGRATE, Operation.RESTART, Operation.DESTROY),
        ),
        DomainRule(name="pv-agent", on_ue=Answer.BOTH, on_srar=Answer.LEAVE),
        DomainRule(name="pvh-*", on_ue=Answer.LEAVE, on_srar=Answer.BOTH, ahead=(Operation.SAVE, Operation.MIGRATE)),
    ),
)
"""Every answer that Dom0 can give, and a person to ask."""

_DEFAULT: Final = Scenario(
    name="default",
    says="every kind of guest and of error, some two hundred errors a day, and all that can go wrong besides",
    guests=GUESTS,
    memory=_MEMORY,
    units=_UNITS,
    mishaps=_MISHAPS,
    policy=_POLICY,
)


def _without(scenario: Scenario, *mishaps: Mishap) -> dict[Mishap, float]:
    return {mishap: rate for mishap, rate in scenario.mishaps.items() if mishap not in mishaps}


SCENARIOS: Final[Mapping[str, Scenario]] = {
    scenario.name: scenario
    for scenario in (
        _DEFAULT,
        replace(
            _DEFAULT,
            name="quiet",
            says="hardware errors alone: no kills, no mishaps",
            mishaps={},
        ),
        replace(
            _DEFAULT,
            name="corrected",
            says="corrected errors alone, with trends: nobody may be stopped but by Dom0 acting ahead",
            memory={way: _MEMORY[way] for way in (Way.CORRECTED, Way.STUCK, Way.STORM, Way.CACHED)},
            units={Unit.LINK_CORRECTED: 0.3},
            mishaps={Mishap.KILL: 0.5, Mishap.BUSY: 0.3, Mishap.APPROVE: 0.2, Mishap.HANDLER_GONE: 0.1},
        ),
        replace(
            _DEFAULT,
            name="storm",
            says="corrected errors by the hundred, with uncorrected ones among them: the telemetry overflows",
            memory={
                **_MEMORY,
                Way.STORM: _scaled({**_PLACES, **_HOST_PLACES}, 0.4),
                Way.READ: _scaled(_PLACES, 2.0),
            },
            mishaps={**_MISHAPS, Mishap.BUSY: 2.0},
        ),
        replace(
            _DEFAULT,
            name="hostile-guests",
            says="guests that ignore, refuse, lie, crash, flood, and are slow",
            guests=_HOSTILE,
        ),
        replace(
            _DEFAULT,
            name="amd",
            says="Milan: deferred errors, #MC on one CPU alone",
            machine=Machine(platform="milan"),
        ),
        replace(
            _DEFAULT,
            name="xen-4.17",
            says="Xen 4.17 acts alone, and its #MC handler sees no bank; Ringfence is in Dom0 only",
            personality="xen-4.17",
        ),
        replace(
            _DEFAULT,
            name="xen-4.20",
            says="Xen 4.20 acts alone; Ringfence is in Dom0 only",
            personality="xen-4.20",
        ),
        replace(
            _DEFAULT,
            name="no-dom0",
            says="Dom0 has no MCA handler, ever: every row without it",
            handler=False,
            mishaps=_without(_DEFAULT, Mishap.HANDLER_GONE),
        ),
        replace(
            _DEFAULT,
            name="kills",
            says="Ringfence is killed every few minutes",
            mishaps={**_MISHAPS, Mishap.KILL: 12.0},
        ),
        replace(
            _DEFAULT,
            name="no-poison",
            says="Nehalem, which marks no bad data: every uncorrected error is terminal (B.7)",
            machine=Machine(platform="nehalem"),
        ),
        replace(
            _DEFAULT,
            name="last-words",
            says="fatal errors, with sinks that do not work and a Dom0 that cannot save evidence",
            memory={way: _scaled(_PLACES, 0.3) for way in (Way.READ, Way.CORRECTED)},
            units={Unit.CONTEXT: 0.4, Unit.CACHE_TAGS: 0.4, Unit.LINK: 0.4, Unit.UNLOCATED: 0.2},
            mishaps={**_MISHAPS, Mishap.SINK_BROKEN: 2.0, Mishap.HANDLER_GONE: 0.5, Mishap.DOM0_HURT: 0.5},
        ),
    )
}
"""The built-in scenarios, by name."""


# --- from a file ------------------------------------------------------------------------------------------------------


class _Guest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    name: str
    kind: DomainKind
    memory_pages: int = _PAGES
    vcpus: int = 1
    labels: tuple[str, ...] = ()
    handler: McaHandler = McaHandler.NONE
    mca_enabled: bool = False
    behaviour: str = "heals"
    dirty_pages_per_s: int | None = None
    may_migrate: bool = True
    whole_superpages: bool = False
    shadow: bool = False

    def spec(self) -> DomainSpec:
        given = {name: getattr(self, name) for name in self.__struct_fields__ if name != "labels"}
        return DomainSpec(**given, labels=frozenset(self.labels))


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    based_on: str = "default"
    says: str | None = None
    machine: Machine | None = None
    personality: str | None = None
    handler: bool | None = None
    other_host: bool | None = None
    guests: tuple[_Guest, ...] | None = None
    memory: dict[Way, dict[Place, float]] | None = None
    units: dict[Unit, float] | None = None
    mishaps: dict[Mishap, float] | None = None
    policy: str | None = None
    """Path of a policy file, from the scenario's own directory."""
    policy_text: str | None = None
    """A policy file's content, instead."""


_ADVICE: Final = (
    "A scenario file has the keys based_on, says, personality, handler, other_host, policy and policy_text, the tables "
    "machine, memory.<way>, units and mishaps, and [[guests]]; what it does not say is as in the scenario that it is "
    "based on."
)


def named(name: str) -> Scenario:
    """The built-in scenario of this name, or the one in the file of this name. Raises SourceError, PolicyError."""
    return SCENARIOS[name] if name in SCENARIOS else read(Path(name))


def read(path: Path) -> Scenario:
    """The scenario of a TOML file. Raises SourceError with the key that is wrong; PolicyError for its policy."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        advice = f"Name a scenario file, or one of: {', '.join(SCENARIOS)}."
        raise SourceError(path, error.strerror or str(error), advice=advice) from error
    try:
        if len(data) > MAX_FILE_BYTES:
            raise ValueError(f"more than {MAX_FILE_BYTES} bytes")
        return _made(path, msgspec.convert(tomllib.loads(data.decode()), _File))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SourceError(path, f"this is no TOML: {error}", advice=_ADVICE) from error
    except ValueError as error:
        raise SourceError(path, str(error), advice=_ADVICE) from error


def _made(path: Path, given: _File) -> Scenario:
    """The scenario that a file describes. Raises ValueError with the key that is wrong."""
    if given.based_on not in SCENARIOS:
        raise ValueError(f"based_on: no scenario {given.based_on!r}; allowed: {', '.join(SCENARIOS)}")
    base = SCENARIOS[given.based_on]
    machine = given.machine or base.machine
    if machine.platform not in PLATFORMS:
        raise ValueError(f"machine.platform: no platform {machine.platform!r}; allowed: {', '.join(PLATFORMS)}")
    if not 0 <= machine.patrol_hours <= MAX_PATROL_HOURS:
        raise ValueError(f"machine.patrol_hours: {machine.patrol_hours}; allowed: 0 (off) to {MAX_PATROL_HOURS}")
    personality = given.personality or base.personality
    if personality not in PERSONALITIES:
        raise ValueError(f"personality: no hypervisor {personality!r}; allowed: {', '.join(PERSONALITIES)}")
    for key, rate in _rates(given):
        if not 0 <= rate <= MAX_PER_HOUR:
            raise ValueError(f"{key}: {rate} per hour; allowed: 0 to {MAX_PER_HOUR:.0f}")
    return replace(
        base,
        name=path.name,
        says=given.says if given.says is not None else base.says,
        machine=machine,
        personality=personality,
        handler=base.handler if given.handler is None else given.handler,
        other_host=base.other_host if given.other_host is None else given.other_host,
        guests=base.guests if given.guests is None else _guests(given.guests),
        memory=base.memory if given.memory is None else given.memory,
        units=base.units if given.units is None else given.units,
        mishaps=base.mishaps if given.mishaps is None else given.mishaps,
        policy=_policy(path, given, base),
    )


def _rates(given: _File) -> Iterator[tuple[str, float]]:
    for way, places in (given.memory or {}).items():
        yield from ((f"memory.{way}.{place}", rate) for place, rate in places.items())
    yield from ((f"units.{unit}", rate) for unit, rate in (given.units or {}).items())
    yield from ((f"mishaps.{mishap}", rate) for mishap, rate in (given.mishaps or {}).items())


def _guests(given: tuple[_Guest, ...]) -> tuple[DomainSpec, ...]:
    names = [guest.name for guest in given]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None or not 1 <= len(given) <= MAX_GUESTS:
        raise ValueError(f"guests: the name {twice!r} stands twice" if twice else f"guests: 1 to {MAX_GUESTS} of them")
    specs: list[DomainSpec] = []
    for number, guest in enumerate(given):
        try:
            specs.append(guest.spec())
        except ValueError as error:
            raise ValueError(f"guests[{number}]: {error}") from error
    return tuple(specs)


def _policy(path: Path, given: _File, base: Scenario) -> Policy:
    if given.policy is not None and given.policy_text is not None:
        raise ValueError("policy: there is a policy_text as well; allowed: one of them")
    if given.policy_text is not None:
        return read_policy(given.policy_text.encode(), f"{path}:policy_text").policy
    return base.policy if given.policy is None else load_policy(path.parent / given.policy).policy
