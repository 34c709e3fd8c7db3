"""``ringfence doctor`` on a Xen: each finding is provoked; what was seen counts more than a version's number."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ringfence.errors import HypervisorError
from ringfence.hypervisor.xen.event_channel import EventChannel, VirqTakenError, is_taken
from ringfence.hypervisor.xen.releases import parsed, scan_is_broken, version
from ringfence.journal import events as ev
from ringfence.record.evidence import Delivery, Format, Origin, Record, Registers
from ringfence.service.doctor import examined
from ringfence.service.doctor_facts import Facts, JournalFact
from ringfence.service.doctor_findings import Finding, Severity
from ringfence.service.sources.host_facts import HostFiles
from ringfence.service.xen_facts import XenFacts, scans_seen, silent_checks, unheard, xen_facts
from tests.service.test_doctor import SOUND

GOOD = XenFacts(version="4.20.3", guest_type="PV", vendor="GenuineIntel", command_line="dom0_mem=512M", console="")


def on(xen: XenFacts, **more: object) -> list[Finding]:
    facts: Facts = replace(SOUND, xen=xen, **more)  # type: ignore[arg-type]  # fields of Facts, by name
    (checked,) = [each for each in examined(facts) if each.check.id == "xen"]
    return list(checked.findings)


def of(findings: list[Finding], severity: Severity) -> list[Finding]:
    return [each for each in findings if each.severity is severity]


def test_without_a_xen_nothing_is_said_of_one() -> None:
    (checked,) = [each for each in examined(SOUND) if each.check.id == "xen"]
    assert checked.findings == ()


def test_a_sound_xen_has_notes_alone_and_each_says_what_it_means() -> None:
    findings = on(GOOD)
    assert {each.severity for each in findings} == {Severity.NOTE}
    assert [each.text.partition(":")[0] for each in findings] == [
        "what Xen drops for want of room in its queues (30 records, 20 of them for corrected errors) it tells nobody",
        "an uncorrected error in a PV guest's page ends the guest",
    ]
    assert all(each.means for each in findings)


BROKEN = [f"4.{minor}.{patch}" for minor in range(13, 19) for patch in (0, 7)] + [
    "4.19.0", "4.19.3", "4.20.0", "4.20.1", "4.17.7-pre", "4.18-unstable",
]  # fmt: skip
SOUND_RELEASES = ["4.12.4", "4.19.4", "4.19.6", "4.20.2", "4.20.4", "4.21.0", "4.21-rc1", "4.22.0", "5.0.0"]


@pytest.mark.parametrize("text", BROKEN)
def test_releases_that_read_no_bank_are_known(text: str) -> None:
    known = parsed(text)
    assert known is not None
    assert scan_is_broken(known)


@pytest.mark.parametrize("text", SOUND_RELEASES)
def test_releases_that_read_their_banks_are_not_accused(text: str) -> None:
    known = parsed(text)
    assert known is not None
    assert not scan_is_broken(known)


def test_broken_scanning_by_its_version_is_wrong_and_says_that_it_cannot_be_seen_beforehand() -> None:
    (finding,) = of(on(replace(GOOD, version="4.20.1")), Severity.WRONG)
    assert "reads no bank at a machine check" in finding.text
    assert "cannot be seen before the first machine check" in finding.means
    assert "4.19.4, 4.20.2, 4.21" in finding.advice


def test_a_record_of_a_bank_acquits_a_version_with_a_backport() -> None:
    findings = on(replace(GOOD, version="4.17.7"), journal=JournalFact(xen_scans=True))
    assert not of(findings, Severity.WRONG)
    assert any("the fix is in it" in each.text for each in findings)


SILENT = "(XEN) CPU0 enter softirq\n(XEN) CPU1 enter softirq\n(XEN) CPU1 handling errors\n"


def test_machine_checks_without_a_word_of_a_bank_convict_any_version() -> None:
    (finding,) = of(on(replace(GOOD, console=SILENT)), Severity.WRONG)
    assert "read no bank" in finding.text
    assert "Xen's console" in finding.evidence


@pytest.mark.parametrize(
    "also",
    [
        "(XEN) Bank 5: bd000000000000c0[              8c] at         12345000\n",
        "(XEN) MCE: Enter UCR recovery action\n",
        "(XEN) MCE: This error page is ownded by DOM 3\n",
    ],
)
def test_where_a_bank_was_named_nothing_is_silent(also: str) -> None:
    assert silent_checks(SILENT) == 1
    assert silent_checks(SILENT + also) == 0


def test_corrected_errors_that_only_the_console_was_told_of_are_counted() -> None:
    said = "(XEN) POLLED occurred on CPU 0.\n(XEN) Bank 4: 9c00004000010090\n(XEN) CMCI occurred on CPU 1.\n"
    assert unheard(said) == 2
    assert any("2 corrected errors" in each.text for each in on(replace(GOOD, console=said)))


@pytest.mark.parametrize(
    ("xen", "severity", "says"),
    [
        (replace(GOOD, guest_type="PVH"), Severity.WRONG, "only a PV Dom0"),
        (replace(GOOD, command_line="x mce=0"), Severity.WRONG, "switched off"),
        (replace(GOOD, command_line="noreboot"), Severity.NOTE, "noreboot"),
        (replace(GOOD, vendor="AuthenticAMD"), Severity.NOTE, "recovers from nothing"),
        (replace(GOOD, version="4.21.0"), Severity.NOTE, "was never run"),
        (replace(GOOD, version="4.23.0"), Severity.WARNING, "not one of those whose interfaces are known"),
        (replace(GOOD, version="4.16.3"), Severity.WARNING, "not one of those whose interfaces are known"),
        (replace(GOOD, version="of an unknown version"), Severity.NOTE, "cannot be told"),
    ],
)
def test_each_thing_that_a_xen_keeps_back_is_said(xen: XenFacts, severity: Severity, says: str) -> None:
    assert any(says in each.text for each in of(on(xen), severity))


def test_a_kernel_that_has_the_telemetry_is_told_while_the_service_is_down_with_what_is_lost() -> None:
    taken = replace(GOOD, virq_is_taken=True)
    (finding,) = of(on(taken, health=None), Severity.WARNING)
    assert "initcall_blacklist=xen_late_init_mcelog" in finding.advice
    assert "not whose page it was" in finding.means
    assert not of(on(taken), Severity.WARNING), "the service has it itself"


# --- gathering


def machine(root: Path, **files: str) -> HostFiles:
    for name, text in {"proc/xen/privcmd": "", **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return HostFiles(root)


def test_what_dom0s_files_say_of_its_xen(tmp_path: Path) -> None:
    files: Mapping[str, str] = {
        "sys/hypervisor/version/major": "4\n", "sys/hypervisor/version/minor": "20\n",
        "sys/hypervisor/version/extra": ".3-pre\n", "sys/hypervisor/guest_type": "PV\n",
        "proc/cpuinfo": "processor\t: 0\nvendor_id\t: AuthenticAMD\n",
    }  # fmt: skip
    found = xen_facts(machine(tmp_path, **files))
    assert found == XenFacts(version="4.20.3-pre", guest_type="PV", vendor="AuthenticAMD")


@pytest.mark.parametrize(("shadow", "said"), [(None, 0), (True, 0), (False, 1)])
def test_a_xen_that_cannot_move_pv_guests_is_named(shadow: bool | None, said: int) -> None:
    notes = [each for each in on(replace(GOOD, has_shadow=shadow)) if "built without shadow paging" in each.text]
    assert len(notes) == said


def test_where_there_is_no_dom0_there_is_no_xen(tmp_path: Path) -> None:
    assert xen_facts(HostFiles(tmp_path)) is None


def test_a_xen_that_does_not_tell_its_version_has_none(tmp_path: Path) -> None:
    assert parsed(version(tmp_path)) is None


def received(delivery: Delivery, form: Format = Format.XEN_MC_INFO) -> ev.Received:
    record = Record(
        format=form, origin=Origin("x"), raw=b"", bank=1, delivery=delivery, registers=Registers(status=1 << 63)
    )
    return ev.Received(at_ms=0, record=record, severity="corrected", summary="x", token=None, case=None, urgent=False)


def started() -> ev.Started:
    return ev.Started(at_ms=0, life=1, version="1", hypervisor="Xen 4.20.3", boot="1")


@pytest.mark.parametrize(
    ("events", "seen"),
    [
        ([received(Delivery.MACHINE_CHECK)], True),
        ([received(Delivery.POLLED)], True),
        ([received(Delivery.CMCI)], False),
        ([received(Delivery.MACHINE_CHECK, Format.STRUCT_MCE)], False),
        ([received(Delivery.MACHINE_CHECK), started()], False),
        ([started(), received(Delivery.POLLED), received(Delivery.CMCI)], True),
    ],
)
def test_only_a_scan_of_this_xens_shows_that_it_scans(events: list[ev.Stored], seen: bool) -> None:
    """A CMCI is read with another mask of banks (mce_banks_owned), which was never broken."""
    found = False
    for each in events:
        found = scans_seen(each, before=found)
    assert found is seen


def test_a_device_that_is_no_event_channel_says_so_and_nothing_is_taken(tmp_path: Path) -> None:
    with pytest.raises(HypervisorError) as caught:
        EventChannel(16, tmp_path / "none")
    assert not isinstance(caught.value, VirqTakenError)
    assert not is_taken(16, Path(os.devnull))
