"""The systemd unit that is shipped starts what there is, and lets it do no more than it needs."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from click import Option

from ringfence.cli.run import EXIT_UNREADABLE, run_command
from ringfence.service.process import STOPPING_S
from ringfence.service.sources.tracefs import TracefsSource

UNIT = Path(__file__).resolve().parents[2] / "packaging" / "ringfence.service"


def settings(file: Path = UNIT) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in file.read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            found.setdefault(name, []).append(value)
    return found


def test_it_starts_the_service_with_options_that_there_are() -> None:
    (start,) = settings()["ExecStart"]
    program, command, *arguments = start.split()
    known = {name for each in run_command.params if isinstance(each, Option) for name in each.opts}
    assert (program, command) == ("/usr/bin/ringfence", "run")
    assert {each for each in arguments if each.startswith("--")} <= known


def test_what_starting_again_cannot_mend_is_not_started_again() -> None:
    found = settings()
    assert found["Restart"] == ["on-failure"]
    assert found["RestartPreventExitStatus"] == [str(EXIT_UNREADABLE)]
    assert float(found["TimeoutStopSec"][0]) > STOPPING_S


def test_it_runs_without_root_and_without_capabilities() -> None:
    found = settings()
    assert found["User"] == ["ringfence"]
    assert found["CapabilityBoundingSet"] == [""]
    assert found["NoNewPrivileges"] == ["yes"]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
def test_systemd_finds_little_that_it_could_still_be_kept_from(tmp_path: Path) -> None:
    alone = tmp_path / UNIT.name
    alone.write_text(UNIT.read_text())  # beside it lie the drop-ins, which open more
    command = ["systemd-analyze", "security", "--offline=true", "--json=short", str(alone)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"HOME": str(tmp_path)})
    if done.returncode != 0 and "unrecognized option" in done.stderr:
        pytest.skip("this systemd cannot look at a unit that is not installed")
    exposed = [each["description"] for each in json.loads(done.stdout) if float(each["exposure"] or 0) > 0.2]
    assert exposed == []


# --- this machine's own evidence --------------------------------------------------------------------------------------

HOST = UNIT.with_name("ringfence.service.d") / "host.conf"


def test_following_the_host_adds_one_capability_one_device_and_no_process_of_root() -> None:
    found = settings(HOST)
    assert found["CapabilityBoundingSet"] == found["AmbientCapabilities"] == ["CAP_SYSLOG"]
    assert found["DeviceAllow"] == ["/dev/kmsg r"] and found["DevicePolicy"] == ["closed"]
    assert "User" not in found and "ExecStart" not in found
    # Each ends by itself before the service starts, and one that fails holds nothing up.
    assert all(each.startswith("+-/bin/") for each in found["ExecStartPre"])
    assert {each.split()[0] for each in found["ExecStartPre"]} == {
        "+-/bin/mkdir",
        "+-/bin/chmod",
        "+-/bin/chown",
        "+-/bin/cp",
    }
    assert f"instances/{TracefsSource().instance}" in found["ReadWritePaths"][0]


# --- where it acts ----------------------------------------------------------------------------------------------------


def test_on_kvm_root_keeps_the_rights_that_each_have_a_reason_beside_them_and_no_other() -> None:
    path = HOST.with_name("kvm.conf")
    (kept,) = settings(path)["CapabilityBoundingSet"]
    reasons = [line.split()[1] for line in path.read_text().splitlines() if line.startswith("# CAP_")]
    assert kept.split() == reasons
    assert settings(path)["DeviceAllow"] == ["/dev/kmsg rw"] and settings(path)["DevicePolicy"] == ["closed"]


def test_in_dom0_what_was_started_for_a_guest_outlives_the_service() -> None:
    """Of a restored guest, QEMU and xl are children of the unit: systemd's default would end them with it."""
    assert settings(HOST.with_name("xen.conf"))["KillMode"] == ["process"]
    assert "KillMode" not in settings()


# --- as systemd reads them --------------------------------------------------------------------------------------------

DROP_INS = tuple(sorted(HOST.parent.iterdir()))


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not here")
@pytest.mark.parametrize(
    ("name", "drop_ins"),
    [
        ("ringfence.service", ()),
        ("ringfence.service", DROP_INS),
        *(("ringfence.service", (each,)) for each in DROP_INS),
        ("ringfence-guest.service", ()),
    ],
)
def test_systemd_has_nothing_to_say_against_a_unit_with_its_drop_ins(
    name: str, drop_ins: tuple[Path, ...], tmp_path: Path
) -> None:
    # The program need not be installed here.
    unit = tmp_path / name
    unit.write_text(UNIT.with_name(name).read_text().replace("/usr/bin/ringfence", "/bin/true"))
    (tmp_path / f"{name}.d").mkdir()
    for each in drop_ins:
        (tmp_path / f"{name}.d" / each.name).write_text(each.read_text())
    command = ["systemd-analyze", "verify", "--man=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"HOME": str(tmp_path)})
    # What is said of this machine's own units is not ours.
    assert [line for line in done.stderr.splitlines() if "ringfence" in line or ".conf" in line] == []


@pytest.mark.skipif(shutil.which("systemd-sysusers") is None, reason="systemd-sysusers is not here")
def test_systemd_would_make_the_user() -> None:
    done = subprocess.run(
        ["systemd-sysusers", "--dry-run", str(UNIT.with_name("ringfence.sysusers"))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
