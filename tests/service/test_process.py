"""``ringfence run`` lives in order, ends in order, and goes on after it was killed."""

from __future__ import annotations

import asyncio
import grp
import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ringfence.decision.policy import DEFAULT, Operation
from ringfence.errors import SourceError
from ringfence.journal import events as ev
from ringfence.journal.store import Reader
from ringfence.service import control_protocol as say
from ringfence.service import model_world
from ringfence.service.model_world import ModelWorld, Play
from ringfence.service.notify import Notifier, watch
from ringfence.service.simulation.acts import Script, Unit, UnitHit
from ringfence.world.identities import DomainId
from tests.service.processes import ASKING, CORRECTED, PATIENCE_S, RINGFENCE, Service, client, service, until


def closed(stored: list[ev.Stored]) -> dict[int, ev.Closed]:
    return {event.case: event for event in stored if isinstance(event, ev.Closed)}


# --- its life ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_and_the_journal_says_so(number: signal.Signals) -> None:
    with service() as running:
        running.start()
        code, _ = running.end(number)
        last = running.journal()[-1]
    assert code == 0
    assert isinstance(last, ev.Stopped)
    assert last.because == number.name
    assert not running.socket.exists()


def test_after_a_kill_it_goes_on_in_the_next_boot_of_its_host_and_nothing_stays_open_for_ever() -> None:
    with service(scenario=ASKING) as running:
        running.start()
        case = until(running.approvals)[0].case
        running.end(signal.SIGKILL)
        running.start()
        health, stored = running.health(), running.journal()
        with Reader(running.state / "journal.sqlite") as reader:
            assert reader.check() >= len(stored)
    assert (health.life, health.boot) == (2, "2")
    assert [event.boot for event in stored if isinstance(event, ev.Started)] == ["1", "2"]
    assert not any(isinstance(event, ev.Stopped) for event in stored)
    of_first_boot = {number for event in stored if (number := getattr(event, "case", None)) and number < 2 << 20}
    assert of_first_boot <= closed(stored).keys()
    assert "unknown" in {entry.state for entry in closed(stored)[case].outcome}


