"""A webhook: each event at least once and in order, whatever the receiver does; who hangs holds up nobody else."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ringfence.errors import SourceError
from ringfence.service.attendants import keep
from ringfence.service.configuration.outlets import Webhook
from ringfence.service.outlets import trial
from ringfence.service.outlets import webhook as module
from ringfence.service.outlets.webhook import LONGEST_RETRY_AFTER_S, Verdict, WebhookOutlet, pause_s, verdict
from tests.service.outlets.receivers import (
    OK,
    Home,
    Receiver,
    answers_with,
    drips,
    hangs,
    home,
    receiver,
    says,
    until,
    webhook,
)

SECRET, OLDER = b"s" * 32, b"o" * 32


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 0.01)


@asynccontextmanager
async def told(at: Home, *settings: Webhook) -> AsyncIterator[list[WebhookOutlet]]:
    """Receivers that are told."""
    outlets = [WebhookOutlet(each) for each in settings]
    tasks = [asyncio.create_task(keep(each, at.house)) for each in outlets]
    try:
        yield outlets
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def run(scene: Any) -> None:
    asyncio.run(asyncio.wait_for(scene, 15))


# --- what is sent -----------------------------------------------------------------------------------------------------


def test_an_event_is_a_cloud_event_in_structured_json(tmp_path: Path) -> None:
    async def scene(to: Receiver) -> None:
        async with home(tmp_path) as at, told(at, webhook(to.url)):
            await at.tell("A1")
            await until(lambda: to.got)

    with receiver() as to:
        run(scene(to))
    got = to.got[0]
    assert got.head == "POST /hook?a=1 HTTP/1.1"
    assert got.headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    event = got.event
    assert (event["specversion"], event["type"]) == ("1.0", "ringfence.fault.ended")
    assert event["id"] == got.headers["webhook-id"]
    assert event["id"].endswith(f"-{event['data']['number']}")
    assert event["source"].startswith("urn:uuid:")
    assert event["time"].endswith("Z")
    assert "webhook-signature" not in got.headers


def test_a_signature_can_be_checked_with_either_of_two_secrets_and_a_new_one_counts_at_once(tmp_path: Path) -> None:
    file = tmp_path / "secret"

    def put(*secrets: bytes) -> None:
        file.write_text("".join(f"whsec_{base64.b64encode(each).decode()}\n" for each in secrets))
        file.chmod(0o600)

    def is_by(secret: bytes, number: int, to: Receiver) -> bool:
        got = to.got[number]
        content = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
        made = base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()
        return f"v1,{made}" in got.headers["webhook-signature"].split(" ")

    async def scene(to: Receiver) -> None:
        put(OLDER)
        async with home(tmp_path) as at, told(at, webhook(to.url, secret_file=str(file))):
            await at.tell("A1")
            await until(lambda: to.got)
            put(SECRET, OLDER)
            await at.tell("A2")
            await until(lambda: to.got[1:])

    with receiver() as to:
        run(scene(to))
    assert is_by(OLDER, 0, to)
    assert not is_by(SECRET, 0, to)
    assert is_by(OLDER, 1, to)
    assert is_by(SECRET, 1, to)


# --- whatever the receiver does ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        answers_with("500 Oops", body="it broke"),
        answers_with("429 Too Many", "Retry-After: 0"),
        answers_with("503 Busy", "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT"),
        answers_with("301 Moved", "Location: http://127.0.0.1:1/elsewhere"),
        answers_with("404 Not Found"),
        says(b"HTTP/1.1 20"),
        says(b"HTTP/1.1 200 OK\r\nContent-"),
        says(b""),
        says(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        says(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000),
        says(b"HTTP/1.1 100 Continue\r\n\r\n" * 9),
        hangs,
        drips,
    ],
    ids=lambda behave: getattr(behave, "__name__", ""),
)
def test_what_is_not_taken_is_sent_again_under_the_same_id_before_anything_else(fault: Any, tmp_path: Path) -> None:
    async def scene(to: Receiver) -> None:
        async with home(tmp_path) as at, told(at, webhook(to.url, whole_s=0.2)):
            await at.tell("A1", "A2")
            await until(lambda: len(to.got) == 4)
            await until(lambda: not at.problems)

    with receiver(fault, fault, OK) as to:
        run(scene(to))
    assert to.names == ["A1", "A1", "A1", "A2"]
    assert len({each.headers["webhook-id"] for each in to.got[:3]}) == 1


def test_a_receiver_that_is_away_is_waited_for_and_named(tmp_path: Path) -> None:
    with receiver() as to:
        port = to.port

    async def scene() -> list[str]:
        async with home(tmp_path) as at, told(at, webhook(f"http://127.0.0.1:{port}/", give_up_h=0.01)) as outlets:
            await at.tell("A1", "A2")
            await until(lambda: at.problems)
            problem = at.problems[0]
            assert problem.startswith("webhook-ops: no connection to 127.0.0.1: Connection refused; fault.ended (event")
            assert "the journal has 1 more behind it" in problem
            with Receiver(port=port) as back:
                await until(lambda: len(back.got) == 2)
                await until(lambda: not at.problems)
                assert outlets[0]._reading.up
                return back.names

    assert asyncio.run(asyncio.wait_for(scene(), 15)) == ["A1", "A2"]


def test_a_message_that_is_refused_for_good_is_passed_over_and_said(tmp_path: Path) -> None:
    async def scene(to: Receiver) -> None:
        async with home(tmp_path) as at, told(at, webhook(to.url)):
            await at.tell("A1", "A2")
            await until(lambda: len(to.got) == 2)
            await until(lambda: at.problems)
            assert at.problems[0].startswith("webhook-ops passed over: 1 since the start, fault.ended (event")
            assert "it answers 422: no such thing" in at.problems[0]
            assert at.house.measures.outlets.all["ops"].given_up == 1

    with receiver(answers_with("422 No", body="no  such\nthing"), OK) as to:
        run(scene(to))
    assert to.names == ["A1", "A2"]


def test_one_that_answers_with_errors_for_too_long_does_not_hold_up_the_others(tmp_path: Path) -> None:
    async def scene(to: Receiver) -> None:
        settings = webhook(to.url)
        msgspec.structs.force_setattr(settings, "give_up_h", 0.05 / 3600)
        async with home(tmp_path) as at, told(at, settings):
            await at.tell("A1", "A2")
            await until(lambda: to.names[-1:] == ["A2"])

    with receiver(*[answers_with("500 Oops")] * 4, answers_with("500 Oops")) as to:
        run(scene(to))
    assert to.names[:2] == ["A1", "A1"]


def test_who_is_gone_is_told_nothing_more(tmp_path: Path) -> None:
    async def scene(to: Receiver) -> None:
        async with home(tmp_path) as at, told(at, webhook(to.url)):
            await at.tell("A1", "A2")
            await until(lambda: at.problems)
            assert "410 Gone: nothing is sent to it any more" in at.problems[0]
            await asyncio.sleep(0.1)

    with receiver(answers_with("410 Gone")) as to:
        run(scene(to))
    assert to.names == ["A1"]


def test_a_receiver_that_hangs_holds_up_neither_another_nor_the_service(tmp_path: Path) -> None:
    async def scene(dead: Receiver, to: Receiver) -> None:
        settings = (webhook(dead.url, name="dead", whole_s=60.0), webhook(to.url))
        async with home(tmp_path) as at, told(at, *settings):
            await at.tell(*(f"A{number}" for number in range(50)))
            await until(lambda: len(to.got) == 50)
            assert at.house.measures.outlets.all["ops"].at >= at.house.measures.outlets.all["dead"].at

    with receiver(hangs) as dead, receiver() as to:
        run(scene(dead, to))
    assert len(dead.got) == 1
    assert to.names == [f"A{number}" for number in range(50)]


def test_only_what_is_wanted_is_told(tmp_path: Path) -> None:
    async def scene(to: Receiver) -> None:
        async with home(tmp_path) as at, told(at, webhook(to.url, events=("service.*", "fault.ended"))):
            await at.tell("A1")
            await until(lambda: len(to.got) == 2)

    with receiver() as to:
        run(scene(to))
    assert [each.event["type"] for each in to.got] == ["ringfence.service.started", "ringfence.fault.ended"]


# --- answers and pauses -----------------------------------------------------------------------------------------------


def test_every_status_has_its_meaning() -> None:
    found = {status: verdict(status) for status in range(200, 600)}
    assert {status for status in found if found[status] is Verdict.TAKEN} == set(range(200, 300))
    assert {status for status in found if found[status] is Verdict.GONE} == {410}
    assert {status for status in found if found[status] is Verdict.NEVER} == {400, 413, 414, 415, 422}
    assert all(found[status] is Verdict.LATER for status in (301, 307, 401, 403, 404, 408, 425, 429, 500, 503))


def test_pauses_grow_to_their_bound_with_half_of_them_left_to_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 1.0)
    for failures, full_s in ((1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (1_000_000, 300)):
        pauses = {pause_s(failures, 300.0) for _ in range(50)}
        assert all(full_s / 2 <= each <= full_s for each in pauses)
        assert len(pauses) > 25
    assert pause_s(1, 300.0, 120.0) == 120
    assert pause_s(1, 300.0, 1e12) == LONGEST_RETRY_AFTER_S


# --- secrets, tests ---------------------------------------------------------------------------------------------------


def test_a_secret_that_others_can_read_is_said_before_anything_is_sent(tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(base64.b64encode(SECRET).decode())
    file.chmod(0o640)

    async def scene(to: Receiver) -> None:
        async with home(tmp_path) as at, told(at, webhook(to.url, secret_file=str(file))):
            await at.tell("A1")
            await until(lambda: at.problems)
            assert "others than its owner may read it (mode 0640)" in at.problems[0]
            file.chmod(0o600)
            await until(lambda: to.got)

    with receiver() as to:
        run(scene(to))


@pytest.mark.parametrize(
    ("behave", "taken", "said"),
    [
        (OK, True, "it answers 204"),
        (answers_with("401 No", body="who are you?"), False, "it answers 401: who are you?"),
        (answers_with("302 No", "Location: http://x/"), False, "it answers 302 to http://x/, which is not followed"),
        (hangs, False, "no answer within 0.2 s"),
    ],
)
def test_a_test_says_what_came_back(behave: Any, taken: bool, said: str, tmp_path: Path) -> None:
    async def scene(to: Receiver) -> None:
        async with home(tmp_path) as at:
            outlet = WebhookOutlet(webhook(to.url, whole_s=0.2))
            found = await trial.tested("ops", [outlet], at.house)
            assert found.message == said
            assert getattr(found, "taken", None) is taken
            assert not (tmp_path / "outlets" / "webhook-ops.json").exists()

    with receiver(behave) as to:
        run(scene(to))
    assert to.got[0].event["type"] == "ringfence.test"


def test_a_test_that_is_taken_ends_the_wait_of_who_was_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE_S", 3600.0)

    async def scene(to: Receiver) -> None:
        async with home(tmp_path) as at, told(at, webhook(to.url, longest_pause_s=3600.0)) as outlets:
            await at.tell("A1")
            await until(lambda: at.problems)
            assert getattr(await trial.tested("ops", outlets, at.house), "taken", None) is True
            await until(lambda: len(to.got) == 3)
            await until(lambda: not at.problems)

    with receiver(answers_with("503 Busy"), OK) as to:
        run(scene(to))
    assert [each.event["type"] for each in to.got] == [
        "ringfence.fault.ended",
        "ringfence.test",
        "ringfence.fault.ended",
    ]


def test_a_test_of_an_unknown_webhook_names_those_that_there_are(tmp_path: Path) -> None:
    async def scene() -> str:
        async with home(tmp_path) as at:
            return (await trial.tested("nobody", [WebhookOutlet(webhook("http://127.0.0.1/"))], at.house)).message

    assert asyncio.run(scene()) == "there is no webhook 'nobody'; there are: ops"


def test_certificates_that_are_none_are_said_so(tmp_path: Path) -> None:
    (tmp_path / "ca").write_text("this is no certificate")
    outlet = WebhookOutlet(webhook("https://localhost/", ca_file=str(tmp_path / "ca")))
    with pytest.raises(SourceError, match="/ca:"):
        outlet._post()
