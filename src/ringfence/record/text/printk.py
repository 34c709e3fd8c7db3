"""The kernel's own print of a machine-check record, of every age (``__print_mce`` and what came before it).

Linux arch/x86/kernel/cpu/mce/core.c prints a head (CPU, MCG_STATUS, bank, MCi_STATUS), RIP, the other registers, and
PROCESSOR. Up to 2.6.30 the i386 kernel printed the CPU on one line and each bank on a line of its own.
skx_edac, sb_edac and their kin print the same fields, one a line, behind ``EDAC skx MC2:``; skx_common.c of Linux 5.0
and later (skx_edac, i10nm_edac) with ``0x`` before them.
"""

from __future__ import annotations

import re
from typing import Final

from ringfence.arch.cpuid import LINUX_VENDORS
from ringfence.arch.mcg import MCIP
from ringfence.record.evidence import ClaimKind, Delivery, Format
from ringfence.record.text.grammar import Fragment, Grammar, RegisterValues, Unless, Values

_EDAC_PREFIX = r"(?:EDAC \w+ MC\d+: )?"
_HEAD = re.compile(
    _EDAC_PREFIX + r"CPU ?(?P<cpu>\d{1,6}): Machine Check(?P<how> Exception| Event)?: +(?P<mcg>[0-9a-f]{1,16}) "
    r"Bank (?P<bank>\d{1,3}): (?P<status>[0-9a-f]{16})(?!\w)(?P<more>.*)$"
)
_EDAC_HEX = re.compile(r"EDAC (?!igen6)\w+ MC\d+: ")
"""Who prints ``0x`` before registers. igen6_edac does too, but an address alone, of a record that EDAC tells."""
_OLD_HEAD = re.compile(r"CPU ?(?P<cpu>\d{1,6}): Machine Check Exception: +(?P<mcg>[0-9a-f]{1,16})$")
_OLD_POLL = re.compile(
    r"MCE: The hardware reports a non fatal, correctable incident occurr?ed on CPU (?P<cpu>\d{1,6})\.?$"
)
_OLD_BANK = re.compile(
    r"Bank (?P<bank>\d{1,3}): (?P<status>[0-9a-f]{16})(?:\[ *(?P<misc>[0-9a-f]{1,16})\])?"
    r"(?: at +(?P<addr>[0-9a-f]{1,16}))?$"
)
_RIP = re.compile(
    _EDAC_PREFIX + r"RIP(?P<inexact> !INEXACT!)? (?P<cs>[0-9a-f]{1,4}):(?:<(?P<ip>[0-9a-f]{1,16})>)?(?: ?\{[^{}]*\})?$"
)
_PAIR = re.compile(
    r"(?:EDAC \w+ MC\d+: )?(?P<key>TSC|ADDR|MISC|SYND[12]?|IPID|PPIN|PROCESSOR|TIME|SOCKET|APIC|microcode) "
    r"+(?P<value>[0-9a-fA-F]{1,16}(?::[0-9a-fA-F]{1,8})?)(?:\s+|$)"
)
_IPID = re.compile(r"\bIPID:? 0x([0-9a-f]{1,16})\b")
_FRU = re.compile(r"FRU(?: Text)?: ?(?P<text>.{1,64})$")
_SAYS = re.compile(r"Machine check: (?P<text>.{1,200})$")
_PANIC = re.compile(
    r"Kernel panic(?: - not syncing)? ?: (?P<text>(?:Fatal |Unable |Uncorrected |Timeout).{0,120}|Machine check.{0,100}"
    r"|CPU context corrupt.{0,60})$",
    re.IGNORECASE,
)
_IGNORED = re.compile(
    r"Run the above through|Machine check events logged|Machine check poll|"
    r"HARDWARE ERROR$|This is not a (?:software|hardware) problem|Run through mcelog|CPU \d+: (?:CMCI|hw_err)|"
    r"(?:EDAC \w+ MC\d+: )HANDLING MCE MEMORY ERROR|Triggering MCE exception|\{\S+\+0x[0-9a-f]+/0x[0-9a-f]+\}$|"
    r"\d+ (?:hardware errors?|machine check events) logged|Some CPUs didn't answer|CMCI storm|"
    r"Machine check injector|Using \d+ MCE banks|CPU supports \d+ MCE banks|Disabling lock debugging|"
    r"Machine [Cc]heck [Ee]xception polling|(?:Intel )?[Mm]achine check (?:architecture|reporting|exception) "
)
_REGISTERS: Final = {
    "TSC": "tsc",
    "ADDR": "addr",
    "MISC": "misc",
    "SYND": "synd",
    "SYND1": "synd1",
    "SYND2": "synd2",
    "IPID": "ipid",
    "PPIN": "ppin",
}
_MAX_U64 = (1 << 64) - 1

_NO_EXCEPTION: Final = "polled, not #MC: the line says 'Exception' but MCG_STATUS.MCIP is clear (kernels < 2.6.38)"
_IN_THE_HANDLER: Final = "MCIP not set in MCA handler"
"""Why Linux panics when MCIP is clear in its #MC handler, as an injected exception leaves it (mce/severity.c)."""