def test_a_second_one_on_the_same_state_is_refused_and_the_first_one_lives_on() -> None:
    with service() as running:
        first = running.start()
        second = subprocess.run(
            [str(RINGFENCE), "run", "--state-dir", str(running.state), "--socket", str(running.socket)],
            capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip
        assert running.health().pid == first.pid
    assert second.returncode == 1
    assert "another process writes this journal" in second.stderr
    assert "Stop the other Ringfence" in second.stderr


def test_one_on_another_state_does_not_take_the_socket_of_one_that_lives() -> None:
    with service() as running, tempfile.TemporaryDirectory() as other:
        first = running.start()
        second = subprocess.run(
            [str(RINGFENCE), "run", "--state-dir", other, "--socket", str(running.socket)],
            capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        )  # fmt: skip
        assert running.health().pid == first.pid
    assert second.returncode == 1
    assert "somebody listens there already" in second.stderr


def test_a_damaged_journal_that_shall_be_refused_is_said_so_and_nothing_is_written_over_it(tmp_path: Path) -> None:
    (tmp_path / "journal.sqlite").write_bytes(b"this was a journal once " * 100)
    (tmp_path / "c.toml").write_text('[journal]\non-damage = "refuse"\n')
    done = subprocess.run(
        [str(RINGFENCE), "run", "--state-dir", str(tmp_path), "--config", str(tmp_path / "c.toml")],
        capture_output=True, text=True, check=False, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert (tmp_path / "journal.sqlite").read_bytes().startswith(b"this was")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--hypervisor", "xen"), "this is no Dom0"),
        (("--scenario", "no-such"), "Name a scenario file"),
        (("--policy", "/no/such/policy.toml"), "Name a policy file"),
        (("--read-group", "no-such-group"), "there is no such group"),
    ],
)
def test_what_it_cannot_run_with_is_said_before_it_begins(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    command = [str(RINGFENCE), "run", "--state-dir", str(tmp_path / "state"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "state").exists()


# --- the policy -------------------------------------------------------------------------------------------------------


def test_sighup_loads_the_policy_again_and_a_bad_file_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text('unlocated = "degrade"\n')
    with service("--policy", str(path), scenario=CORRECTED) as running:
        running.start()
        before = running.health()

        path.write_text('unlocated = "drain"\n')
        running.send(signal.SIGHUP)
        after = until(lambda: each if (each := running.health()).policy_digest != before.policy_digest else None)

        path.write_text("unlocated = 3\n")
        running.send(signal.SIGHUP)
        bad = until(lambda: each if (each := running.health()).policy_problem else None)

        path.write_text('unlocated = "drain"\n')
        running.send(signal.SIGHUP)
        until(lambda: not running.health().policy_problem)

        received = until(lambda: each.received if (each := running.health()).received > before.received else None)
        _, said = running.end()
        stored = running.journal()

    assert bad.policy_digest == after.policy_digest
    assert "unlocated" in bad.policy_problem
    assert any("not in force" in problem for problem in bad.problems)
    assert "SIGHUP: nothing is loaded, what was before goes on" in said
    digests = [event.digest for event in stored if isinstance(event, ev.PolicyLoaded)]
    assert digests == [before.policy_digest, after.policy_digest, after.policy_digest]
    texts = [event.text for event in stored if isinstance(event, ev.PolicyLoaded)]
    assert texts[1] == 'unlocated = "drain"\n'
    assert sum(isinstance(event, ev.Received) for event in stored) >= received
    assert sum(isinstance(event, ev.Started) for event in stored) == 1, "the life goes on over a reload"


def test_a_policy_that_is_loaded_holds_for_what_is_decided_next(tmp_path: Path) -> None:
    path = tmp_path / "policy.toml"
    path.write_text("dry_run = true\n")
    with service("--policy", str(path)) as running:
        running.start()
        pause = say.Do(operation=Operation.PAUSE, domain="mail-hvm")
        refused = running.ask(pause)
        path.write_text("dry_run = false\n")
        running.send(signal.SIGHUP)
        until(lambda: not running.health().problems)
        done = running.ask(pause)
    assert isinstance(refused, say.Refused)
    assert "dry run" in refused.message
    assert isinstance(done, say.Done)


# --- systemd ----------------------------------------------------------------------------------------------------------


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(address)
        made.settimeout(PATIENCE_S)
        yield made


def told(by: socket.socket) -> dict[str, str]:
    return dict(line.split("=", 1) for line in by.recv(4096).decode().splitlines())


def test_systemd_hears_when_it_is_ready_that_it_lives_and_that_it_ends(tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text("")
    with tempfile.TemporaryDirectory() as directory, listening(f"{directory}/n") as systemd:
        env = {"NOTIFY_SOCKET": f"{directory}/n", "WATCHDOG_USEC": "200000"}
        with service("--policy", str(policy), env=env) as running:
            running.start(wait=False)
            first = told(systemd)
            alive = [told(systemd) for _ in range(3)]
            running.send(signal.SIGHUP)
            reloading = until(lambda: each if "RELOADING" in (each := told(systemd)) else None)
            ready = until(lambda: each if "READY" in (each := told(systemd)) else None)
            running.send(signal.SIGTERM)
            until(lambda: told(systemd) == {"STOPPING": "1"})
    assert first["READY"] == "1"
    assert first["STATUS"].startswith("on the model host")
    assert alive == [{"WATCHDOG": "1"}] * 3
    assert int(reloading["MONOTONIC_USEC"]) > 0
    assert ready["READY"] == "1"


def test_systemd_hears_nothing_from_a_service_whose_writer_is_stopped() -> None:
    with tempfile.TemporaryDirectory() as directory, listening(f"{directory}/n") as systemd:
        env = {"NOTIFY_SOCKET": f"{directory}/n", "WATCHDOG_USEC": "200000"}
        with service(env=env) as running:
            running.start(wait=False)
            told(systemd)
            running.send(signal.SIGSTOP)
            systemd.settimeout(0.5)
            with pytest.raises(TimeoutError):
                while True:
                    told(systemd)
            systemd.settimeout(PATIENCE_S)
            running.send(signal.SIGCONT)
            assert told(systemd) == {"WATCHDOG": "1"}


@pytest.mark.parametrize(("silent_s", "fed"), [(0.0, True), (2.0, False)])
def test_the_watchdog_is_fed_while_what_it_watches_lives(silent_s: float, fed: bool, tmp_path: Path) -> None:
    async def scene() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await watch(Notifier(str(tmp_path / "n"), 0.05), lambda: time.monotonic() - silent_s)

    with listening(str(tmp_path / "n")) as systemd:
        asyncio.run(scene())
        systemd.setblocking(False)
        if fed:
            assert told(systemd) == {"WATCHDOG": "1"}
        else:
            with pytest.raises(BlockingIOError):
                told(systemd)


def test_an_abstract_address_is_told_and_one_that_is_none_is_refused() -> None:
    name = f"ringfence-test-{os.getpid()}"
    with listening(f"\0{name}") as systemd:
        Notifier.of_environment({"NOTIFY_SOCKET": f"@{name}"}).ready("one\nline")
        assert told(systemd) == {"READY": "1", "STATUS": "one line"}
    with pytest.raises(SourceError):
        Notifier.of_environment({"NOTIFY_SOCKET": "vsock:2:1234"})


@pytest.mark.parametrize(
    ("given", "watchdog_s"),
    [
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "3000000"}, 3.0),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "17"}, 3.0),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "18"}, None),
        ({"NOTIFY_SOCKET": "/n", "WATCHDOG_USEC": "soon"}, None),
        ({"NOTIFY_SOCKET": "/n"}, None),
        ({"WATCHDOG_USEC": "3000000"}, None),
    ],
)
def test_the_watchdog_is_kept_where_it_is_meant_for_this_process(
    given: dict[str, str], watchdog_s: float | None
) -> None:
    assert Notifier.of_environment(given, pid=17).watchdog_s == watchdog_s


