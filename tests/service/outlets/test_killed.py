"""The law of telling: whenever the service is killed, each event is told at least once, in order, without a gap."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

from ringfence.journal import events as ev
from ringfence.journal.store import Reader
from ringfence.service import control_protocol as say
from ringfence.service.outlets.notices import topic_of
from tests.service.outlets.receivers import Behave, Got, receiver
from tests.service.processes import ASKING, Service, service, until

CONFIGURATION = """
[[webhook]]
name = "ops"
url = "{url}"
events = ["error", "decision", "case.closed", "service.*"]
[system-journal]
enabled = false
"""
KILLS = 3


def stops(after: int, killed: list[Service]) -> Behave:
    """A receiver that has the service killed once it has taken so many: after it was sent, before that can be noted."""
    taken = [0]

    async def behave(_: asyncio.StreamReader, writer: asyncio.StreamWriter, __: Got) -> None:
        taken[0] += 1
        if taken[0] % after == 0 and killed and killed[0].process is not None:
            killed[0].process.send_signal(signal.SIGKILL)
            return
        writer.write(b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    return behave


def test_each_event_is_told_at_least_once_and_in_order_over_kills_between_sending_and_noting(tmp_path: Path) -> None:
    killed: list[Service] = []
    with receiver(stops(4, killed)) as to, service(scenario=ASKING) as running:
        path = tmp_path / "ringfence.toml"
        path.write_text(CONFIGURATION.format(url=to.url))
        killed.append(running)
        for _ in range(KILLS):
            running.start("--config", str(path), wait=False).communicate(timeout=30)
        killed.clear()
        running.start("--config", str(path))
        with Reader(running.state / "journal.sqlite") as reader:
            wanted = [number for number, event in reader.events() if wants(event)]
        until(lambda: any(each.event["data"]["number"] >= wanted[-1] for each in to.got), 30)
        running.end()
    numbers = [each.event["data"]["number"] for each in to.got]
    firsts = list(dict.fromkeys(numbers))
    assert firsts == sorted(firsts)
    assert [number for number in firsts if number <= wanted[-1]] == wanted
    assert len(numbers) - len(firsts) >= KILLS  # what was under way is told again,
    by_id = {each.headers["webhook-id"]: each.event["data"]["number"] for each in to.got}
    assert len(by_id) == len(firsts)  # under the same id


def wants(event: ev.Stored) -> bool:
    topic = topic_of(event)
    return topic is not None and topic.value in {
        "error", "decision", "case.closed", "service.started", "service.stopped",
    }  # fmt: skip


def test_a_receiver_that_hangs_delays_neither_answers_nor_the_end(tmp_path: Path) -> None:
    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter, __: Got) -> None:
        await reader.read(1)

    with receiver(hang) as to, service() as running:
        path = tmp_path / "ringfence.toml"
        path.write_text(CONFIGURATION.format(url=to.url) + "[[webhook]]\nname = 'b'\nurl = '" + to.url + "'\n")
        running.start("--config", str(path))
        until(lambda: len(to.got) >= 2)
        reply = running.ask(say.Metrics())
        assert isinstance(reply, say.Exposed)
        assert 'ringfence_outlet_lag_events{receiver="b"}' in reply.text
        begun_s = time.process_time()
        code, _ = running.end()
        assert code == 0
        assert time.process_time() - begun_s < 5
