"""What the concept gains over today: the same errors put to the model under the concept, and under Xen as it is.

Each case is played on a new host for each side, with the production loop where Ringfence sits there.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ringfence.decision.policy import DEFAULT
from ringfence.hypervisor.model.host import HostSettings
from ringfence.hypervisor.model.machine import Settings
from ringfence.hypervisor.model.platforms import PLATFORMS
from ringfence.hypervisor.model.topology import Topology
from ringfence.journal.store import Journal
from ringfence.service.comparison_cases import CASES, Case
from ringfence.service.comparison_scene import Ending, GuestEnd, HostEnd, Scene, WatchedHost
from ringfence.service.loop import Loop
from ringfence.service.wiring import seat

START_MS: Final = 1_000
"""Before anything happens, so that all guests run."""
SETTLE_MS: Final = 150_000
"""After the last that happens: more than the longest default deadline (policy.Deadlines), and five polls of Xen's."""
SEED: Final = 1


@dataclass(frozen=True, slots=True)
class Side:
    """One column: a personality of the model, with Ringfence or without."""

    name: str
    says: str
    personality: str
    ringfence: bool


SIDES: Final = (
    Side("concept", "the concept, Ringfence in both seats", "concept", ringfence=True),
    Side("xen-4.17", "Xen 4.17 alone", "xen-4.17", ringfence=False),
    Side("xen-4.20", "Xen 4.20.2 alone", "xen-4.20", ringfence=False),
    Side("xen-4.20+ringfence", "Xen 4.20.2, Ringfence in Dom0's seat", "xen-4.20", ringfence=True),
)
"""What is compared, in the order of the columns."""


@dataclass(frozen=True, slots=True)
class Row:
    """A case with its end on each side, in the order of ``SIDES``."""

    case: Case
    endings: tuple[Ending, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What one side comes to.

    Of the ``hosts`` that need not halt: ``hosts_stand``; of their ``guests``: ``guests_live``, ``guests_renewed``
    (restored or restarted) and ``guests_lost``, with the host or alone. Of all cases: ``unseen``, where nobody noticed,
    and ``ran_on``, where the host stands although it had to halt.
    """

    side: Side
    hosts: int
    hosts_stand: int
    guests: int
    guests_live: int
    guests_renewed: int
    guests_lost: int
    unseen: int
    ran_on: int


def play(case: Case, side: Side, journal: Path) -> Ending:
    """One case on one side. ``journal`` is the file that Ringfence's journal goes to, if it sits there."""
    settings = HostSettings(
        personality=side.personality,
        # The patrol scrubber is off: what it would find is put in.
        machine=Settings(
            platform=PLATFORMS[case.platform],
            topology=Topology(sockets=1, cores=8, threads=1),
            memory_bytes=1 << 30,
            patrol_pass_ns=0,
        ),
        dom0_pages=1 << 14,
        xen_pages=1 << 10,
    )
    treats = seat(DEFAULT, 1) if side.personality == "concept" else None
    host = WatchedHost(settings, seed=SEED, seat=treats)
    names = {spec.name: host.create(spec) for spec in case.guests}
    host.set_dom0_handler(True)
    host.advance(START_MS)
    if not side.ringfence:
        return _ended(case, Scene(host, None, names))
    with Journal(journal, fsync=False) as kept:
        return _ended(case, Scene(host, Loop(host, kept, DEFAULT), names))


def _ended(case: Case, scene: Scene) -> Ending:
    case.happens(scene)
    scene.wait(SETTLE_MS)
    return scene.ending()


def compare(cases: tuple[Case, ...] = CASES) -> tuple[Row, ...]:
    """Every case on every side. Takes about a second; the same each time."""
    with tempfile.TemporaryDirectory(prefix="ringfence-compare-") as scratch:
        return tuple(
            Row(
                case,
                tuple(
                    play(case, side, Path(scratch) / f"{number}-{column}.sqlite") for column, side in enumerate(SIDES)
                ),
            )
            for number, case in enumerate(cases)
        )


def tally(rows: tuple[Row, ...]) -> tuple[Tally, ...]:
    """What each side comes to."""
    return tuple(_tally(side, column, rows) for column, side in enumerate(SIDES))


def _tally(side: Side, column: int, rows: tuple[Row, ...]) -> Tally:
    need_not_halt = [row for row in rows if not row.case.must_halt]
    endings = [row.endings[column] for row in need_not_halt]
    fates = [fate.end for ending in endings for fate in ending.guests]
    guests = sum(len(row.case.guests) for row in need_not_halt)
    live = fates.count(GuestEnd.LIVES)
    renewed = fates.count(GuestEnd.RESTORED) + fates.count(GuestEnd.RESTARTED)
    had_to_halt = [row.endings[column] for row in rows if row.case.must_halt]
    return Tally(
        side=side,
        hosts=len(endings),
        hosts_stand=sum(ending.host is HostEnd.STANDS for ending in endings),
        guests=guests,
        guests_live=live,
        guests_renewed=renewed,
        guests_lost=guests - live - renewed,
        unseen=sum(row.endings[column].is_unseen for row in rows),
        ran_on=sum(ending.host is HostEnd.STANDS for ending in had_to_halt),
    )
