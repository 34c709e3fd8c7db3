"""The HTTP API of a real ``ringfence run``, with tokens of a real ``ringfence token``."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ringfence.journal import events as ev
from tests.service.http.serving import Client
from tests.service.http.test_streams import following, messages
from tests.service.processes import ASKING, RINGFENCE, Service, service, until

WITHOUT = """
import sys
sys.modules["aiohttp"] = None
from ringfence.cli.main import main
main(["run", "--state-dir", sys.argv[1], "--config", sys.argv[2]])
"""


def configured(directory: Path, *listen: str) -> str:
    """A configuration's file that serves HTTP."""
    path = directory / "ringfence.toml"
    path.write_text(f"[http]\nenabled = true\nlisten = {json.dumps(listen)}\n")
    return str(path)


def token(made: Service, name: str, scope: str) -> str:
    command = [str(RINGFENCE), "token", "create", "--state-dir", str(made.state), "--name", name, "--scope", scope]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@contextmanager
def running(tmp_path: Path, scenario: str | None = None) -> Iterator[tuple[Service, Client]]:
    """A service, and a client with a token on its network address."""
    path = str(tmp_path / "h")
    with service("--config", configured(tmp_path, "127.0.0.1:0", path), scenario=scenario) as made:
        made.start()
        until(Path(path).exists)
        assert made.process is not None
        assert made.process.stdout is not None
        lines = iter(made.process.stdout.readline, "")
        address = next(line.split()[3].rstrip(",") for line in lines if "HTTP at" in line)
        yield made, Client(address, token(made, "night-shift", "read,approve,operate"))


def test_a_person_sees_what_waits_and_grants_it_over_http_and_the_journal_says_who(tmp_path: Path) -> None:
    with running(tmp_path, ASKING) as (made, client):
        waiting = until(lambda: client.get("/api/v1/approvals").json["approvals"])[0]
        word = {name: waiting[name] for name in ("case", "domain", "operation")}
        given = client.post("/api/v1/approve", word)
        assert (given.status, given.json["because"]) == (200, "granted")
        assert client.post("/api/v1/approve", word).status == 404, "a word is said once"

        def told() -> bool:  # as soon as it is on the disk, from where it is read
            explained = client.get(f"/api/v1/cases/{waiting['case']}").json
            return bool(explained["evidence"]) and any("granted destroy" in each["text"] for each in explained["links"])

        assert until(told)
        health = client.get("/api/v1/health").json
        assert health["hypervisor"].startswith("model")
        said = [each.who for each in made.journal() if isinstance(each, ev.ApprovalGiven)]
        assert said[0] == "token night-shift (HTTP from 127.0.0.1)"
        assert made.end()[0] == 0


def test_the_configuration_is_loaded_again_and_a_webhook_tried_out_over_http(tmp_path: Path) -> None:
    with running(tmp_path) as (made, client):
        assert client.post("/api/v1/webhooks/test", {"name": "pager"}).status == 403
        admin = Client(client.place, token(made, "ada", "administer"))
        loaded = admin.ask("POST", "/api/v1/reload")
        assert (loaded.status, loaded.json["policy"]) == (200, "default")
        nobody = admin.post("/api/v1/webhooks/test", {"name": "pager"})
        assert (nobody.status, nobody.json["detail"]) == (404, "there is no webhook 'pager'; there are: none")
        said = [each.who for each in made.journal() if isinstance(each, ev.ConfigurationLoaded)]
        assert said[-1] == "token ada (HTTP from 127.0.0.1)"
        assert made.end()[0] == 0


def test_a_stream_and_an_idle_client_do_not_hold_up_the_end(tmp_path: Path) -> None:
    with running(tmp_path) as (made, client), closing(client.connect()) as idle:
        idle.request("GET", "/index.html")
        idle.getresponse().read()
        follower = Client(client.place, headers={"Authorization": f"Bearer {client.token}"})
        with following(follower, "?after=0") as response:
            told = messages(response)
            assert next(event for _, event in told if event is not None)["what"] == "start"
            code, said = made.end()
            assert code == 0, said
            list(told)  # the stream ends
        assert not (tmp_path / "h").exists()


def test_a_killed_service_leaves_a_socket_that_the_next_one_replaces(tmp_path: Path) -> None:
    with running(tmp_path) as (made, client):
        assert made.process is not None
        made.process.kill()
        made.process.communicate()
        assert (tmp_path / "h").exists()
        made.start()
        until(lambda: _answers(Client(str(tmp_path / "h"))))
        assert _answers(Client(str(tmp_path / "h"), client.token)), "a token outlives the process"
        made.end()


def _answers(client: Client) -> bool:
    try:
        return client.get("/api/v1/health").status == 200
    except OSError:
        return False


def test_without_the_library_the_service_does_not_start_and_says_what_to_install(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WITHOUT, str(tmp_path / "state"), configured(tmp_path, "127.0.0.1:0")]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 2
    assert "The HTTP API needs the optional dependencies 'web'" in ended.stderr
    assert "pip install 'ringfence[web]'" in ended.stderr


def test_a_place_beyond_loopback_without_tls_is_refused_at_its_line(tmp_path: Path) -> None:
    with service("--config", configured(tmp_path, "0.0.0.0:8473")) as made:
        process = made.start(wait=False)
        said, _ = process.communicate(timeout=60)
        assert process.returncode == 2
        assert "0.0.0.0:8473 can be reached from other machines" in said
        assert "ringfence.toml:" in said
