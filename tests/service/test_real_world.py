"""A host that is really there wakes the writer, and leaves nothing behind when the service ends."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from ringfence.decision.policy import DEFAULT
from ringfence.service.model_world import ModelWorld, nothing
from ringfence.service.policy_source import loaded
from ringfence.service.real_world import RealHost, RealWorld
from ringfence.service.writer import Writer


def test_who_watches_the_host_wakes_the_writer_and_ends_with_the_world() -> None:
    woken, ended = threading.Event(), list[str]()
    ready, something = os.pipe()
    files = set(Path("/proc/self/fd").iterdir())
    world = RealWorld(cast(RealHost, SimpleNamespace(ready=ready)), woken.set, lambda: ended.append("host"))
    try:
        os.write(something, b"x")
        assert woken.wait(30)
        assert not ended
    finally:
        world.close()
    assert ended == ["host"]
    assert "host" not in {each.name for each in threading.enumerate()}
    assert set(Path("/proc/self/fd").iterdir()) == files
    os.close(ready)
    os.close(something)


def test_the_writers_world_is_closed_at_its_end_and_when_it_fails(tmp_path: Path) -> None:
    closed: list[int] = []

    class World(ModelWorld):
        def close(self) -> None:
            closed.append(1)

    for fails in (False, True):
        began, ended = threading.Event(), list[BaseException | None]()
        writer = Writer(
            tmp_path / "journal.sqlite",
            lambda boot: World(nothing(), DEFAULT, seed=1, boot=boot),
            loaded(None, otherwise=DEFAULT),
            plugins={},
            told=lambda _, began=began: began.set(),  # type: ignore[misc]  # bound now, for each writer its own
            ended=ended.append,
        )
        writer.start()
        assert began.wait(30)
        if fails:
            writer.ask(lambda _: 1 // 0)
        else:
            writer.stop("the test ends")
        writer.join(30)
        assert (ended[0] is not None) == fails
        assert len(closed) == 1 + fails
