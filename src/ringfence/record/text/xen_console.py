"""Xen's console about machine checks, from Xen 3.0 (the Linux 2.4 handlers) to 4.21.

Facts from xen/arch/x86/cpu/mcheck (mce.c, mce_intel.c, mcaction.c, vmce.c, amd_nonfatal.c) and its older k7.c, p4.c and
non-fatal.c. One line says which CPU and how (#MC, CMCI, polled), then each bank has a line: ``Bank 5: status[misc] at
addr``. Without MISCV or ADDRV the part is left out. Frame numbers are hexadecimal, domain and vCPU numbers decimal.
What Xen says of owners and of injection comes before or after, or alone: then it is the only evidence of the error.
"""

from __future__ import annotations

import re

from ringfence.arch.mci_status import PCC, UC
from ringfence.record.evidence import ClaimedSeverity, ClaimKind, Delivery, Format, HypervisorReport, MemoryReport
from ringfence.record.text.grammar import Fragment, Grammar, RegisterValues, Subject, Values

_SOURCE = re.compile(r"(?:d\d{1,5}v\d{1,4} )?(?:[\w/-]{1,40}\.c:\d{1,5}:(?:d\d{1,5}v\d{1,4})? ?)?")
"""What dprintk and gdprintk put before their text: current vCPU, file and line."""

_EXCEPTION = re.compile(r"CPU ?(?P<cpu>\d{1,5}): Machine Check Exception: +(?P<mcg>[0-9a-f]{1,16})$")
_OCCURRED = re.compile(r"(?P<how>CMCI|POLLED) occurred on CPU (?P<cpu>\d{1,5})\.?$")
_OLD_POLL = re.compile(
    r"MCE: The hardware reports a non fatal, correctable incident occurr?ed on CPU (?P<cpu>\d{1,5})\.?$"
)
_BANK = re.compile(
    r"Bank (?P<bank>\d{1,3}): +(?P<status>[0-9a-f]{1,16})(?:\[ *(?P<misc>[0-9a-f]{1,16})\])?"
    r"(?: at +(?P<addr>[0-9a-f]{1,16}))?$"
)
_OWNER = re.compile(r"MCE: This error page is own\w{1,4} by DOM ?(?P<domain>\d{1,5})$")
_INJECT = re.compile(
    r"(?:MCE: inject vMCE to (?:d\d{1,5}v\d{1,4}|(?:DOM|dom) ?\d{1,5}.{0,40})|[Ii]nject vMCE to DOM ?\d{1,5} failed"
    r"|Failed to inject vMCE to (?:d\d{1,5}v\d{1,4}|DOM ?\d{1,5}.{0,40})|Fill vMCE# data for DOM ?\d{1,5} failed"
    r"|MCE: (?:d\d{1,5}v\d{1,4}|dom ?\d{1,5}.{0,20}): guest has not handled previous vMCE yet!?)$"
)
_UNMAP = re.compile(r"Unmap broken memory (?P<frame>[0-9a-f]{1,13}) for DOM ?(?P<domain>\d{1,5}) failed$")
_OFFLINE = re.compile(r"Failed to offline page (?P<frame>[0-9a-f]{1,13}) for MCE error$")
_SIMULATED = re.compile(
    r"(?:HV MSR INJECT \(\w+\) target \d+ actual \d+ MSR 0x[0-9a-f]+ <-- 0x[0-9a-f]+|Simulating #MC on cpu \d+)$"
)
_PANIC = re.compile(
    r"(?:Fatal machine check: .{1,120}|MCE: Fatal error happened on CPUs .{1,300}"
    r"|MCE: No CPU found valid MCE, need reset|MCE: Software recovery failed for the UCR"
    r"|Unexpected Machine Check Exception"
    r"|CPU#\d{1,5}: Unexpected int18 \(Machine Check\)\.?)$"
)
_OUTCOME = re.compile(
    r"(?:MCE: Error (?:is successfully recovered|can't be recovered, system is tainted)|MCE delayed action failed"
    r"|No physical address provided for memory error|mcinfo_add: No space left in mc_info.{0,40}"
    r"|MCE: get local buffer entry failed)$"
)
_CRASHED = re.compile(r"(?:domain_crash called from .{1,80}|Domain \d{1,5} (?:\(vcpu#\d{1,4}\) )?crashed.{0,60})$")
_UNCOUNTED = re.compile(
    r"CPU counter reports (?P<count>\d{1,10}) correctable hardware errors? that (?:was|were) "
    r"not reported by the status MSRs$"
)
_KNOWN = re.compile(
    r"(?:MCA Capability|CMCI: |HARDWARE ERROR$|CPU\d+: (?:Thermal|Temperature|Running in modulated|Intel machine)"
    r"|CPU\d+: (?:AMD|No) .{0,40}[Mm]achine [Cc]heck|.{0,12}(?:Intel|AMD|Hygon).{0,12} machine check reporting enabled"
    r"|MCE: (?:clear_bank map|Clear MCIP|Enter UCR recovery|send MCE# to DOM0|polling routine found|wr msr|rd MC|wr MC)"
    r"|MCE: d\d+v\d+: (?:rd|wr|MCG_CAP)|CPU\d+ (?:enter softirq|handling errors|CMCI LVT)|mcheck_poll:|mce_init: "
    r"|MCA: Use hw thresholding|(?:Begin|End) dump mc_info|MCE support disabled|Thermal (?:monitoring|LVT)"
    r"|CPU\d+: No MCE banks present|Machine check exception polling timer started|CPU\d+ has different MCA capability)"
)


