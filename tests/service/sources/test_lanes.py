"""What cannot wait goes ahead, and finds room whatever else waits."""

from __future__ import annotations

import asyncio

from ringfence.record.evidence import Origin, Record
from ringfence.service.sources.lanes import EXPRESS_BATCHES, SLOW_BATCHES, Lanes
from ringfence.service.sources.source import Batch
from tests.service.sources.structs import mce, uncorrected


def batch(name: str, *, pressing: bool) -> Batch:
    report = uncorrected() if pressing else mce()
    return Batch(name, (report.record(origin=Origin(name), raw=report.pack()),))


async def full_of_corrected(lanes: Lanes) -> None:
    for number in range(SLOW_BATCHES):
        await asyncio.wait_for(lanes.put(batch(f"slow {number}", pressing=False)), 1)


def test_an_uncorrected_error_overtakes_all_that_waits() -> None:
    async def run() -> list[str]:
        lanes = Lanes()
        await full_of_corrected(lanes)
        await asyncio.wait_for(lanes.put(batch("express", pressing=True)), 1)
        return [(await lanes.get()).source for _ in range(len(lanes))]

    assert asyncio.run(run()) == ["express", *(f"slow {number}" for number in range(SLOW_BATCHES))]


def test_a_source_waits_while_its_lane_is_full() -> None:
    async def run() -> tuple[bool, bool]:
        lanes = Lanes()
        await full_of_corrected(lanes)
        waiting = asyncio.create_task(lanes.put(batch("one more", pressing=False)))
        await asyncio.sleep(0.01)
        before = waiting.done()
        await lanes.get()
        await asyncio.wait_for(waiting, 1)
        return before, waiting.done()

    assert asyncio.run(run()) == (False, True)


def test_the_express_lane_has_a_bound_too() -> None:
    async def run() -> bool:
        lanes = Lanes()
        for number in range(EXPRESS_BATCHES):
            await asyncio.wait_for(lanes.put(batch(str(number), pressing=True)), 1)
        waiting = asyncio.create_task(lanes.put(batch("one more", pressing=True)))
        await asyncio.sleep(0.01)
        is_over = waiting.done()
        waiting.cancel()
        return is_over

    assert not asyncio.run(run())


def test_a_batch_presses_if_anything_in_it_may_be_uncorrected() -> None:
    corrected, error = mce(), uncorrected()
    records = tuple(each.record(origin=Origin("s"), raw=each.pack()) for each in (corrected, error))
    assert Batch("s", records).is_pressing
    assert not Batch("s", records[:1]).is_pressing
    assert all(isinstance(each, Record) for each in records)
