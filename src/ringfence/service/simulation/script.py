"""A script: all that will happen to a host, drawn from a scenario and a seed before it begins.

All chance of a run is here (and in the model's own generator, which the same seed starts): so a run is a function of
scenario, script and seed, and acts can be taken away from a script without the others changing.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final, assert_never

from ringfence.hypervisor.model.observer import Sink
from ringfence.service.simulation import acts
from ringfence.service.simulation.acts import DOM0_NAME, Act, MemoryHit, Place, Script, UnitHit, Way, Wrong
from ringfence.service.simulation.scenario import Mishap, Scenario
from ringfence.world.domain import DomainKind

HOUR_MS: Final = 3_600_000
FIRST_MS: Final = 1_000
"""Nothing happens in the first second: the host boots."""

FAILING: Final = (
    "PauseDomain", "IsolateFrame", "OfflineFrame", "ExchangeFrame", "NotifyGuest", "InjectVmce", "SaveDomain",
    "RestoreDomain", "MigrateDomain", "ShutDownDomain", "RestartDomain", "DestroyDomain", "OfflineCpu", "HealHost",
    "DegradeHost",
)  # fmt: skip
"""Steps that can be made to fail. Not those that end a host's life: nothing is left to do then."""

STORM_LINE: Final = 63
"""Of its page: a storm reads its line whoever has it, so no other error may lie there."""
SUPERPAGED: Final = 0.3
"""How often a guest of whole superpages is hit, against any other: all of them end alike, and each costs 512 pages."""
SYNDROMES: Final = 0.2
"""The share of corrected errors that are followed by others of the same rank with syndromes of their own (B.8)."""
AGAIN: Final = 0.1
"""The share of errors in a guest's page after which the next one follows at once, before the first is dealt with."""
READ_FIRST: Final = 0.3
"""The share of latent errors that a guest reads before the patrol scrubber comes by."""
CALLS_TO_KILL: Final = 60
"""A kill strikes at one of so many calls of port and journal: an error takes some thirty."""


def script(scenario: Scenario, seed: int, hours: float) -> Script:
    """What happens in so many hours; the same scenario, seed and hours give the same acts."""
    random = Random(seed)  # noqa: S311 (a simulation, no secret)
    end_ms = FIRST_MS + round(hours * HOUR_MS)
    found: list[Act] = []
    for way, places in scenario.memory.items():
        for place, per_hour in places.items():
            for at_ms in _times(random, per_hour, end_ms):
                found += _memory(scenario, random, at_ms, way, place)
    for unit, per_hour in scenario.units.items():
        for at_ms in _times(random, per_hour, end_ms):
            socket = random.randrange(scenario.machine.sockets)
            found.append(UnitHit(at_ms=at_ms, unit=unit, cpu=_cpu(scenario, random), socket=socket))
    for mishap, per_hour in scenario.mishaps.items():
        for at_ms in _times(random, per_hour, end_ms):
            found.append(_mishap(scenario, random, at_ms, mishap))
    return acts.in_order(found)


def _times(random: Random, per_hour: float, end_ms: int) -> Iterator[int]:
    """Instants of a Poisson process."""
    at_ms = float(FIRST_MS)
    while per_hour > 0:
        at_ms += random.expovariate(per_hour) * HOUR_MS
        if at_ms >= end_ms:
            return
        yield int(at_ms)


def _cpu(scenario: Scenario, random: Random) -> int:
    machine = scenario.machine
    return random.randrange(machine.sockets * machine.cores * machine.threads)