def _head(body: str) -> Fragment | None:
    if match := _HEAD.match(body):
        mcg_status = int(match["mcg"], 16)
        values = Values(cpu=int(match["cpu"]), bank=int(match["bank"]))
        unless: tuple[Unless, ...] = ()
        if MCIP.of(mcg_status):
            values["delivery"] = Delivery.MACHINE_CHECK
        else:
            # Before 2.6.38 the kernel wrote "Exception" for polled records too; in a real #MC MCIP is set.
            unless = (Unless(Values(delivery=Delivery.POLLED), _NO_EXCEPTION if match["how"] == " Exception" else ""),)
        more = match["more"].strip()
        registers = RegisterValues(mcg_status=mcg_status, status=int(match["status"], 16))
        if ipid := _IPID.search(more):
            registers["ipid"] = int(ipid[1], 16)
        return Fragment(
            Format.PRINTK,
            "head",
            opens=True,
            values=values,
            registers=registers,
            claims=((ClaimKind.OTHER, more),) if more else (),
            unless=unless,
        )
    if match := _OLD_HEAD.match(body):
        return Fragment(
            Format.PRINTK,
            "context",
            values=Values(cpu=int(match["cpu"]), delivery=Delivery.MACHINE_CHECK),
            registers=RegisterValues(mcg_status=int(match["mcg"], 16)),
        )
    if match := _OLD_POLL.match(body):
        return Fragment(Format.PRINTK, "context", values=Values(cpu=int(match["cpu"]), delivery=Delivery.POLLED))
    if match := _OLD_BANK.match(body):
        registers = RegisterValues(status=int(match["status"], 16))
        if match["misc"]:
            registers["misc"] = int(match["misc"], 16)
        if match["addr"]:
            registers["addr"] = int(match["addr"], 16)
        return Fragment(Format.PRINTK, "head", opens=True, values=Values(bank=int(match["bank"])), registers=registers)
    return None


def _rip(body: str) -> Fragment | None:
    match = _RIP.match(body)
    if match is None:
        return None
    registers = RegisterValues(cs=int(match["cs"], 16))
    if match["ip"]:
        registers["ip"] = int(match["ip"], 16)
    claims = ((ClaimKind.OTHER, "RIP is inexact (EIPV clear)"),) if match["inexact"] else ()
    return Fragment(Format.PRINTK, "rip", registers=registers, claims=claims)


def _put(key: str, text: str, values: Values, registers: RegisterValues) -> bool:
    """Store one KEY VALUE pair; False if the value is not of that key's form."""
    if (":" in text) != (key == "PROCESSOR"):
        return False
    match key:
        case "PROCESSOR":
            vendor, signature = text.split(":")
            if not vendor.isdecimal():
                return False
            values["cpuid"] = int(signature, 16)
            if (known := LINUX_VENDORS.get(int(vendor))) is not None:
                values["vendor"] = known
        case "TIME" | "SOCKET":
            if not text.isdecimal():
                return False
            if key == "TIME":
                if int(text):  # 0 is what a record has whose time nobody set
                    values["time"] = float(text)
            else:
                values["socket"] = int(text)
        case "APIC":
            values["apicid"] = int(text, 16)
        case "microcode":
            values["microcode"] = int(text, 16)
        case _:
            registers[_REGISTERS[key]] = int(text, 16)  # type: ignore[literal-required] # the table's values are its keys
    return True


def _fields(body: str) -> Fragment | None:
    """A line that is nothing but KEY VALUE pairs."""
    at = 0
    keys: list[str] = []
    values, registers = Values(), RegisterValues()
    while at < len(body):
        match = _PAIR.match(body, at)
        if match is None or not _put(match["key"], match["value"], values, registers):
            return None
        keys.append(match["key"])
        at = match.end()
    if not keys:
        return None
    part = "processor" if "PROCESSOR" in keys else keys[0].lower()
    return Fragment(Format.PRINTK, part, values=values, registers=registers)


def _words(body: str) -> Fragment | None:
    if match := _SAYS.match(body):
        values = Values(delivery=Delivery.MACHINE_CHECK) if match["text"].startswith(_IN_THE_HANDLER) else Values()
        return Fragment(Format.PRINTK, "says", values=values, claims=((ClaimKind.ERROR, match["text"]),))
    if match := _PANIC.match(body):
        return Fragment(Format.PRINTK, "panic", claims=((ClaimKind.PANIC, match["text"]),))
    if match := _FRU.match(body):
        return Fragment(Format.PRINTK, "fru", claims=((ClaimKind.FIRMWARE, f"FRU: {match['text']}"),))
    if _IGNORED.match(body):
        return Fragment(Format.PRINTK, "known")
    return None


def read(body: str, inside: bool) -> Fragment | None:  # noqa: ARG001 (every line of this format can be told alone)
    """The fragment that a line of the kernel's machine-check print is, or None."""
    if "0x" in body and _EDAC_HEX.match(body):
        body = re.sub(r"(?<=[ :])0x(?=[0-9a-f])", "", body)
    return _head(body) or _rip(body) or _fields(body) or _words(body)


GRAMMAR = Grammar(
    format=Format.PRINTK,
    tokens=(
        "Machine Check",
        "Machine check",
        "Hardware Error",
        "correctable incident",
        "HARDWARE ERROR",
        "Kernel panic",
        "Bank ",
        "TSC ",
        "ADDR ",
        "MISC ",
        "PROCESSOR ",
        "APIC ",
        "RIP ",
        "CMCI storm",
        "MCE ",
    ),
    evidence_tokens=("Machine Check", "[Hardware Error]", "correctable incident"),
    read=read,
)
