"""Debian 12's Xen 4.17: its scanning of the banks is broken, and every machine check passes in silence."""

from __future__ import annotations

import re
from typing import Any

from lab.tests.conftest import FATAL, FATAL_MCG, XenLab
from lab.xen import dom0 as xen


def _wrongs(lab: XenLab) -> list[dict[str, Any]]:
    done = lab.dom0.run(["ringfence", "doctor", "--json"], timeout_s=xen.SERVICE_S)
    assert done.code == 1, done.err
    checks = {each["id"]: each["findings"] for each in xen.parsed(done.out)[0]["checks"]}
    return [each for each in checks["xen"] if each["severity"] == "wrong"]


def test_a_xen_whose_scanning_is_broken_is_named_by_its_version_and_then_by_what_was_seen(old_lab: XenLab) -> None:
    """The negative case: even a fatal error passes by; what to use instead is said before and after."""
    (before,) = _wrongs(old_lab)
    assert re.fullmatch("Xen 4\\.17\\.\\S+, as upstream made it, reads no bank at a machine check", before["text"])
    assert "Use Xen 4.19.4" in before["advice"]
    old_lab.mce(2, FATAL, 0, FATAL_MCG)
    old_lab.machine.until("CPU[01] (enter softirq|handling errors)", xen.SERVICE_S)
    assert old_lab.dom0.must(["uname", "-s"]).strip() == "Linux"  # nothing has happened to it
    (after,) = _wrongs(old_lab)
    assert "read no bank" in after["text"]
