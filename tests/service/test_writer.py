"""The thread that owns the journal: whoever is heard is answered."""

from __future__ import annotations

import threading
from pathlib import Path

from ringfence.decision.policy import DEFAULT
from ringfence.service.model_world import ModelWorld, nothing
from ringfence.service.policy_source import loaded
from ringfence.service.writer import INBOX, Desk, Writer


def test_everybody_is_answered_while_there_is_always_one_more_who_waits(tmp_path: Path) -> None:
    """As in a storm: the next one has asked before the one before is answered, more often than the inbox has places."""
    wanted, answered, all_answered, began = 5 * INBOX, list[int](), threading.Event(), threading.Event()
    writer = Writer(
        tmp_path / "journal.sqlite",
        lambda boot: ModelWorld(nothing(), DEFAULT, seed=1, boot=boot),
        loaded(None, otherwise=DEFAULT),
        plugins={},
        told=lambda _: began.set(),
        ended=lambda _: None,
    )

    def asked(number: int) -> None:
        def answer(_: Desk) -> None:
            answered.append(number)
            if number + 1 < wanted:
                asked(number + 1)
            else:
                all_answered.set()

        writer.ask(answer)

    writer.start()
    try:
        assert began.wait(30)
        asked(0)
        assert all_answered.wait(10)
        assert answered == list(range(wanted))
    finally:
        writer.stop("the test ends")
        writer.join(10)


def test_what_wakes_it_takes_no_room_from_whoever_asks(tmp_path: Path) -> None:
    """A host that has much to tell while the writer is at something long: clients are heard all the same."""
    began, goes_on = threading.Event(), threading.Event()
    writer = Writer(
        tmp_path / "journal.sqlite",
        lambda boot: ModelWorld(nothing(), DEFAULT, seed=1, boot=boot),
        loaded(None, otherwise=DEFAULT),
        plugins={},
        told=lambda _: began.set(),
        ended=lambda _: None,
    )
    writer.start()
    try:
        assert began.wait(30)
        long = writer.ask(lambda _: goes_on.wait(30))
        for _ in range(2 * INBOX):
            writer.wake()
        asked = writer.ask(lambda desk: desk.journal.last)
        goes_on.set()
        assert long.result(30)
        assert asked.result(30) > 0
    finally:
        writer.stop("the test ends")
        writer.join(30)
