"""Every route with every scope, enumerated from the table; and what each answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner

from ringfence.cli.main import main
from ringfence.journal import events as ev
from ringfence.journal.store import Reader
from ringfence.service.http import history
from ringfence.service.http.bounds import BODY_BYTES
from ringfence.service.http.routes import EVENT_STREAM, AnyRoute, Method, Scope
from ringfence.service.http.table import ROUTES, openapi_json
from tests.service.http.serving import Client, Said, Served

ANY: dict[str, Any] = {
    "approve": {"case": 1, "domain": 1, "operation": "pause"},
    "reject": {"case": 1, "domain": 1, "operation": "pause"},
    "do": {"operation": "pause", "domain": 4_000},
    "clear": {"part": "DIMM nowhere", "how": "repaired"},
    "login": {"token": "rf_wrong"},
    "dryRun": {"text": "nonsense"},
    "page": {"to": "offline", "frame": 0xFFFFFFFFF},
    "cpu": {"to": "offline", "cpu": 60_000},
    "unpause": {"domain": 4_000},
    "testWebhook": {"name": "nobody"},
}
"""A request for each route with a body, that changes nothing."""


def asked(client: Client, route: AnyRoute) -> Said:
    path = route.path.replace("{case}", "1").replace("{number}", "1").replace("{frame}", "1")
    if route.media == EVENT_STREAM:
        path += "?after=999999999"  # refused once it is let in, so that no stream begins
    body = ANY[route.name] if route.has_body else None
    return client.ask(route.method, path, body)


def test_each_scope_opens_its_own_routes_and_no_other(place: Served) -> None:
    clients = {scope: place.client(scope, name=scope) for scope in Scope}
    stranger, wrong = place.client(), Client(place.address, "rf_wrong")
    for route in ROUTES:
        for scope, client in clients.items():
            allowed = route.needs in {None, scope}
            said = asked(client, route)
            where = f"{route.method} {route.path} with {scope}"
            assert (said.status != 403) == allowed, where
            assert said.status not in {401, 500} or route.name == "login", where
        if route.needs is not None:
            assert asked(stranger, route).status == 401, route.path
            place.door.wrong.__init__(1.0, 1_000, 10)  # type: ignore[misc]  # a fresh budget of wrong tokens
            assert asked(wrong, route).status == 401, route.path


def test_what_is_refused_is_a_problem_with_advice(shared: Served) -> None:
    said = shared.client(Scope.READ, name="eye").post("/api/v1/do", ANY["do"])
    assert (said.status, said.headers["content-type"]) == (403, "application/problem+json")
    assert said.json == {
        "title": "Forbidden",
        "status": 403,
        "detail": "this needs the scope operate; token eye (HTTP from 127.0.0.1) has read",
        "advice": "Make a token with it: ringfence token create --scope operate",
    }
    said = shared.client().get("/api/v1/health")
    assert said.headers["www-authenticate"] == 'Bearer realm="ringfence"'


def test_over_the_unix_socket_the_kernels_word_is_enough(shared: Served) -> None:
    me = shared.over_unix().get("/api/v1/session").json
    assert set(me["scopes"]) == set(Scope)
    assert "by HTTP" in me["who"]
    assert shared.over_unix().post("/api/v1/do", ANY["do"]).status == 409


def test_a_change_is_journaled_with_the_tokens_name_and_address(place: Served) -> None:
    client = place.client(Scope.OPERATE, name="night-shift")
    done = client.post("/api/v1/do", {"operation": "pause", "domain": "shop-pv"})
    assert (done.status, done.json["status"]) == (200, "done")
    refused = client.post("/api/v1/do", {"operation": "pause", "domain": 4_000})
    assert refused.status == 409
    with Reader(place.house.journal) as reader:
        told = [each for _, each in reader.events(kinds=(ev.Instructed,)) if isinstance(each, ev.Instructed)][-2:]
    assert [each.who for each in told] == ["token night-shift (HTTP from 127.0.0.1)"] * 2
    assert told[1].refused


def test_pages_cpus_and_paused_domains_are_operated_on_and_journaled(place: Served) -> None:
    client = place.client(Scope.READ, Scope.OPERATE, name="ada")
    frame = 0x41234
    assert client.post("/api/v1/page", {"to": "offline", "frame": frame}).json["status"] in {"done", "pending"}
    assert client.get(f"/api/v1/pages/{frame}").json["frame"] == frame
    assert client.post("/api/v1/cpu", {"to": "offline", "cpu": 3}).json["status"] == "done"
    assert client.post("/api/v1/cpu", {"to": "online", "cpu": 3}).json["status"] == "done"
    assert client.post("/api/v1/do", {"operation": "pause", "domain": "shop-pv"}).json["status"] == "done"
    assert client.post("/api/v1/unpause", {"domain": "shop-pv"}).json["status"] == "done"
    with Reader(place.house.journal) as reader:
        told = [each for _, each in reader.events(kinds=(ev.Instructed,)) if isinstance(each, ev.Instructed)][-5:]
    assert [(each.operation, each.on) for each in told[:3]] == [
        ("offline", f"frame {frame:#x}"), ("offline", "CPU 3"), ("online", "CPU 3"),
    ]  # fmt: skip
    assert {each.who for each in told} == {"token ada (HTTP from 127.0.0.1)"}


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("page", "there is no memory at frame 0xfffffffff"),
        ("cpu", "there is no CPU 60000"),
        ("unpause", "there is no domain 4000"),
    ],
)
def test_an_instruction_that_cannot_be_is_refused_in_words(shared: Served, name: str, says: str) -> None:
    said = shared.client(Scope.OPERATE, name=f"ops-{name}").post(f"/api/v1/{name}", ANY[name])
    assert (said.status, said.json["detail"]) == (409, says)


def test_a_part_is_cleared_by_who_may_and_the_journal_says_by_whom(place: Served) -> None:
    client = place.client(Scope.READ, Scope.ADMINISTER, name="ada")
    part = client.get("/api/v1/parts?all=true").json["parts"][0]["part"]
    done = client.post("/api/v1/clear", {"part": part, "how": "repaired", "because": "ticket 7"})
    assert done.status == 200, done.body
    assert client.post("/api/v1/clear", {"part": "DIMM nowhere", "how": "replaced"}).status == 404
    with Reader(place.house.journal) as reader:
        (told,) = (each for _, each in reader.events(kinds=(ev.Cleared,)) if isinstance(each, ev.Cleared))
    assert (told.who, told.because) == ("token ada (HTTP from 127.0.0.1)", "ticket 7")


def test_what_is_not_there_is_404_and_what_is_not_for_a_path_405(shared: Served) -> None:
    client = shared.client(*Scope)
    assert client.get("/api/v1/nothing").json["status"] == 404
    assert client.get("/api/v1/cases/5").json["detail"] == "there is no case 5"
    assert client.get("/api/v1/events/999999").status == 404
    said = client.ask("DELETE", "/api/v1/health")
    assert (said.status, said.json["status"], said.headers["allow"]) == (405, 405, "GET")
    none = client.post("/api/v1/approve", ANY["approve"])
    assert (none.status, none.json["detail"]) == (404, "nothing waits for a word on pause of domain 1 in case 1")


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/api/v1/events?limit=0", "`int` >= 1"),
        ("/api/v1/events?limit=many", "Expected `int`"),
        ("/api/v1/events?limit=1&limit=2", "more than once"),
        ("/api/v1/events?colour=red", "colour"),
        ("/api/v1/events?after=99999999999999999999999", "int"),
        ("/api/v1/cases/one", "Expected `int`"),
        ("/api/v1/health?x=1", "x"),
    ],
)
def test_a_request_that_is_none_is_told_what_is_wrong_with_it(shared: Served, path: str, says: str) -> None:
    said = shared.over_unix().get(path)
    assert said.status == 400
    assert says in said.json["detail"]


def test_a_body_is_json_as_it_is_and_not_too_long(shared: Served) -> None:
    client = shared.over_unix()
    assert client.ask("POST", "/api/v1/do", b"{", {}).status == 400
    assert client.ask("POST", "/api/v1/do", b"\xff\xfe", {}).status == 400
    assert client.ask("POST", "/api/v1/do", b"[" * 10_000, {}).status == 400
    assert client.ask("POST", "/api/v1/do", b"{}", {"Content-Type": "text/plain"}).status == 415
    assert client.ask("POST", "/api/v1/do", b"{}", {"Content-Encoding": "gzip"}).status == 415
    assert client.ask("POST", "/api/v1/do?operation=pause", ANY["do"]).status == 400
    long = client.ask("POST", "/api/v1/do", b" " * (BODY_BYTES + 1))
    assert (long.status, long.json["status"]) == (413, 413)


# --- answers ----------------------------------------------------------------------------------------------------------


def pages(client: Client, query: str) -> list[dict[str, Any]]:
    """All pages of events, one after the other."""
    found: list[dict[str, Any]] = []
    after = 0
    while True:
        page = client.get(f"/api/v1/events?after={after}&{query}").json
        found += page["events"]
        if not page["more"]:
            return found
        assert page["after"] > after
        after = page["after"]


def test_pages_of_any_size_give_the_same_history(shared: Served) -> None:
    client = shared.over_unix()
    whole = pages(client, "limit=1000")
    numbers = [each["number"] for each in whole]
    assert numbers == sorted(set(numbers))
    assert len(numbers) > 100
    assert [each["number"] for each in pages(client, "limit=37")][: len(numbers)] == numbers
    last = client.get("/api/v1/events?limit=5").json["events"]
    assert len(last) == 5
    assert last[-1]["number"] >= numbers[-1]


def test_a_filter_leaves_out_what_is_not_asked_for_and_nothing_else(shared: Served) -> None:
    client = shared.over_unix()
    whole = pages(client, "limit=1000")
    outcomes = [each for each in whole if each["what"] == "outcome"]
    assert outcomes
    assert pages(client, "limit=3&what=outcome")[: len(outcomes)] == outcomes
    case = outcomes[0]["case"]
    of_case = [each["number"] for each in pages(client, f"limit=1000&case={case}")]
    assert of_case == [each["number"] for each in whole if each["case"] == case and each["what"] != "result"]
    newest = client.get(f"/api/v1/events?case={case}&limit=2").json["events"]
    assert [each["number"] for each in newest] == of_case[-2:]


def test_a_case_is_explained_as_the_command_explains_it(shared: Served, demo_journal: Path) -> None:
    client = shared.over_unix()
    told = CliRunner().invoke(main, ["explain", "--json", "--journal", str(demo_journal)])
    chains = [json.loads(line) for line in told.output.splitlines() if line.startswith("{")]
    assert len(chains) > 10
    for chain in chains:
        said = client.get(f"/api/v1/cases/{chain['case']}").json
        assert chain.pop("event") is None
        assert {name: said[name] for name in chain} == chain
        assert said["whole"]


def test_an_event_is_explained_with_its_registers(shared: Served) -> None:
    client = shared.over_unix()
    first = next(each for each in pages(client, "limit=1000") if each["what"] == "finding")
    said = client.get(f"/api/v1/events/{first['number']}").json
    assert said["kind"] == "Received"
    assert said["event"] == first
    assert said["finding"]["severity"] == "CORRECTED"
    assert said["finding"]["registers"]["status"].startswith("0x")
    assert [each["what"] for each in said["links"]] == ["evidence", "finding", "outcome"]


def test_a_page_looks_at_a_bounded_number_of_events(place: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MOST_SCANNED", 50)
    client = place.over_unix()
    first = client.get("/api/v1/events?after=0&what=nothing-such").json
    assert (first["events"], first["after"], first["more"]) == ([], 50, True)


# --- the description --------------------------------------------------------------------------------------------------


def test_the_description_is_that_of_the_routes(shared: Served) -> None:
    said = shared.client().get("/api/v1/openapi.json")
    assert said.body == openapi_json()
    described = {(method.upper(), path) for path, item in said.json["paths"].items() for method in item}
    assert described == {(str(route.method), route.path) for route in ROUTES}
    names = [route.name for route in ROUTES]
    assert len(set(names)) == len(names)


def test_a_get_changes_nothing() -> None:
    assert all(route.needs in {None, Scope.READ} for route in ROUTES if route.method is Method.GET)


def test_every_answer_is_as_the_description_has_it(shared: Served) -> None:
    client = shared.over_unix()
    for route in ROUTES:
        if route.method is Method.GET and route.answers is not None and "{" not in route.path:
            msgspec.json.decode(client.get(route.path).body, type=route.answers)
