"""Who is let in, and how often: names, tokens, sessions, rates."""

from __future__ import annotations

import time
from http.cookies import SimpleCookie
from pathlib import Path

import pytest

from ringfence.errors import SourceError
from ringfence.journal import events as ev
from ringfence.journal.store import Reader
from ringfence.service.http import tokens
from ringfence.service.http.bounds import Bounds
from ringfence.service.http.listening import host_of
from ringfence.service.http.rates import Rates
from ringfence.service.http.routes import Scope
from ringfence.service.http.sessions import Sessions
from ringfence.service.http.tokens import Token, Tokens
from tests.service.http.serving import Client, Said, Served, served, until

PAUSE = {"operation": "pause", "domain": 4_000}


# --- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8473", "[::1]:8473", "localhost."]
)
def test_whoever_calls_it_by_its_own_name_is_heard(shared: Served, name: str) -> None:
    client = shared.client(Scope.READ)
    assert client.ask("GET", "/api/v1/health", headers={"Host": name}).status == 200


@pytest.mark.parametrize(
    "name", ["", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "[::1", "0x7f.1"]
)
def test_a_name_that_was_made_to_lead_here_is_not_answered(shared: Served, name: str) -> None:
    client = shared.client(Scope.READ)
    for path in ("/api/v1/health", "/"):
        said = client.ask("GET", path, headers={"Host": name})
        assert said.status == 421
        assert "[http] names" in said.json["advice"]


def test_the_host_of_a_header() -> None:
    known = {"a.b:80": "a.b", "A.B": "a.b", "[fe80::1]:8": "fe80::1", "[fe80::1]": "fe80::1", "a.b.": "a.b", "": ""}
    assert {header: host_of(header) for header in known} == known


# --- tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_is_kept_as_a_hash_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / tokens.FILE
    secret = tokens.create(path, "one", (Scope.READ,), wall_ms=0)
    assert path.stat().st_mode & 0o777 == 0o600
    assert secret not in path.read_text()
    assert tokens.digest_of(secret) in path.read_text()
    path.chmod(0o640)
    with pytest.raises(SourceError, match="others may read or write it"):
        tokens.read(path)


