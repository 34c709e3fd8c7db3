"""``ringfence doctor``: every check is provoked, on values and on a machine of files; a sound machine is well."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from ringfence import __version__
from ringfence.journal import events as ev
from ringfence.journal.store import Journal
from ringfence.service import control_protocol as say
from ringfence.service.configuration.file import read
from ringfence.service.doctor import BY_ID, CHECKS, examined, is_well
from ringfence.service.doctor_facts import (
    Facts,
    JournalFact,
    Secret,
    SourceFact,
    StateDirectory,
    gather,
)
from ringfence.service.doctor_findings import Severity
from ringfence.service.kvm_facts import KvmFacts
from ringfence.service.others import Fact
from ringfence.service.sources.host_facts import HostFiles
from ringfence.service.sources.interrupt_throttle import throttle
from ringfence.service.sources.source import Availability, Presence
from ringfence.service.xen_facts import XenFacts
from tests.service.processes import PATIENCE_S, RINGFENCE, service

HEALTH = say.Health(
    service_version=__version__, pid=1, life=1, boot="1", hypervisor="Xen 4.20", started_wall_ms=0, now_ms=0,
    halted=False, dom0="able", state_dir="/s", policy="default", policy_digest="", policy_problem="", open_cases=0,
    approvals=0, orders=0, domains=1, journal_events=1, received=0, unrecognised=0, lost_urgent=0, lost_nonurgent=0,
    unwritten=0, unkept=0, clients=1, slow_readers=0, turned_away=0, bad_lines=0,
)  # fmt: skip

UNIT: Mapping[str, str] = {"WatchdogSec": "30", "Restart": "on-failure"}
THERE = Availability(Presence.PRESENT, "it can be read")
GONE = Availability(Presence.FORBIDDEN, "/dev/kmsg: Permission denied", "Give the service CAP_SYSLOG.")

SOUND = Facts(
    state_dir=Path("/s"),
    runs="Xen's Dom0",
    configuration=read(b"").configuration,
    configuration_path=Path("/etc/ringfence/ringfence.toml"),
    configuration_mode=0o644,
    health=HEALTH,
    unit=UNIT,
    state=StateDirectory(0o750, 1 << 30, "ext4"),
    journal=JournalFact(),
    secrets=(Secret("the tokens", "/s/tokens.json", 0o600),),
    sources=(SourceFact("kmsg", THERE, expected=True),),
    machine_check={"check_interval": "300", "ignore_ce": "0", "cmci_disabled": "0", "dont_log_ce": "0"},
    edac_controllers=2,
    pstore_backend="erst",
    pstore_records=0,
    crash_kernel=True,
    keeps_time=True,
    lockdown="none",
)


def found(facts: Facts) -> dict[str, list[Severity]]:
    return {each.check.id: [one.severity for one in each.findings] for each in examined(facts) if each.findings}


def configured(text: str) -> Facts:
    return replace(SOUND, configuration=read(text.encode()).configuration)


def test_a_sound_machine_is_well() -> None:
    assert found(SOUND) == {"hypervisor": [Severity.NOTE]}
    assert is_well(examined(SOUND))


W, B, N = Severity.WARNING, Severity.WRONG, Severity.NOTE
HTTP = "[http]\nenabled = true\n"
TLS = 'listen = ["0.0.0.0:8473"]\ncertificate = "c"\nkey = "k"\n'
HOST = "[sources]\nhost = true\n"

UNWELL: list[tuple[str, Facts, list[Severity]]] = [
    ("versions", replace(SOUND, python=(3, 10, 1)), [B]),
    ("versions", replace(SOUND, sqlite=(3, 37, 2)), [B]),
    ("configuration", replace(SOUND, configuration_problems=("c.toml:1: x: there is no such key",)), [B]),
    ("configuration", replace(SOUND, unknown_names=("group x",)), [W]),
    ("configuration", replace(SOUND, configuration_mode=0o666), [B]),
    ("service", replace(SOUND, health=None, why_no_health="no such file"), [B]),
    ("unit", replace(SOUND, unit=None), [N]),
    ("unit", replace(SOUND, unit={"Restart": "on-failure"}), [W]),
    ("unit", replace(SOUND, unit={"WatchdogSec": "30"}), [W]),
    ("unit", replace(configured(HTTP), unit={**UNIT, "PrivateNetwork": "yes"}), [B]),
    ("unit", replace(configured(HTTP), unit={**UNIT, "RestrictAddressFamilies": "AF_UNIX"}), [B]),
    ("unit", replace(configured(HTTP), unit={**UNIT, "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6"}), []),
    ("unit", replace(configured(HOST), unit={**UNIT, "ProtectKernelLogs": "yes"}), [B]),
    ("unit", replace(configured(HOST), unit={**UNIT, "ProtectKernelTunables": "true"}), [B]),
    ("state", replace(SOUND, state=None), [W]),
    ("state", replace(SOUND, state=StateDirectory(0o777, 1 << 30, "ext4")), [B]),
    ("state", replace(SOUND, state=StateDirectory(0o750, 1 << 20, "ext4")), [B]),
    ("state", replace(SOUND, state=StateDirectory(0o750, 1 << 30, "nfs4")), [B]),
    ("state", replace(SOUND, state=StateDirectory(0o750, 1 << 30, "tmpfs")), [W]),
    ("journal", replace(SOUND, journal=JournalFact("event 7 is damaged", "Salvage it.")), [B]),
    ("journal", replace(SOUND, journal=JournalFact(has_reserve=False)), [W]),
    ("secrets", replace(SOUND, secrets=(Secret("the tokens", "/s/tokens.json", 0o640),)), [B]),
    ("secrets", replace(SOUND, secrets=(Secret("[http] key", "/k", problem="No such file"),)), [B]),
    ("http", configured(HTTP), []),
    ("http", configured(HTTP + TLS), [N]),
    ("sources", replace(SOUND, sources=(SourceFact("kmsg", GONE, expected=True),)), [B, B]),
    ("sources", replace(SOUND, sources=(SourceFact("kmsg", THERE), SourceFact("edac", GONE))), [N]),
    ("others", replace(SOUND, others=(Fact("it takes pages", "its file", "Let one do it.", clashes=True),)), [W]),
    ("others", replace(SOUND, others=(Fact("rasdaemon runs", "/proc/1/comm"),)), [N]),
    ("polling", replace(SOUND, machine_check={"ignore_ce": "1"}), [W]),
    ("polling", replace(SOUND, machine_check={"check_interval": "0", "cmci_disabled": "1"}), [N, W]),
    ("polling", replace(SOUND, machine_check={"dont_log_ce": "1"}), [W]),
    ("polling", replace(SOUND, machine_check={}), [N]),
    ("throttle", replace(SOUND, throttle=throttle(HostFiles(Path("/nonexistent")))), [N]),
    ("edac", replace(configured(HOST), edac_controllers=0), [W]),
    ("pstore", replace(SOUND, pstore_backend=""), [N]),
    ("pstore", replace(SOUND, pstore_records=64), [W]),
    ("kdump", replace(SOUND, crash_kernel=False), [N]),
    ("kdump", replace(SOUND, crash_kernel=None), [N]),
    ("clock", replace(SOUND, keeps_time=False), [W]),
    ("lockdown", replace(SOUND, lockdown="integrity"), [N]),
    ("xen", replace(SOUND, xen=XenFacts(version="4.20.1", guest_type="PV")), [B, N, N]),
    ("kvm", replace(SOUND, kvm=KvmFacts(offlines=False)), [N, B, N, N]),
]


@pytest.mark.parametrize(("check", "facts", "severities"), UNWELL)
def test_what_is_wrong_is_found(check: str, facts: Facts, severities: list[Severity]) -> None:
    findings = [one for each in examined(facts) if each.check.id == check for one in each.findings]
    assert [one.severity for one in findings] == severities
    assert is_well(examined(facts)) is all(each is N for each in severities)
    for one in findings:
        assert one.severity is N or one.means or one.advice


def test_every_check_is_provoked_and_has_a_name_of_its_own() -> None:
    assert len(BY_ID) == len(CHECKS)
    assert {check for check, _, severities in UNWELL if severities} | {"hypervisor"} == set(BY_ID)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("service_version", "the service is version 0.0"),
        ("problems", "the disk is full"),
        ("at_restart", "http.enabled: changed in the configuration"),
    ],
)
def test_what_the_service_says_of_itself_is_told(text: str, said: str) -> None:
    values = {"service_version": "0.0", "problems": ("the disk is full",), "at_restart": ("http.enabled",)}
    health = msgspec.structs.replace(HEALTH, **{text: values[text]})
    checked = examined(replace(SOUND, health=health))
    (finding,) = [one for each in checked if each.check.id == "service" for one in each.findings]
    assert finding.text.startswith(said)
    assert finding.severity is not N


# --- a machine of files -----------------------------------------------------------------------------------------------


def put(root: Path, **files: str) -> None:
    for path, text in files.items():
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


def machine(tmp_path: Path, text: str = "", **files: str) -> Facts:
    root = tmp_path / "root"
    config, state = tmp_path / "c.toml", tmp_path / "state"
    state.mkdir(exist_ok=True)
    config.write_text(text)
    put(root, **{"proc/1/comm": "systemd\n", **files})
    return gather(root=root, state_dir=state, journal=state / "journal.sqlite", socket=tmp_path / "none", config=config)


def test_facts_are_read_from_the_machines_files(tmp_path: Path) -> None:
    facts = machine(
        tmp_path,
        **{
            "proc/7/comm": "chronyd\n",
            "proc/self/mounts": f"/dev/sda1 / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\n",
            "sys/devices/system/machinecheck/machinecheck0/ignore_ce": "1\n",
            "sys/devices/system/edac/mc/mc0/mc_name": "skx\n",
            "sys/module/pstore/parameters/backend": "(null)\n",
            "sys/fs/pstore/dmesg-erst-1": "x",
            "sys/kernel/kexec_crash_loaded": "0\n",
            "sys/kernel/security/lockdown": "none [integrity] confidentiality\n",
            "usr/lib/systemd/system/ringfence.service": "[Service]\n# x=y\nWatchdogSec=30\nPrivateNetwork=yes\n",
            "etc/systemd/system/ringfence.service.d/net.conf": "[Service]\nPrivateNetwork=no\n",
        },
    )
    assert facts.keeps_time is True
    assert facts.state is not None
    assert facts.state.filesystem == "nfs4"
    assert facts.machine_check == {"ignore_ce": "1"}
    assert (facts.edac_controllers, facts.pstore_backend, facts.pstore_records) == (1, "", 1)
    assert facts.crash_kernel is False
    assert facts.lockdown == "integrity"
    assert facts.unit == {"WatchdogSec": "30", "PrivateNetwork": "no"}
    assert facts.health is None
    assert "none" in facts.why_no_health


def test_an_empty_machine_has_no_facts_and_nothing_breaks(tmp_path: Path) -> None:
    facts = gather(
        root=tmp_path / "nothing", state_dir=tmp_path / "no", journal=tmp_path / "no", socket=tmp_path / "no",
        config=tmp_path / "no",
    )  # fmt: skip
    assert facts.keeps_time is None
    assert facts.state is None
    assert facts.unit is None
    assert not is_well(examined(facts))


def test_secrets_are_looked_at_where_the_configuration_names_them(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2\n")
    secret.chmod(0o644)
    facts = machine(tmp_path, f'[[webhook]]\nname = "a"\nurl = "https://x.example"\nsecret-file = "{secret}"\n')
    assert facts.secrets == (Secret("the secret of webhook a", str(secret), 0o644),)
    assert [one.severity for each in examined(facts) if each.check.id == "secrets" for one in each.findings] == [B]


def test_a_bad_configuration_is_told_line_by_line(tmp_path: Path) -> None:
    facts = machine(tmp_path, "x = 1\n[http]\nenabled = 3\n")
    assert [each.split(":")[1] for each in facts.configuration_problems] == ["1", "3"]


def test_a_damaged_journal_is_found(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    path = tmp_path / "state" / "journal.sqlite"
    with Journal(path, fsync=False) as journal:
        journal.append(*(ev.Stopped(at_ms=each, because=f"stop {each}") for each in range(10)))
    assert machine(tmp_path).journal == JournalFact()
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER no_update")
        connection.execute("UPDATE event SET text = replace(text, 'stop 5', 'stop 6') WHERE number = 6")
    connection.close()
    (path.parent / "journal.sqlite.reserve").unlink()
    found_now = machine(tmp_path).journal
    assert found_now is not None
    assert found_now.problem
    assert not found_now.has_reserve


def test_the_command_says_it_of_a_running_service_and_leaves_with_one_if_something_is_wrong(tmp_path: Path) -> None:
    with service() as running:
        running.start()
        command = [str(RINGFENCE), "doctor", "--state-dir", str(running.state), "--socket", str(running.socket)]
        env = {**os.environ, "XDG_CONFIG_HOME": str(tmp_path)}
        plain = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S, env=env)
        as_json = subprocess.run(
            [*command, "--json"], capture_output=True, text=True, check=False, timeout=PATIENCE_S, env=env
        )
        running.end()
        gone = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S, env=env)
    said = json.loads(as_json.stdout)
    assert {each["id"] for each in said["checks"]} == set(BY_ID)
    assert plain.returncode == as_json.returncode == (0 if said["well"] else 1)
    of_service = next(each for each in said["checks"] if each["id"] == "service")
    assert not [each for each in of_service["findings"] if each["severity"] != "note"]
    assert gone.returncode == 1
    assert gone.stdout.startswith("wrong    service: the service does not answer")
    assert f"{len(CHECKS)} checks:" in plain.stdout
