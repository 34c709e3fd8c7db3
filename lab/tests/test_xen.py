"""Real Xen 4.20: what its telemetry says is understood, whom it hit is seen, and what is left to Dom0 is done."""

from __future__ import annotations

from lab.tests.conftest import XenLab
from lab.xen import dom0 as xen

CE = 0x9C00004000010090
SRAO = 0xBD000000000000C0
PHYSICAL_LINE, PHYSICAL_PAGE = 0x86, 0x8C


def test_the_host_is_xen_and_its_domains_are_known(xen_lab: XenLab) -> None:
    (status,) = xen.ask(xen_lab.dom0, "status")
    assert str(status["hypervisor"]).startswith("Xen 4.20")
    (listed,) = xen.ask(xen_lab.dom0, "domains")
    lines = {each["name"]: each for each in listed["domains"]}
    assert lines["Domain-0"]["kind"] == "Dom0"
    assert lines["pv1"]["kind"] == "PV"
    assert lines["pv1"]["domain"] == xen_lab.guest.number


def test_a_corrected_error_in_a_guests_page_is_counted_and_nothing_is_done(xen_lab: XenLab) -> None:
    """I.2a: by Xen's poll, in the nonurgent queue, with the guest as the owner of the page."""
    last, frame = xen_lab.last, xen_lab.frames[20]
    xen_lab.machine.machine_check(0, 4, CE, 0, frame << 12, PHYSICAL_LINE)
    found = xen_lab.until(last, "Corrected error")
    assert [each["row"] for each in found if each["kind"] == "Received"] == ["I.2a"]
    assert not [each for each in found if each["kind"] in {"Decided", "Intended"}]


def test_an_error_in_a_free_page_is_nobodys_loss(xen_lab: XenLab) -> None:
    """I.2n: Xen has taken the page out; Ringfence sees that it has, and asks for it no second time."""
    last = xen_lab.last
    free = next(
        each for each in range(0x40000, 0x5F000, 0x1000) if all(abs(each - one) > 0x800 for one in xen_lab.frames)
    )
    before = xen_lab.machine.length()
    xen_lab.machine.machine_check(0, 5, SRAO, 5, free << 12, PHYSICAL_PAGE, broadcast=True)
    found = xen_lab.until(last, "taken it out of use already")
    rows = [each["row"] for each in found if each["kind"] == "Decided"]
    assert rows == ["I.2n"]
    assert "crashed" not in xen_lab.machine.said(after=before)
    xen_lab.until(last, "the host: taken out by I.2n")


def test_the_artifact_of_a_broadcast_is_no_error(xen_lab: XenLab) -> None:
    """QEMU puts a status of its own into the banks of the other CPUs: it is said to be no hardware error."""
    assert any("No hardware error" in str(each["text"]) for each in xen.events(xen_lab.dom0))


def test_a_page_that_errs_again_and_again_is_taken_out_ahead_of_the_next_error(xen_lab: XenLab) -> None:
    """II.1: ten corrected errors on one page of a guest; the page waits for its owner to let it go (L3)."""
    last, frame = xen_lab.last, xen_lab.frames[50]
    for _ in range(10):
        start = xen_lab.last
        xen_lab.machine.machine_check(0, 4, CE, 0, frame << 12, PHYSICAL_LINE)
        xen_lab.until(start, "Corrected error")
    found = xen_lab.until(last, f"OfflineFrame frame {frame:#x}")
    assert any(each["row"] == "II.1" for each in found)
    assert any("out of use as soon as it is let go" in str(each["text"]) for each in xen_lab.until(last, "pending"))


def test_an_error_in_a_pv_guests_page_ends_the_guest_by_xens_own_hand(xen_lab: XenLab) -> None:
    """I.2c: Xen cannot unmap a PV guest's page, and crashes it before Dom0 hears of it: nothing is left to be done."""
    last, frame = xen_lab.last, xen_lab.frames[80]
    xen_lab.machine.machine_check(0, 5, SRAO, 5, frame << 12, PHYSICAL_PAGE, broadcast=True)
    found = xen_lab.until(last, "pv1: killed")
    assert any(each["text"] == "pv1 is crashed" for each in found)
    assert any(each["kind"] == "Impacted" and "pv1 lost something (proven)" in str(each["text"]) for each in found)
    assert not [each for each in found if each["kind"] == "Intended" and "Destroy" in str(each["text"])]
