"""The host as a picture: the parts of the machine that erred, how much, and what was taken out of use.

The history knows parts by the names that evidence gives them; of what never erred, only the memory modules are known,
where the host's firmware names them (``events.ModulesSeen``). Taking what is needed from the state is cheap
(``Ingredients.of``); the picture is made from that by a pure function, wherever there is time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final, Self

import msgspec

from ringfence.diagnosis.fault_case import Fault
from ringfence.diagnosis.spread import Sighting, dimm_of
from ringfence.journal.faults import remembered
from ringfence.journal.state import State
from ringfence.record.evidence import Location
from ringfence.world.identities import PAGE_SHIFT, CpuId, Frame
from ringfence.world.situation import Suspect

DAY_MS: Final = 24 * 3_600_000
PARTS_SHOWN: Final = 256
"""Of a kind, those that erred last: eight sockets of eight channels with two modules are 128."""
PAGES_SHOWN: Final = 512
"""Those out of use first, then those that erred last."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the machine that erred or stands accused, or a memory module that is there. Numbers of its place are as
    the evidence counts them.

    ``errors`` are the corrected ones that are remembered, ``errors_day`` those of the last 24 hours, ``distinct`` the
    different syndromes among them (B.8). ``stage`` is how far its fault is (``fault_case.Stage``), empty without one,
    ``because`` what speaks for it and against it.
    """

    kind: Suspect
    name: str
    errors: int
    errors_day: int
    distinct: int
    first_wall_ms: int | None = None
    last_wall_ms: int | None = None
    stage: str = ""
    grade: str = ""
    because: tuple[str, ...] = ()
    socket: int | None = None
    controller: int | None = None
    channel: int | None = None
    slot: int | None = None
    rank: int | None = None


class PageInTrouble(msgspec.Struct, frozen=True, kw_only=True):
    """A page of host memory. ``out_of_use`` is False as well after a reboot has put it back."""

    frame: int
    address: str
    pages: int
    dimm: str
    errors: int
    out_of_use: bool
    stays_bad: bool
    last_wall_ms: int | None = None


class CpuInTrouble(msgspec.Struct, frozen=True, kw_only=True):
    """A CPU that was taken out of use. ``out_of_use`` is False after a reboot has put it back."""

    cpu: int
    out_of_use: bool


class HostPicture(msgspec.Struct, frozen=True, kw_only=True):
    """The host. ``dimms`` with their ``ranks``, ``cores`` and ``others`` (caches, links, sockets) are those that erred,
    modules those too that did not; what is beyond the bounds is counted: ``parts_beyond``, ``pages_beyond``.
    """

    now_wall_ms: int | None
    boot: str
    hypervisor: str
    dimms: tuple[Part, ...]
    ranks: tuple[Part, ...]
    cores: tuple[Part, ...]
    others: tuple[Part, ...]
    pages: tuple[PageInTrouble, ...]
    cpus: tuple[CpuInTrouble, ...]
    parts_beyond: int = 0
    pages_beyond: int = 0


_SHOWN: Final = (Suspect.DIMM, Suspect.RANK, Suspect.CORE, Suspect.CACHE, Suspect.LINK, Suspect.SOCKET)
_OTHERS: Final = frozenset({Suspect.CACHE, Suspect.LINK, Suspect.SOCKET})

Key = tuple[Suspect, str]


@dataclass(frozen=True, slots=True)
class Ingredients:
    """What a picture is made of: copies, each bounded, of what the state has. ``left_out`` are those beyond."""

    now_ms: int
    epoch_ms: int | None
    boot: str
    history: Mapping[Key, tuple[Sighting, ...]]
    forgetting: Mapping[Key, tuple[Key, ...]]
    faults: Mapping[Key, Fault]
    offlined: tuple[tuple[str, Frame, int], ...]
    back_pages: frozenset[Frame]
    bad_pages: Mapping[Frame, int]
    cpus: tuple[CpuId, ...]
    back_cpus: frozenset[CpuId]
    modules: tuple[str, ...]
    parts_beyond: int
    pages_beyond: int

    @classmethod
    def of(cls, state: State) -> Self:
        """The ingredients as they are now, in a time that is bounded by the bounds of this module."""
        bounds = {**dict.fromkeys(_SHOWN, PARTS_SHOWN), Suspect.PAGE: PAGES_SHOWN}
        kept: dict[Key, tuple[Sighting, ...]] = {}
        beyond = dict.fromkeys(bounds, 0)
        room = dict(bounds)
        for key in reversed(state.history):  # the one seen last stands last
            if key[0] not in room:
                continue
            if room[key[0]]:
                room[key[0]] -= 1
                kept[key] = tuple(state.history[key])
            else:
                beyond[key[0]] += 1
        bad = state.faults.pages
        dimms = {frame: dimm for dimm, frames in state.offlined.items() for frame in frames}
        shown = tuple(islice(bad.items(), PAGES_SHOWN))
        return cls(
            now_ms=state.now_ms,
            epoch_ms=state.epoch_ms,
            boot=state.boot,
            history=kept,
            forgetting=dict(state.forgetting),
            faults=dict(state.faults.known),
            offlined=tuple((dimms.get(frame, ""), frame, pages) for frame, pages in shown),
            back_pages=frozenset(state.faults.back_pages),
            bad_pages=dict(shown),
            cpus=tuple(state.faults.cpus),
            back_cpus=frozenset(state.faults.back_cpus),
            modules=tuple(islice(state.modules, PARTS_SHOWN)),
            parts_beyond=sum(beyond[each] for each in _SHOWN),
            pages_beyond=len(bad) - len(shown) + beyond[Suspect.PAGE],
        )


def picture(known: Ingredients, hypervisor: str) -> HostPicture:
    """The picture of what is known."""
    known = replace(known, history=remembered(known.history, known.forgetting), forgetting={})
    parts = [_part(known, key, seen) for key, seen in known.history.items() if key[0] in _SHOWN]
    accused = (key for key, fault in known.faults.items() if not fault.ended and key not in known.history)
    parts += [_part(known, key, ()) for key in islice(accused, PARTS_SHOWN) if key[0] in _SHOWN]
    drawn = {each.name for each in parts if each.kind is Suspect.DIMM}
    parts += [_part(known, (Suspect.DIMM, name), ()) for name in known.modules if name not in drawn]
    return HostPicture(
        now_wall_ms=_wall_ms(known, known.now_ms),
        boot=known.boot,
        hypervisor=hypervisor,
        dimms=_of_kind(parts, {Suspect.DIMM}),
        ranks=_of_kind(parts, {Suspect.RANK}),
        cores=_of_kind(parts, {Suspect.CORE}),
        others=_of_kind(parts, _OTHERS),
        pages=tuple(_pages(known)),
        cpus=tuple(CpuInTrouble(cpu=each, out_of_use=each not in known.back_cpus) for each in sorted(known.cpus)),
        parts_beyond=known.parts_beyond,
        pages_beyond=known.pages_beyond,
    )


def _of_kind(parts: Iterable[Part], kinds: set[Suspect] | frozenset[Suspect]) -> tuple[Part, ...]:
    return tuple(sorted((each for each in parts if each.kind in kinds), key=lambda each: (each.kind, each.name)))


def _part(known: Ingredients, key: Key, seen: tuple[Sighting, ...]) -> Part:
    fault = known.faults.get(key)
    place = seen[-1].location if seen else Location()
    rank = place.rank if place.rank is not None else place.csrow
    kind, name = key
    return Part(
        kind=kind,
        name=name,
        errors=sum(each.count for each in seen),
        errors_day=sum(each.count for each in seen if each.at_ms > known.now_ms - DAY_MS),
        distinct=len({each.syndrome for each in seen if each.syndrome is not None}),
        first_wall_ms=_wall_ms(known, seen[0].at_ms) if seen else None,
        last_wall_ms=_wall_ms(known, seen[-1].at_ms) if seen else None,
        stage=fault.stage if fault is not None else "",
        grade=fault.grade if fault is not None else "",
        because=fault.evidence if fault is not None else (),
        socket=place.socket,
        controller=place.controller,
        channel=place.channel,
        slot=place.slot,
        rank=rank if kind is Suspect.RANK else None,
    )


def _pages(known: Ingredients) -> Iterable[PageInTrouble]:
    """Those that are bad, then those that erred."""
    for dimm, frame, pages in known.offlined:
        seen = known.history.get((Suspect.PAGE, f"{frame:#x}"), ())
        yield _page(known, frame, pages, dimm, seen, bad=True)
    erred = [(key, seen) for key, seen in known.history.items() if key[0] is Suspect.PAGE]
    for _, seen in erred:
        erring = seen[-1].frame if seen else None
        if erring is not None and erring not in known.bad_pages:
            yield _page(known, erring, 1, "", seen, bad=False)


def _page(  # noqa: PLR0913 (one argument a fact)
    known: Ingredients, frame: Frame, pages: int, dimm: str, seen: tuple[Sighting, ...], *, bad: bool
) -> PageInTrouble:
    return PageInTrouble(
        frame=frame,
        address=f"{frame << PAGE_SHIFT:#x}",
        pages=pages,
        dimm=dimm or (dimm_of(seen[-1].location) or "" if seen else ""),
        errors=sum(each.count for each in seen),
        out_of_use=bad and frame not in known.back_pages,
        stays_bad=bad,
        last_wall_ms=_wall_ms(known, seen[-1].at_ms) if seen else None,
    )


def _wall_ms(known: Ingredients, at_ms: int) -> int | None:
    return None if known.epoch_ms is None else known.epoch_ms + at_ms
