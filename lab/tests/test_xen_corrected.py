"""Corrected errors on real Xen 4.20, found by its poll: they are counted, and a page that errs too often leaves use."""

from __future__ import annotations

from typing import Any

from lab.tests.conftest import BANKS, CE, XenLab
from lab.xen import dom0 as xen


def test_the_host_is_xen_and_its_domains_are_known(xen_lab: XenLab) -> None:
    """Hypercalls 35 and 48 from Dom0, VIRQ_MCA, and the names of the xenstore."""
    (status,) = xen.ask(xen_lab.dom0, "status")
    assert str(status["hypervisor"]).startswith("Xen 4.20")
    (listed,) = xen.ask(xen_lab.dom0, "domains")
    kinds = {each["name"]: each["kind"] for each in listed["domains"]}
    assert kinds == {"Domain-0": "Dom0", "pv1": "PV", "pv2": "PV"}


def test_corrected_errors_are_counted_with_the_owner_of_the_page_and_nothing_is_done(xen_lab: XenLab) -> None:
    """I.2a: in a free page, a page of Dom0 and one of a guest, by Xen's poll, from the queue for what is not urgent."""
    _, dom0s = xen.process(xen_lab.dom0, "holder", xen_lab.pages)
    for bank, frame in enumerate((xen_lab.pages.free[0], dom0s, xen_lab.pages.guests["pv1"][20]), 4):
        xen_lab.mce(bank, CE, frame << 12)
    found = xen_lab.until_all(lambda them: sum(each["kind"] == "Received" for each in them) == 3, "three are received")
    assert [each["row"] for each in found if each["kind"] == "Received"] == ["I.2a"] * 3
    assert not [each for each in found if each["kind"] in {"Decided", "Intended"}]


def test_a_page_that_errs_again_and_again_is_taken_out_ahead_of_the_next_error(xen_lab: XenLab) -> None:
    """II.1: ten corrected errors on a page of a guest, told by as many banks; it leaves use when the guest is saved."""
    frame = xen_lab.pages.guests["pv1"][50]
    for bank in BANKS:
        xen_lab.mce(bank, CE, frame << 12)
    xen_lab.mce(4, CE, frame << 12, cpu=1)
    found = xen_lab.until("out of use as soon as it is let go")
    assert any(each["kind"] == "Intended" and f"OfflineFrame frame {frame:#x}" in each["text"] for each in found)
    assert {each["row"] for each in found if each["kind"] == "Decided"} == {"II.1"}


def test_a_flood_of_corrected_errors_is_counted_to_the_last_one(xen_lab: XenLab) -> None:
    """I.2a: eighteen banks have one at every poll, three polls in a row."""
    for flood in range(3):
        for cpu in (0, 1):
            for bank in BANKS:
                xen_lab.mce(bank, CE, xen_lab.pages.free[flood * 20 + cpu * 9 + bank] << 12, cpu=cpu)
        _until_counted(xen_lab, 18 * (flood + 1))
    assert _counted(xen.events(xen_lab.dom0)) == 3 * 18


def _until_counted(lab: XenLab, number: int) -> None:
    lab.until_all(lambda them: _counted(them) >= number, f"{number} errors are counted")


def _counted(events: list[dict[str, Any]]) -> int:
    return sum(each["kind"] == "Received" for each in events)


def test_xens_own_injection_is_seen_like_an_error_of_the_hardware(xen_lab: XenLab) -> None:
    """I.2n: xen-mceinj interposes registers and raises #MC; corrected errors it has only by CMCI, which is not here."""
    frame = xen_lab.pages.free[0]
    xen_lab.dom0.must(["xen-mceinj", "-c", "0", "-t", "0", "-p", f"{frame << 12:#x}"])
    xen_lab.until("SRAO")
    refused = xen_lab.dom0.run(["xen-mceinj", "-c", "0", "-t", "2", "-p", f"{frame << 12:#x}"])
    assert refused.code != 0 or "CMCI" in refused.out + refused.err