def test_whoever_does_not_listen_is_not_told_and_nothing_fails() -> None:
    Notifier("/no/such/socket").alive()


# --- hostile clients --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running() -> Iterator[Service]:
    with service() as made:
        made.start()
        yield made


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"{}\n",
        b"[]\n",
        b"null\n",
        b"\xff\xfe\x00\n",
        b'{"request":"no-such"}\n',
        b'{"request":"status","more":1}\n',
        b'{"request":"events","last":"all"}\n',
        b'{"request":"events","last":-1}\n',
        b'{"request":"events","last":100001}\n',
        b'{"request":"events","after":-1}\n',
        b'{"request":"events","after":9223372036854775808}\n',
        b'{"request":"do","operation":"halt","domain":1}\n',
        b'{"request":"do","operation":"pause","domain":[1]}\n',
        b"[" * 4000 + b"\n",
    ],
)
def test_a_line_that_is_no_request_is_refused_and_the_conversation_goes_on(running: Service, line: bytes) -> None:
    with client(running.socket) as connected:
        connected.send(line)
        reply = connected.read()
        assert isinstance(reply, say.Refused)
        assert reply.code is say.Code.BAD_REQUEST
        assert isinstance(connected.ask(say.Status()), say.Health)


def test_a_line_of_a_later_version_is_answered_as_one(running: Service) -> None:
    with client(running.socket) as connected:
        connected.send(b'{"request":"something-new","version":2,"field":1}\n')
        reply = connected.read()
    assert isinstance(reply, say.Refused)
    assert reply.code is say.Code.OTHER_VERSION


def test_a_line_without_end_ends_the_connection(running: Service) -> None:
    before = running.health().bad_lines
    with client(running.socket) as connected:
        connected.send(b"x" * (say.MAX_LINE_BYTES * 2))
        reply = connected.read()
        assert isinstance(reply, say.Refused)
        assert reply.code is say.Code.TOO_LONG
        assert connected.read() is None
    assert running.health().bad_lines == before + 1


def test_a_client_that_hangs_up_in_the_middle_of_a_line_leaves_nothing_behind(running: Service) -> None:
    for _ in range(40):
        with client(running.socket) as connected:
            connected.send(b'{"request":"status"')
    until(lambda: isinstance(each := running.ask(say.Status()), say.Health) and each.clients == 1)


def test_a_name_that_utf_8_cannot_hold_and_one_with_control_characters_are_no_domain(running: Service) -> None:
    with client(running.socket) as connected:
        for name in (b"\\ud800", b"\\u001b[31m"):
            connected.send(b'{"request":"do","operation":"pause","domain":"' + name + b'"}\n')
            assert isinstance(connected.read(), say.Refused)


def test_a_huge_domain_number_is_refused_and_nothing_breaks(running: Service) -> None:
    reply = running.ask(say.Do(operation=Operation.PAUSE, domain=DomainId(2**70)))
    assert isinstance(reply, say.Refused)
    assert running.health().pid


