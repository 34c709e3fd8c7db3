"""What cannot wait finds room whatever else waits, and each lane has its bound."""

from __future__ import annotations

import asyncio

import pytest

from ringfence.record.evidence import Origin
from ringfence.service.sources.lanes import EXPRESS_BATCHES, SLOW_BATCHES, Lanes
from ringfence.service.sources.source import Batch
from tests.service.sources.structs import mce, uncorrected


def batch(name: str, *, pressing: bool) -> Batch:
    report = uncorrected() if pressing else mce()
    return Batch(name, (report.record(origin=Origin(name), raw=report.pack()),))


def test_an_uncorrected_error_waits_for_none_of_a_flood() -> None:
    async def run() -> str:
        lanes = Lanes()
        flood = [asyncio.create_task(lanes.put(batch(f"slow {n}", pressing=False))) for n in range(100)]
        await asyncio.wait_for(lanes.put(batch("express", pressing=True)), 1)
        found = await asyncio.wait_for(lanes.express.get(), 1)
        for task in flood:
            task.cancel()
        return found.source

    assert asyncio.run(run()) == "express"


@pytest.mark.parametrize(("pressing", "most"), [(True, EXPRESS_BATCHES), (False, SLOW_BATCHES)])
def test_a_source_waits_while_its_lane_is_full(pressing: bool, most: int) -> None:
    async def run() -> tuple[bool, bool]:
        lanes = Lanes()
        for number in range(most):
            await asyncio.wait_for(lanes.put(batch(str(number), pressing=pressing)), 1)
        waiting = asyncio.create_task(lanes.put(batch("one more", pressing=pressing)))
        await asyncio.sleep(0.01)
        before = waiting.done()
        await (lanes.express if pressing else lanes.slow).get()
        await asyncio.wait_for(waiting, 1)
        return before, waiting.done()

    assert asyncio.run(run()) == (False, True)


def test_a_batch_presses_if_anything_in_it_may_be_uncorrected() -> None:
    corrected, error = mce(), uncorrected()
    records = tuple(each.record(origin=Origin("s"), raw=each.pack()) for each in (corrected, error))
    assert Batch("s", records).is_pressing
    assert not Batch("s", records[:1]).is_pressing