_FATAL = Subject(set=UC.mask)
"""Xen panics for an uncorrected error only (mce.c, mce_intel.c)."""
_RECOVERABLE = Subject(set=UC.mask, clear=PCC.mask)
"""Xen looks for the owner of a page, and tells it, only for an error that it can recover from (mcaction.c)."""


def _claim(
    kind: ClaimKind, body: str, report: HypervisorReport | None = None, *, subject: Subject | None = None
) -> Fragment:
    """A statement of Xen's that means nothing without a bank or an owner beside it."""
    return Fragment(
        Format.XEN_CONSOLE,
        "says",
        claims=((kind, body),),
        hypervisor=report,
        repeats=True,
        may_open=True,
        subject=subject,
    )


def _head(body: str) -> Fragment | None:
    if match := _EXCEPTION.match(body):
        return Fragment(
            Format.XEN_CONSOLE,
            "context",
            values=Values(cpu=int(match["cpu"]), delivery=Delivery.MACHINE_CHECK),
            registers=RegisterValues(mcg_status=int(match["mcg"], 16)),
        )
    if match := _OCCURRED.match(body):
        delivery = Delivery.CMCI if match["how"] == "CMCI" else Delivery.POLLED
        return Fragment(Format.XEN_CONSOLE, "context", values=Values(cpu=int(match["cpu"]), delivery=delivery))
    if match := _OLD_POLL.match(body):
        return Fragment(Format.XEN_CONSOLE, "context", values=Values(cpu=int(match["cpu"]), delivery=Delivery.POLLED))
    if match := _BANK.match(body):
        registers = RegisterValues(status=int(match["status"], 16))
        if match["misc"]:
            registers["misc"] = int(match["misc"], 16)
        if match["addr"]:
            registers["addr"] = int(match["addr"], 16)
        return Fragment(
            Format.XEN_CONSOLE, "head", opens=True, values=Values(bank=int(match["bank"])), registers=registers
        )
    return None


def _memory_action(body: str) -> Fragment | None:
    """What Xen did with the page: it does so only for uncorrected errors that it can recover from (mcaction.c)."""
    if match := _OWNER.match(body):
        return Fragment(
            Format.XEN_CONSOLE,
            "owner",
            claims=((ClaimKind.OWNER, body),),
            hypervisor=HypervisorReport(owner=int(match["domain"])),
            memory=MemoryReport(severity=ClaimedSeverity.RECOVERABLE),
            may_open=True,
            subject=_RECOVERABLE,
        )
    if _INJECT.match(body):
        return _claim(ClaimKind.INJECTION, body, subject=_RECOVERABLE)
    if match := _UNMAP.match(body):
        report = HypervisorReport(owner=int(match["domain"]), machine_frame=int(match["frame"], 16))
        return _claim(ClaimKind.HYPERVISOR, body, report, subject=_RECOVERABLE)
    if match := _OFFLINE.match(body):
        report = HypervisorReport(machine_frame=int(match["frame"], 16))
        return _claim(ClaimKind.HYPERVISOR, body, report, subject=_RECOVERABLE)
    return None


def _words(body: str) -> Fragment | None:
    if _SIMULATED.match(body):  # stands before the error that it causes; alone it is no error
        return Fragment(Format.XEN_CONSOLE, "says", claims=((ClaimKind.INJECTION, body),), repeats=True)
    if _PANIC.match(body):
        return _claim(ClaimKind.PANIC, body, subject=_FATAL)
    if _OUTCOME.match(body):
        return _claim(ClaimKind.HYPERVISOR, body)
    if _CRASHED.match(body):  # a domain can crash for other reasons: told only after its page broke
        claims = ((ClaimKind.HYPERVISOR, body),)
        return Fragment(Format.XEN_CONSOLE, "crash", claims=claims, repeats=True, needs="owner")
    if match := _UNCOUNTED.match(body):
        return Fragment(
            Format.XEN_CONSOLE,
            "counter",
            opens=True,
            closes=True,
            values=Values(count=int(match["count"]), delivery=Delivery.POLLED),
            memory=MemoryReport(severity=ClaimedSeverity.CORRECTED, error="errors counted by the northbridge"),
            claims=((ClaimKind.HYPERVISOR, body),),
        )
    return Fragment(Format.XEN_CONSOLE, "known") if _KNOWN.match(body) else None


def read(body: str, inside: bool) -> Fragment | None:  # noqa: ARG001 (every line of this format can be told alone)
    """The fragment that a line of Xen's console is, or None."""
    body = body.strip()
    prefix = _SOURCE.match(body)
    text = body[prefix.end() :] if prefix is not None else body
    return _head(text) or _memory_action(text) or _words(text)


GRAMMAR = Grammar(
    format=Format.XEN_CONSOLE,
    tokens=(
        "Machine Check Exception", "occurred on CPU", "occured on CPU", "Bank ", "MCE: ", "vMCE",
        "Unmap broken memory", "for MCE error", "HV MSR INJECT", "Simulating #MC", "Fatal machine check",
        "HARDWARE ERROR", "int18", "MCE delayed", "address provided for memory error", "domain_crash", " crashed",
        "mc_info", "CPU counter reports", "MCA Capability", "MCA capability", "CMCI", "machine check", "MCA: Use",
        "Thermal", "Temperature", "modulated clock", "handling errors", "enter softirq", "mcheck_poll", "mce_init",
        "MCE support", "MCE banks", "Machine check exception polling",
    ),
    evidence_tokens=("POLLED occurred on CPU", "CMCI occurred on CPU"),
    read=read,
)  # fmt: skip