def _memory(scenario: Scenario, random: Random, at_ms: int, way: Way, place: Place) -> Iterator[Act]:
    """An error of memory, and what follows from the same cause."""
    guests = [
        guest
        for guest in scenario.guests
        if place is not Place.SHARED or (guest.kind is DomainKind.HVM and not guest.whole_superpages)
    ]
    if not guests or (place is Place.SHARED and len(guests) < 2):
        return
    guest = random.choices(guests, [SUPERPAGED if each.whole_superpages else 1.0 for each in guests])[0]
    other = DOM0_NAME
    if place is Place.SHARED or (place in {Place.GRANTED, Place.FOREIGN} and len(guests) > 1 and random.random() < 0.5):
        other = random.choice([each for each in guests if each is not guest]).name
    storms = way is Way.STORM
    hit = MemoryHit(
        at_ms=at_ms,
        way=way,
        place=place,
        domain=guest.name,
        # Two of 64 pages are hit again and again, so that errors meet on one page.
        page=random.randrange(64) if random.random() < 0.3 else random.randrange(guest.memory_pages),
        other=other,
        line=STORM_LINE if storms else random.randrange(STORM_LINE),
        cpu=_cpu(scenario, random),
        device=random.randrange(16),
        bits=random.randrange(1, 16),
        count=random.randint(15, 60) if storms else 1,
        interval_ms=random.choice((2, 20, 200)) if storms else 0,
    )
    yield hit
    if way is Way.CORRECTED and random.random() < SYNDROMES:
        for number in range(1, random.randint(2, 3)):
            later = at_ms + number * random.randint(1_000, HOUR_MS // 4)
            yield _but(hit, at_ms=later, device=(hit.device + number) % 16, place=place)
    if way in {Way.READ, Way.FOUND, Way.FETCHED} and random.random() < AGAIN:
        again = random.choice((Place.SAME_PAGE, Place.SAME_DOMAIN))
        page = random.randrange(guest.memory_pages)
        yield _but(hit, at_ms=at_ms + random.choice((0, 1, 15, 900, 2_500)), place=again, page=page)
    if way is Way.FOUND and random.random() < READ_FIRST:
        yield acts.GuestReads(at_ms=at_ms + random.choice((1, 1_000, 100_000)))


def _but(hit: MemoryHit, *, at_ms: int, place: Place, device: int | None = None, page: int | None = None) -> MemoryHit:
    return MemoryHit(
        at_ms=at_ms,
        way=hit.way,
        place=place,
        domain=hit.domain,
        page=hit.page if page is None else page,
        other=hit.other,
        line=hit.line,
        cpu=hit.cpu,
        device=hit.device if device is None else device,
        bits=hit.bits,
    )


def _mishap(scenario: Scenario, random: Random, at_ms: int, mishap: Mishap) -> Act:  # noqa: PLR0912 (one arm a kind)
    guest = random.choice(scenario.guests)
    match mishap:
        case Mishap.KILL:
            calls, dead_ms = random.randint(1, CALLS_TO_KILL), random.choice((1, 50, 1_500, 3_000, 200_000))
            return acts.Kill(at_ms=at_ms, calls=calls, dead_ms=dead_ms, tidy=random.random() < 0.3)
        case Mishap.BUSY:
            return acts.Busy(at_ms=at_ms, for_ms=random.choice((100, 1_900, 2_500, 60_000, 600_000)))
        case Mishap.HANDLER_GONE:
            return acts.HandlerGone(at_ms=at_ms, for_ms=random.randint(1, HOUR_MS))
        case Mishap.DOM0_HURT:
            return acts.Dom0Hurt(at_ms=at_ms, for_ms=random.randint(1, HOUR_MS))
        case Mishap.GUEST_CRASHES:
            return acts.GuestCrashes(at_ms=at_ms, domain=guest.name)
        case Mishap.GUEST_READS:
            return acts.GuestReads(at_ms=at_ms)
        case Mishap.DESTROY:
            return acts.Destroyed(at_ms=at_ms, domain=guest.name)
        case Mishap.MIGRATE:
            return acts.Migrated(at_ms=at_ms, domain=guest.name)
        case Mishap.PAUSE:
            return acts.Paused(at_ms=at_ms, domain=guest.name, for_ms=random.randint(1, HOUR_MS // 6))
        case Mishap.CHECKPOINT:
            same = random.random() < 0.7
            return acts.Checkpointed(at_ms=at_ms, domain=guest.name, disks_of_same_moment=same)
        case Mishap.BALLOON:
            return acts.Ballooned(at_ms=at_ms, domain=guest.name, page=random.randrange(guest.memory_pages))
        case Mishap.SINK_BROKEN:
            sink = random.choice(list(Sink)).value
            return acts.SinkBroken(at_ms=at_ms, sink=sink, for_ms=random.randint(1, 4 * HOUR_MS))
        case Mishap.STEPS_FAIL:
            return acts.StepsFail(at_ms=at_ms, step=random.choice(FAILING), times=random.choice((1, 1, 2, 5)))
        case Mishap.REBOOT:
            return acts.Rebooted(at_ms=at_ms, cold=random.random() < 0.5)
        case Mishap.WRONG:
            return acts.Instructed(at_ms=at_ms, wrong=random.choice(list(Wrong)), domain=guest.name)
        case Mishap.APPROVE:
            return acts.Approved(at_ms=at_ms, granted=random.random() < 0.5)
        case never:
            assert_never(never)


# --- on the disk ------------------------------------------------------------------------------------------------------


def to_lines(script: Script) -> str:
    """A script as JSON Lines."""
    return "".join(f"{acts.to_text(act)}\n" for act in script)


def from_lines(text: str) -> Script:
    """The script of JSON Lines. Raises ValueError that names the line."""
    found: list[Act] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            found.append(acts.from_text(line))
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from error
    return acts.in_order(found)
