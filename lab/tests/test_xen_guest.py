"""A PV guest with Ringfence's agent on real Xen: told of its page ahead of loss, it lets go of it and says so."""

from __future__ import annotations

from lab.tests.conftest import XenLab
from lab.xen import agent_guest
from lab.xen import dom0 as xen

CE = 0x9C00004000010090
"""Corrected, memory read, channel 0, with address and misc."""
POLICY = """\
[otherwise]
inform_of_ce = true
"""


def test_a_guest_with_the_agent_is_told_ahead_of_loss_and_heals(xen_lab: XenLab) -> None:
    """I.3a-inform, II.2: a corrected error in a page of a process in the guest. Its agent hears of it by the xenstore,
    in the guest's own number, has the kernel copy the page away, and answers; the process notices nothing.
    """
    dom0 = xen_lab.dom0
    xen.obey(dom0, POLICY)
    guest = agent_guest.create(dom0, "agent1")
    (listed,) = xen.ask(dom0, "domains")
    assert {each["name"]: each["handler"] for each in listed["domains"]}["agent1"] == "agent"
    last = xen_lab.last
    xen_lab.mce(4, CE, guest.frame << 12)
    found = xen_lab.until("its agent says: healed; soft-offlined", last)
    assert any(each["kind"] == "Intended" and each["row"] == "I.3a-inform" for each in found)
    assert f'"ranges": [[{guest.page << 12}, 4096]]' in agent_guest.said(dom0, "agent1")
    pages = agent_guest.held(dom0, "agent1")
    assert pages[0] == guest.page
    assert len(pages) > 1
    assert guest.page not in pages[1:]
