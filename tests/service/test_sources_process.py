"""``ringfence run`` with sources: real files, sockets and kills."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from ringfence import api
from ringfence.cli.run import run_command
from ringfence.journal import events as ev
from ringfence.record.binary.struct_mce import StructMce
from ringfence.record.evidence import Unrecognised
from ringfence.service.policy_source import loaded
from tests.service.processes import RINGFENCE, Service, service, until

CE = """mce: [Hardware Error]: Machine check events logged
mce: [Hardware Error]: CPU 3: Machine Check: 0 Bank 7: 8c00004000010090
mce: [Hardware Error]: TSC {tsc:x} ADDR {address:x} MISC 86
mce: [Hardware Error]: PROCESSOR 0:50654 TIME {time} SOCKET 0 APIC 6 microcode 2000064
"""
"""A corrected error as Linux prints it; the bank gives the page."""

SRAR = """mce: [Hardware Error]: CPU 2: Machine Check Exception: f Bank 1: bd80000000100134
mce: [Hardware Error]: RIP 33:<0000000000401000>
mce: [Hardware Error]: TSC 63d3fa6181b69 ADDR 12345400 MISC 86
mce: [Hardware Error]: PROCESSOR 0:606a6 TIME 1647365323 SOCKET 1 APIC 8d microcode d0002e0
"""


def corrected(number: int, page: int) -> str:
    return CE.format(tsc=1000 + number, address=page << 12, time=1_700_000_000 + 10 * number)


def add(path: Path, text: str) -> None:
    with path.open("a") as log:
        log.write(text)


def received(running: Service) -> list[ev.Received]:
    return [event for event in running.journal() if isinstance(event, ev.Received)]


def noted(running: Service, source: str) -> str:
    found = (note for note in running.health().notes if note.startswith(f"source {source}: "))
    return next(found, "")


def test_a_model_that_stands_in_for_a_machine_goes_by_the_default_policy_from_the_start(tmp_path: Path) -> None:
    with service("--source", f"file:{tmp_path / 'kern.log'}") as running:
        running.start()
        assert running.health().policy_digest == loaded(None).digest


def test_a_log_that_grows_and_is_rotated_over_a_kill_is_counted_as_decode_counts_it(tmp_path: Path) -> None:
    log = tmp_path / "kern.log"
    with service("--source", f"file:{log}") as running:
        running.start()
        for number in range(12):
            add(log, corrected(number, page=number % 4))
            if number == 3:
                until(lambda: len(received(running)) == 4)
                running.end(signal.SIGKILL)
            if number == 5:
                log.rename(tmp_path / "kern.log.1")
        running.start()
        until(lambda: len(received(running)) >= 12)
        health, stored = running.health(), received(running)
    whole = [*api.findings(str(tmp_path / "kern.log.1")), *api.findings(str(log))]
    assert health.received == len(whole) == 12
    assert (health.unrecognised, health.lost_nonurgent, health.also_seen) == (0, 0, 0)
    assert not any(isinstance(event, Unrecognised) for event in whole)
    assert {event.record.registers.tsc for event in stored} == {1000 + number for number in range(12)}


def test_what_is_sent_to_a_socket_passes_through_the_whole_concept_and_status_says_on_what(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with service("--source", f"socket:{path}") as running:
        running.start()
        with socket.socket(socket.AF_UNIX) as sender:
            # It is in the file system a moment before anybody listens.
            until(lambda: sender.connect_ex(str(path)) == 0)
            sender.sendall(b"lines\n" + SRAR.encode())
            closed = until(lambda: [each for each in running.journal() if isinstance(each, ev.Closed)])
        until(lambda: "1 item since the start" in noted(running, f"socket:{path}"))
        health = running.health()
        shown = subprocess.run(
            [str(RINGFENCE), "status", "--socket", str(running.socket)], capture_output=True, text=True, check=True
        ).stdout
        (event,) = received(running)
    assert (event.source, event.urgent, event.severity) == (f"socket:{path}", True, "SRAR")
    assert [entry.domain is not None for entry in closed[0].outcome].count(True) == 1
    assert "standing in for this machine: nothing is carried out on it" in health.hypervisor
    assert "standing in for this machine: nothing is carried out on it" in shown
    assert f"source socket:{path}" in shown and "1 item since the start" in shown


def test_what_an_earlier_boot_left_is_history_over_any_number_of_starts(tmp_path: Path) -> None:
    pstore = tmp_path / "pstore"
    pstore.mkdir()
    mce = StructMce(status=0xBD80000000100134, misc=0x86, addr=0x12345400, mcgstatus=5, bank=1, cpuid=0x606A6, tsc=77)
    (pstore / "mce-erst-1").write_bytes(mce.pack(128))
    nowhere = tmp_path / "nowhere"
    (tmp_path / "ringfence.toml").write_text(
        "[sources]\nhost = true\nbert = false\nrasdaemon = false\ntracefs = false\nedac = false\n"
        f'pstore-path = "{pstore}"\nkernel-log-path = "{nowhere}"\n'
    )
    with service("--config", str(tmp_path / "ringfence.toml")) as running:
        running.start()
        until(lambda: received(running))
        running.end(signal.SIGKILL)
        running.start()
        until(lambda: noted(running, "pstore"))
        said = until(lambda: [each for each in running.health().problems if "source kmsg" in each])
        (event,), closed = received(running), [each for each in running.journal() if isinstance(each, ev.Closed)]
        assert not running.health().halted
    assert event.left_over and event.sink == "pstore"
    assert [each.outcome[0].state for each in closed] == ["halted"]
    assert "No such file or directory" in said[0] and "CONFIG_PRINTK" in said[0]
    assert (pstore / "mce-erst-1").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--source", "disk:/x"), "Sources are host, none, file:PATH"),
        (("--source", "file:"), "this is no source"),
        (("--scenario", "demo", "--source", "file:/x"), "Leave --scenario out"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_what_can(
    arguments: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = CliRunner().invoke(run_command, ["--hypervisor", "model", "--state-dir", str(tmp_path), *arguments])
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_a_pipe_is_named_and_does_not_hold_up_a_log(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    add(tmp_path / "log", corrected(1, page=1))
    with service("--source", f"file:{tmp_path / 'pipe'}", "--source", f"file:{tmp_path / 'log'}") as running:
        running.start()
        until(lambda: received(running))
        (said,) = until(lambda: list(running.health().problems))
    assert "is no regular file" in said and "socket:PATH" in said


def test_auto_says_what_was_found_what_it_runs_on_and_why(tmp_path: Path) -> None:
    with service("--hypervisor", "auto", "--source", "none") as running:
        running.start()
        assert not running.health().notes
        _, said = running.end()
    assert "it runs on the model host, which stands in for this machine" in said