def test_a_token_that_is_revoked_or_over_is_none_at_once(place: Served) -> None:
    path = place.state_dir / tokens.FILE
    client = place.client(Scope.READ, name="eye")
    assert client.get("/api/v1/health").status == 200
    tokens.revoke(path, "eye")
    assert client.get("/api/v1/health").status == 401
    over = Client(place.address, place.token(Scope.READ, expires_wall_ms=time.time_ns() // 1_000_000 - 1))
    assert over.get("/api/v1/health").status == 401


def test_a_damaged_file_of_tokens_lets_nobody_in_and_says_so(place: Served) -> None:
    client = place.client(Scope.READ)
    path = place.state_dir / tokens.FILE
    path.write_text("{}")
    said = client.get("/api/v1/health")
    assert said.status == 503
    assert "no list of tokens" in said.json["detail"]
    assert place.over_unix().get("/api/v1/health").status == 200, "the unix socket needs no token"


def test_a_change_of_the_file_leaves_the_old_or_the_new_and_never_neither(tmp_path: Path) -> None:
    path = tmp_path / tokens.FILE
    known = Tokens(path)
    secrets = {f"n{number}": tokens.create(path, f"n{number}", (Scope.READ,), wall_ms=1) for number in range(5)}
    for name, secret in secrets.items():
        found = known.of(secret, 1)
        assert found is not None
        assert found.name == name
        tokens.revoke(path, name)
        assert known.of(secret, 1) is None
    assert {each.name for each in tmp_path.iterdir()} == {tokens.FILE, f"{tokens.FILE}.lock"}


def test_names_are_names_and_tokens_are_not_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / tokens.FILE
    for name in ("", "a b", "-x", "x" * 65, "a\nb", "ä"):
        with pytest.raises(SourceError, match="no name for a token"):
            tokens.create(path, name, (Scope.READ,), wall_ms=0)
    tokens.create(path, "a", (Scope.READ,), wall_ms=0, expires_wall_ms=10)
    with pytest.raises(SourceError, match="there is a token a already"):
        tokens.create(path, "a", (Scope.READ,), wall_ms=0)
    tokens.create(path, "a", (Scope.READ,), wall_ms=10)  # the one before is over
    monkeypatch.setattr(tokens, "MOST_TOKENS", 1)
    with pytest.raises(SourceError, match="there are 1 tokens already"):
        tokens.create(path, "b", (Scope.READ,), wall_ms=0)


# --- sessions ---------------------------------------------------------------------------------------------------------


def logged_in(place: Served, token: str) -> tuple[Client, Said]:
    """A browser with a session."""
    said = Client(place.address).post("/api/v1/session", {"token": token})
    assert said.status == 200, said.body
    (cookie,) = SimpleCookie(said.headers["set-cookie"]).values()
    assert cookie["httponly"]
    assert cookie["samesite"] == "Strict"
    assert cookie["path"] == "/"
    return Client(place.address, headers={"Cookie": f"{cookie.key}={cookie.value}"}), said


def test_a_session_may_look_by_its_cookie_and_change_only_with_its_csrf_token(place: Served) -> None:
    browser, said = logged_in(place, place.token(Scope.READ, Scope.OPERATE, name="ada"))
    csrf = said.json["csrf"]
    assert browser.get("/api/v1/session").json["csrf"] == csrf
    assert browser.get("/api/v1/session").json["who"] == "token ada (HTTP from 127.0.0.1)"
    for wrong in ({}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "x" * len(csrf)}, {"X-CSRF-Token": "ä"}):
        refused = browser.ask("POST", "/api/v1/do", PAUSE, {name: value.encode() for name, value in wrong.items()})  # type: ignore[misc]
        assert refused.status == 403
        assert "CSRF" in refused.json["detail"]
    good = {"X-CSRF-Token": csrf}
    assert browser.ask("POST", "/api/v1/do", PAUSE, good).status == 409, "it was checked, and there is no such domain"
    elsewhere = {**good, "Origin": "https://evil.example"}
    assert browser.ask("POST", "/api/v1/do", PAUSE, elsewhere).json["detail"].startswith("the change comes from a page")
    here = {**good, "Origin": f"http://{place.address}"}
    assert browser.ask("POST", "/api/v1/do", PAUSE, here).status == 409


def test_a_session_ends_by_its_person_and_with_its_token(place: Served) -> None:
    token = place.token(Scope.READ, name="ada")
    browser, said = logged_in(place, token)
    assert browser.ask("DELETE", "/api/v1/session").status == 403, "ending it is a change"
    ended = browser.ask("DELETE", "/api/v1/session", headers={"X-CSRF-Token": said.json["csrf"]})
    assert "Max-Age=0" in ended.headers["set-cookie"]
    assert browser.get("/api/v1/health").status == 401
    browser, _ = logged_in(place, token)
    tokens.revoke(place.state_dir / tokens.FILE, "ada")
    assert browser.get("/api/v1/health").status == 401


def test_sessions_are_bounded_in_number_and_time() -> None:
    token = Token(name="a", sha256="0" * 64, scopes=(Scope.READ,), created_wall_ms=0)
    known = Sessions(most=2, longest_s=100.0, idle_s=10.0)
    first, _ = known.begin(token, 0.0)
    second, _ = known.begin(token, 1.0)
    assert known.of(first, 2.0) is not None
    third, _ = known.begin(token, 3.0)
    assert (len(known), known.of(second, 3.0)) == (2, None), "the one used least lately has ended"
    assert known.of(third, 13.0) is not None
    assert known.of(first, 13.0) is None, "idle for too long"
    for at_s in range(20, 100, 10):
        assert known.of(third, float(at_s)) is not None
    assert known.of(third, 104.0) is None, "however busy it is, it ends"


# --- rates ------------------------------------------------------------------------------------------------------------


def test_a_client_has_a_burst_and_then_its_rate_and_the_table_has_a_bound() -> None:
    rates = Rates(per_s=2.0, burst=3, most=2)
    assert [rates.take("a", 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert rates.take("a", 0.25) == 0.25
    assert rates.take("a", 0.5) == 0.0
    assert rates.take("b", 0.5) == 0.0
    assert rates.take("c", 0.5) == 0.0
    assert len(rates) == 2
    assert rates.take("a", -5.0) == 0.0, "forgotten, and begun anew; a clock that goes back harms nobody"


def test_who_comes_too_often_is_told_when_to_come_again_and_others_are_heard(tmp_path: Path) -> None:
    with served(tmp_path, bounds=Bounds(rate_per_s=0.01, burst=5)) as place:
        busy, calm = place.client(Scope.READ, name="busy"), place.client(Scope.READ, name="calm")
        statuses = [busy.get("/api/v1/health").status for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2
        said = busy.get("/api/v1/health")
        assert 1 <= int(said.headers["retry-after"]) <= 100
        assert said.json["retry_after_s"] == int(said.headers["retry-after"])
        assert calm.get("/api/v1/health").status == 200
        assert place.door.counted.too_often == 3


def test_wrong_tokens_are_heard_ever_less_and_a_right_one_all_the_same(tmp_path: Path) -> None:
    with served(tmp_path, bounds=Bounds(wrong_per_s=0.01, wrong_burst=3)) as place:
        wrong = Client(place.address, "rf_guess")
        assert [wrong.get("/api/v1/health").status for _ in range(4)] == [401] * 3 + [429]
        login = place.client().post("/api/v1/session", {"token": "rf_guess"})
        assert login.status == 429, "the console's door is the same one"
        assert place.client(Scope.READ).get("/api/v1/health").status == 200
        assert place.door.counted.wrong_tokens == 5


# --- pages ------------------------------------------------------------------------------------------------------------


def test_every_answer_forbids_what_a_browser_need_not_do(shared: Served) -> None:
    for path in ("/", "/api/v1/health", "/nothing", "/api/v1/nothing"):
        headers = shared.client().get(path).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "http" not in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["server"] == "Ringfence"
        assert "access-control-allow-origin" not in headers


def test_the_consoles_files_are_asked_for_again_only_when_they_change(shared: Served) -> None:
    client = shared.client()
    page = client.get("/")
    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert client.get("/index.html").body == page.body
    again = client.ask("GET", "/", headers={"If-None-Match": f'"other", W/{page.headers["etag"]}'})
    assert (again.status, again.body) == (304, b"")
    assert client.ask("HEAD", "/").body == b""


@pytest.mark.parametrize(
    "path",
    [
        "/../http/tokens.py", "/..%2f..%2fhttp/tokens.py", "/%2e%2e/%2e%2e/chain.py", "//etc/passwd", "/./index.html/",
        "/console/index.html", "/index.html%00", "/__init__.py", "/%ff", "/..\\chain.py", "/state/tokens.json",
    ],
)  # fmt: skip
def test_no_path_leads_out_of_the_consoles_files(shared: Served, path: str) -> None:
    said = shared.client().get(path)
    assert said.status in {400, 404}
    assert said.headers["content-type"] == "application/problem+json"


def test_what_is_wrong_at_the_door_is_counted(place: Served) -> None:
    Client(place.address, "rf_no").get("/api/v1/health")
    place.client().get("/api/v1/health")
    counted = place.door.counted
    assert (counted.requests, counted.refused, counted.wrong_tokens) == (2, 2, 1)
    until(lambda: not counted.connections)


def test_changes_have_a_rate_of_their_own_for_the_journal_keeps_each(tmp_path: Path) -> None:
    with served(tmp_path, bounds=Bounds(change_per_s=0.01, change_burst=3)) as place:
        client = place.client(*Scope)
        assert [client.post("/api/v1/do", PAUSE).status for _ in range(5)] == [409] * 3 + [429] * 2
        assert client.get("/api/v1/health").status == 200
        with Reader(place.house.journal) as reader:
            assert sum(1 for _ in reader.events(kinds=(ev.Instructed,))) == 3


def test_who_has_a_session_may_begin_another_one(place: Served) -> None:
    token = place.token(Scope.READ, name="ada")
    browser, first = logged_in(place, token)
    again = browser.post("/api/v1/session", {"token": token})
    assert again.status == 200
    assert again.json["csrf"] != first.json["csrf"]
