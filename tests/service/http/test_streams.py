"""Events as they come: a client that is cut off anywhere takes them up where it was."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ringfence.journal.retention import carry_out, plan_upto
from ringfence.journal.store import Journal
from ringfence.service.http import streams, tokens
from ringfence.service.http.bounds import Bounds
from ringfence.service.http.routes import Scope
from tests.service.http.serving import Client, Served, served, until


@contextmanager
def following(client: Client, query: str = "", last: int | None = None) -> Iterator[http.client.HTTPResponse]:
    """A stream."""
    headers = {} if last is None else {"Last-Event-ID": str(last)}
    with closing(client.connect()) as connection:
        connection.request("GET", f"/api/v1/events/stream{query}", headers={**client.headers, **headers})
        yield connection.getresponse()


def messages(response: http.client.HTTPResponse) -> Iterator[tuple[int | None, dict[str, Any] | None]]:
    """The id and the data of each block of a stream, as WHATWG HTML 9.2.6 reads it."""
    number: int | None = None
    data = ""
    while line := response.readline().decode():
        match line.rstrip("\n").partition(": "):
            case ("", "", ""):
                yield number, json.loads(data) if data else None
                data = ""
            case ("id", _, value):
                number = int(value)
            case ("data", _, value):
                data += value
            case _:
                pass


def take(client: Client, count: int, last: int) -> tuple[list[int], int]:
    """Read until so many events have come, then cut the connection off: their numbers, and the last id."""
    found: list[int] = []
    with following(client, last=last) as response:
        for number, event in messages(response):
            last = number if number is not None else last
            if event is not None:
                assert event["number"] == number
                found.append(event["number"])
            if len(found) >= count:
                break
    return found, last


def test_a_client_that_is_cut_off_anywhere_loses_nothing_and_hears_nothing_twice(shared: Served) -> None:
    client = shared.over_unix()
    every = [each["number"] for each in client.get("/api/v1/events?after=0&limit=1000").json["events"]]

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.integers(1, 120), min_size=1, max_size=6))
    def law(cuts: list[int]) -> None:
        told: list[int] = []
        last = 0
        for cut in cuts:
            wanted = min(cut, len(every) - len(told))
            if not wanted:
                break
            found, last = take(client, wanted, last)
            told += found
        assert told == every[: len(told)]

    law()


def test_who_follows_from_now_on_hears_what_comes_and_nothing_before(place: Served) -> None:
    client = place.over_unix()
    before = client.get("/api/v1/events?limit=1").json["events"][0]["number"]
    with following(client) as response:
        told = messages(response)
        number, nothing = next(told)
        assert nothing is None
        assert number is not None
        assert number >= before
        client.post("/api/v1/do", {"operation": "pause", "domain": "shop-pv"})
        event = next(event for _, event in told if event is not None and event["what"] == "instruction")
        assert event["number"] > number
        assert "instructs: pause shop-pv" in event["text"]
        assert response.getheader("content-type") == "text/event-stream"
        assert response.getheader("cache-control") == "no-store"


def test_a_quiet_stream_shows_signs_of_life_that_carry_on_the_place(
    place: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.02)
    with following(place.over_unix()) as response:
        told = messages(response)
        marks = [next(told) for _ in range(5)]
        assert [data for _, data in marks].count(None) >= 4
        assert all(number is not None for number, _ in marks)


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30, "²", ""])
def test_a_place_that_is_none_is_refused(shared: Served, last: str) -> None:
    with closing(shared.over_unix().connect()) as connection:
        headers = {"Last-Event-ID": last.encode()}
        connection.request("GET", "/api/v1/events/stream?after=999999999", headers=headers)
        said = connection.getresponse()
        assert said.status == 400
        assert json.loads(said.read())["detail"]


def test_streams_are_bounded_in_all_and_for_each_client(tmp_path: Path) -> None:
    with served(tmp_path, bounds=Bounds(followers=3, followers_each=2)) as place:
        client = place.over_unix()
        with following(client) as one, following(client) as two:
            assert (one.status, two.status) == (200, 200)
            with following(client) as three:
                assert three.status == 429
                assert three.getheader("retry-after")
        until(lambda: not place.door.counted.followers)
        assert not place.door.following
        with following(client) as again:
            assert again.status == 200


def test_a_stream_ends_when_its_token_is_revoked(place: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "HEARTBEAT_S", 0.02)
    token = place.token(Scope.READ, name="eye")
    with following(Client(place.address, headers={"Authorization": f"Bearer {token}"})) as response:
        told = messages(response)
        next(told)
        tokens.revoke(place.state_dir / tokens.FILE, "eye")
        list(told)  # it has an end
    until(lambda: not place.door.counted.followers)


def test_what_retention_has_dropped_is_told_as_a_gap(tmp_path: Path, demo_journal: Path) -> None:
    path = tmp_path / "short.sqlite"
    shutil.copy(demo_journal, path)
    with Journal(path) as journal:
        for _ in carry_out(journal, plan_upto(journal, 100, "the test wants it"), at_ms=1):
            pass
        base = journal.base.number
    assert base == 100
    with served(tmp_path, journal=path) as place:
        client = place.over_unix()
        with following(client, "?after=0") as response:
            first = b"".join(response.readline() for _ in range(3))
            assert first == b'event: gap\ndata: {"after":0,"dropped":100}\n\n'
        with following(client, "?after=100") as response:
            assert response.readline() == b": alive\n"
        page = client.get("/api/v1/events?after=0&limit=5").json
        assert page["dropped"] == 100
        assert page["events"]
