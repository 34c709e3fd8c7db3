"""The telemetry's laws: L10 (urgent is never displaced, drops are counted), fetch and acknowledge."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from ringfence.hypervisor.model.queues import ENTRIES, NONURGENT_ENTRIES, Slot, Telemetry
from ringfence.record.binary.xen_mc_info import McInfo, McInfoGlobal


def info(number: int) -> McInfo:
    return McInfo(entries=(McInfoGlobal(apicid=number),))


def number_of(held: McInfo) -> int:
    first = held.entries[0]
    assert isinstance(first, McInfoGlobal)
    return first.apicid


class Queues(RuleBasedStateMachine):
    """Producers and one consumer, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.telemetry = Telemetry()
        self.expected: dict[bool, list[int]] = {True: [], False: []}
        self.reserved: list[tuple[Slot, bool]] = []
        self.offered = {True: 0, False: 0}
        self.taken = {True: 0, False: 0}
        self.dismissed = {True: 0, False: 0}
        self.made = 0

    def in_use(self, *classes: bool) -> int:
        return sum(len(self.expected[each]) for each in classes) + sum(urgent in classes for _, urgent in self.reserved)

    @rule(urgent=st.booleans())
    def reserve(self, urgent: bool) -> None:
        nonurgent_is_full = self.in_use(False) >= NONURGENT_ENTRIES
        is_full = self.in_use(True, False) >= ENTRIES
        slot = self.telemetry.reserve(urgent=urgent)
        self.offered[urgent] += 1
        if urgent:
            # L10: an urgent record finds an entry as long as there is one at all.
            assert (slot is None) == is_full
        else:
            assert slot is None or not nonurgent_is_full
        if slot is not None:
            self.reserved.append((slot, urgent))

    @rule()
    def commit(self) -> None:
        if self.reserved:
            slot, urgent = self.reserved.pop(0)
            self.made += 1
            self.expected[urgent].append(self.made)
            self.telemetry.commit(slot, info(self.made).pack(), urgent=urgent)

    @rule()
    def dismiss(self) -> None:
        if self.reserved:
            slot, urgent = self.reserved.pop()
            self.dismissed[urgent] += 1
            self.telemetry.dismiss(slot)

    @rule(urgent=st.booleans(), wrong=st.integers(-2, 2))
    def acknowledge(self, urgent: bool, wrong: int) -> None:
        shown = self.telemetry.oldest(urgent=urgent)
        if shown is None:
            assert not self.telemetry.acknowledge(0, urgent=urgent)
        elif wrong:
            assert not self.telemetry.acknowledge(shown.id + wrong, urgent=urgent)
        else:
            assert self.telemetry.acknowledge(shown.id, urgent=urgent)
            # Never again, even when the entry has been used anew.
            assert not self.telemetry.acknowledge(shown.id, urgent=urgent)
            self.taken[urgent] += 1
            self.expected[urgent].pop(0)

    @invariant()
    def the_oldest_is_shown_until_it_is_acknowledged(self) -> None:
        for urgent in (True, False):
            shown = self.telemetry.oldest(urgent=urgent)
            held = self.expected[urgent]
            assert (number_of(McInfo.unpack(shown.raw)) if shown else None) == (held[0] if held else None)
            assert self.telemetry.waiting(urgent=urgent) == len(held)

    @invariant()
    def every_record_is_accounted_for(self) -> None:
        for urgent, dropped in ((True, self.telemetry.dropped.urgent), (False, self.telemetry.dropped.nonurgent)):
            reserved = sum(each is urgent for _, each in self.reserved)
            known = self.taken[urgent] + len(self.expected[urgent]) + reserved + self.dismissed[urgent] + dropped
            assert known == self.offered[urgent]


TestQueues = Queues.TestCase
TestQueues.settings = settings(max_examples=60, stateful_step_count=80, deadline=None)


def test_a_storm_of_nonurgent_records_leaves_ten_entries_for_urgent_ones() -> None:
    telemetry = Telemetry()
    storm = [telemetry.reserve(urgent=False) for _ in range(100)]
    assert sum(slot is not None for slot in storm) == 20
    urgent = [telemetry.reserve(urgent=True) for _ in range(11)]
    assert [slot is not None for slot in urgent] == [True] * 10 + [False]
    assert (telemetry.dropped.nonurgent, telemetry.dropped.urgent) == (80, 1)


def test_urgent_records_may_fill_every_entry() -> None:
    telemetry = Telemetry()
    assert all(telemetry.reserve(urgent=True) is not None for _ in range(30))
    assert telemetry.reserve(urgent=True) is None
    assert telemetry.reserve(urgent=False) is None
