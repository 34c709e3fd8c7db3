"""What ``ringfence doctor`` says of a Xen: what it does with machine checks, what it keeps to itself, what to do.

What stands here of versions and of makers was read in Xen's sources (``hypervisor.xen.releases``); what was seen on
this very machine counts more, and is said apart.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ringfence.hypervisor.xen import releases
from ringfence.service.doctor_facts import Facts
from ringfence.service.doctor_findings import Finding, note, warning, wrong
from ringfence.service.xen_facts import HOW_TO_CHANGE, WHAT_IS_LOST, XenFacts, silent_checks, unheard

_SYSFS: Final = "/sys/hypervisor/version"
_SOURCE: Final = "xen/arch/x86/cpu/mcheck"
_AMD: Final = frozenset({"AuthenticAMD", "HygonGenuine"})


def under_xen(facts: Facts) -> Iterator[Finding]:
    """All of it; nothing where there is no Xen."""
    xen = facts.xen
    if xen is None:
        return
    yield from _release(xen)
    yield from _dom0(xen)
    yield from _scanning(facts, xen)
    yield from _telemetry(facts, xen)
    yield from _recovery(xen)
    yield from _moving(xen)
    yield from _halting(xen)


def _release(xen: XenFacts) -> Iterator[Finding]:
    version = releases.parsed(xen.version)
    if version is None:
        yield note("which Xen this is cannot be told", "What holds for its version is not known.", evidence=_SYSFS)
        return
    release = version[:2]
    if not releases.LEAST <= release <= releases.MOST:
        yield warning(
            f"Xen {xen.version} is not one of those whose interfaces are known (4.17 to 4.22)",
            "The service may not start, for sysctl and domctl change between releases.",
            "Use a Xen or a Ringfence that fit together.", _SYSFS,
        )  # fmt: skip
    elif release not in releases.RUN_ON:
        yield note(
            f"on Xen {xen.version} Ringfence was never run: its public headers are the same as those of 4.17 and 4.20",
            "What depends on more than the headers was not seen here.", evidence=_SYSFS,
        )  # fmt: skip


def _dom0(xen: XenFacts) -> Iterator[Finding]:
    if xen.guest_type and xen.guest_type != "PV":
        yield wrong(
            f"this Dom0 is {xen.guest_type}: Xen lets only a PV Dom0 ask about machine checks",
            "Hypercall 48 is not there for it: no telemetry, and no VIRQ to wait for.",
            "Boot Xen without dom0=pvh.", "/sys/hypervisor/guest_type",
        )  # fmt: skip
    words = (xen.command_line or "").split()
    if any(each in words for each in ("mce=0", "mce=off", "mce=no", "mce=false", "no-mce")):
        yield wrong(
            "Xen was booted with machine checks switched off (mce=)", "Every #MC ends the machine without a word.",
            "Take it out of Xen's command line.", "Xen's command line",
        )  # fmt: skip


def _scanning(facts: Facts, xen: XenFacts) -> Iterator[Finding]:
    """Seen to work, seen not to, or neither: then the version is all there is to go by.

    Nothing shows it without a machine check: Dom0 is shown virtual banks in the place of the processors', Xen counts
    its machine checks nowhere, and to put an error into a bank to see would be an error.
    """
    version = releases.parsed(xen.version)
    by_version = version is not None and releases.scan_is_broken(version)
    if facts.journal is not None and facts.journal.xen_scans:
        if by_version:
            yield note(
                f"Xen {xen.version} as upstream made it reads no bank at a machine check, but this one does: the fix "
                "is in it", evidence="a record of a bank is in the journal",
            )  # fmt: skip
        return
    silent = silent_checks(xen.console or "")
    if silent:
        yield wrong(
            f"Xen went through {silent} machine check{'s' * (silent != 1)} and read no bank: its scanning is broken",
            "Every machine check, even a fatal one, passes in silence: nothing is reported, nothing is done.",
            _UPGRADE, "Xen's console: softirq of a machine check, and no bank (mce_verbosity=verbose)",
        )  # fmt: skip
    elif by_version:
        yield wrong(
            f"Xen {xen.version}, as upstream made it, reads no bank at a machine check",
            "Every machine check, even a fatal one, passes in silence: nothing is reported, nothing is done. Whether a "
            "distribution has put the fix in cannot be seen before the first machine check: Dom0 sees no bank, and Xen "
            "counts none.",
            f"{_UPGRADE} To see the next one at least on Xen's console, boot Xen with mce_verbosity=verbose.",
            f"{_SYSFS}; {_SOURCE}/mce.c, mca_cap_init",
        )  # fmt: skip


_UPGRADE: Final = (
    "Use Xen 4.19.4, 4.20.2, 4.21 or later, or one with the fix (x86/mcheck: fix mca_allbanks updating, 532988dccc)."
)


def _telemetry(facts: Facts, xen: XenFacts) -> Iterator[Finding]:
    if xen.virq_is_taken and facts.health is None:
        # While the service runs, it has it itself, or says so among its problems.
        yield warning(
            "somebody else has VIRQ_MCA: Dom0's kernel takes Xen's telemetry for itself (drivers/xen/mcelog.c)",
            f"The service then reads /dev/mcelog. {WHAT_IS_LOST}", HOW_TO_CHANGE, "Xen refuses to bind VIRQ_MCA",
        )  # fmt: skip
    if number := unheard(xen.console or ""):
        yield note(
            f"Xen told its console alone of {number} corrected errors, as nobody listened to VIRQ_MCA then",
            "They are in no statistics.", "Let the service run from boot on.", "Xen's console",
        )  # fmt: skip
    yield note(
        "what Xen drops for want of room in its queues (30 records, 20 of them for corrected errors) it tells nobody",
        "In a storm some errors are never seen; that a queue was full is said.", evidence=f"{_SOURCE}/mctelem.c",
    )  # fmt: skip


def _recovery(xen: XenFacts) -> Iterator[Finding]:
    if xen.vendor in _AMD:
        yield note(
            "on processors of AMD this Xen recovers from nothing",
            "An uncorrected error that could be lived with is dropped without a record, a worse one ends the machine; "
            "corrected ones are polled and told.",
            "Act on corrected errors before (II.1): the policy's trends.", f"{_SOURCE}/mce_amd.c",
        )  # fmt: skip
    else:
        yield note(
            "an uncorrected error in a PV guest's page ends the guest: Xen cannot take the page from it, and does so "
            "before Dom0 hears of it",
            "I.2c-dom0 and I.3a are never asked for such a guest; what is left is to start it again.",
            "Let the policy name what follows a crash, or use PVH and HVM guests: these are told.",
            f"{_SOURCE}/mcaction.c",
        )  # fmt: skip


def _moving(xen: XenFacts) -> Iterator[Finding]:
    if xen.has_shadow is False:
        yield note(
            "PV guests cannot be moved to another host: this Xen was built without shadow paging",
            "Their rules' migrate is passed over; PVH and HVM guests are not concerned.",
            "Let the policy save PV guests ahead of an error (ahead).", "Xen: XEN_SYSCTL_PHYSCAP_shadow",
        )  # fmt: skip


def _halting(xen: XenFacts) -> Iterator[Finding]:
    if "noreboot" in (xen.command_line or "").split():
        yield note(
            "Xen was booted with noreboot: after a halt the machine stands until a person comes",
            "A fatal error, and Ringfence's own halt, end the machine for good.",
            "Take noreboot out of Xen's command line.", "Xen's command line",
        )  # fmt: skip