# --- who may ----------------------------------------------------------------------------------------------------------

NOBODY = pwd.getpwnam("nobody")

_AS_NOBODY = """
import os, socket, sys
os.setgid(int(sys.argv[3])); os.setuid(int(sys.argv[2]))
made = socket.socket(socket.AF_UNIX); made.connect(sys.argv[1])
made.sendall(sys.argv[4].encode()); made.shutdown(socket.SHUT_WR)
while said := made.recv(4096): sys.stdout.write(said.decode())
"""


def as_nobody(of: Service, asked: str) -> str:
    """What the user nobody is answered."""
    command = [sys.executable, "-c", _AS_NOBODY, str(of.socket), str(NOBODY.pw_uid), str(NOBODY.pw_gid), asked]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S).stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_somebody_else_is_turned_away_even_where_the_files_modes_let_him_in(running: Service) -> None:
    running.socket.parent.chmod(0o755)
    running.socket.chmod(0o666)
    said = as_nobody(running, '{"request":"status"}\n')
    running.socket.chmod(0o600)
    assert '"code":"not allowed"' in said
    assert running.health().turned_away >= 1


def test_socket_and_journal_are_for_their_owner_alone(running: Service) -> None:
    for path in (running.socket, running.state / "journal.sqlite"):
        assert path.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_member_of_the_reading_group_may_look_and_change_nothing() -> None:
    with service("--read-group", grp.getgrgid(NOBODY.pw_gid).gr_name) as open_to_group:
        open_to_group.start()
        open_to_group.socket.parent.chmod(0o755)
        asked = '{"request":"status"}\n{"request":"do","operation":"pause","domain":"mail-hvm"}\n'
        said = as_nobody(open_to_group, asked)
        assert not any(isinstance(event, ev.Instructed) for event in open_to_group.journal())
    assert '"reply":"health"' in said
    assert "you may read here; this needs the right to operate" in said
    assert '"you_may":["read"]' in said


def test_an_early_signal_ends_it_in_order_as_well() -> None:
    with service() as running:
        process = running.start(wait=False)
        until((running.state / "journal.sqlite").exists)
        process.terminate()
        process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0


# --- the model's world ------------------------------------------------------------------------------------------------


class Time:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def world(time: Time, *acts: UnitHit) -> ModelWorld:
    def hours(hour: int) -> Script:
        return () if hour else acts

    return ModelWorld(Play(model_world.nothing().scenario, hours), DEFAULT, seed=1, boot=7, now_s=time)


def pass_time(of: ModelWorld, time: Time, seconds: float) -> None:
    time.now_s += seconds
    while of.go_on():
        pass


def test_the_host_keeps_the_time_of_the_wall_clock() -> None:
    time = Time()
    host = world(time)
    for seconds in (0.5, 0.001, 3.0):
        pass_time(host, time, seconds)
    assert host.host.now_ms() == 3_501


def test_a_process_that_was_stopped_for_an_hour_catches_up_a_bounded_time() -> None:
    time = Time()
    host = world(time)
    pass_time(host, time, 3_600)
    assert host.host.now_ms() == model_world.CATCH_UP_MS
    pass_time(host, time, 1)
    assert host.host.now_ms() == model_world.CATCH_UP_MS + 1_000


def test_a_host_that_halts_is_reset_into_its_next_boot_and_its_guests_run_again() -> None:
    time = Time()
    host = world(time, UnitHit(at_ms=1_000, unit=Unit.CONTEXT))
    before = {each.name for each in host.host.situation(None).domains if each.lives}
    pass_time(host, time, 5)
    assert host.reset_ms is not None
    pass_time(host, time, model_world.RESET_MS / 1000)
    assert host.reset_ms is None
    assert host.host.boot == 8
    assert {each.name for each in host.host.situation(None).domains if each.lives} == before
    assert host.host.situation(None).dom0.has_handler


def test_nothing_is_waited_for_longer_than_something_is_due() -> None:
    time = Time()
    host = world(time, UnitHit(at_ms=100, unit=Unit.CONTEXT))
    assert host.wait_s(None) == pytest.approx(0.1)
    assert host.wait_s(40) == pytest.approx(0.04)
    assert host.wait_s(-5) == 0
