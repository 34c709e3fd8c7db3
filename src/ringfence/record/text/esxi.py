"""Machine checks in VMware ESX and ESXi: vmkernel.log and the purple diagnostic screen.

The forms, by release, as VMware's and Dell's articles show them (Broadcom KB 367928, 372284, 373203, 414451; Dell KB
000215212; VMware KB 1005184, 1029491):

- 6.5 and later: ``MCA: 200: UC Excp G5 B1 Sbf80000000000114 Aaf9e74900 M86 Paf9e74900/40 text``, where G, B, S, A and M
  are MCG_STATUS, the bank, MCi_STATUS, MCi_ADDR and MCi_MISC, and P is the machine address that ESXi made of it;
- up to 6.0: ``MC:PCPU42 B:4 S:0x... M:0x... A:0x... 5``, the last digit being MCG_STATUS;
- ESX 4: ``MCE: 123: MCE on cpu3 bank4: Status:0x... Misc:0x... Addr:0x...: text``, after a line with MCG_STATUS;
- ESX 3: ``MCE: 171: Machine Check Exception: Bank 5, Status b200001806000e0f``.

Articles and support cases mask digits (``#``, ``*``): a masked number is not read, and a record without a readable
status is unrecognised evidence.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import Final

from ringfence.arch import cpuid
from ringfence.arch.cpuid import Signature, Vendor
from ringfence.record.evidence import ClaimKind, Delivery, Format
from ringfence.record.text.grammar import Fragment, Grammar, RegisterValues, Values

_N = r"[0-9a-fA-F#*x]"
_CPU = re.compile(r"\bcpu(?P<cpu>\d{1,4}):[\d#*]{1,12} ?\)")
_MCA = re.compile(
    r"(?:MCA: ?[\d#*]{1,5} ?: )?(?P<kind>CE|UC|SRAR|SRAO|UCNA|DE|FATAL) (?P<how>Poll|Intr|Excp|Boot) "
    rf"G(?P<mcg>{_N}{{1,16}}) B(?P<bank>[\d#*]{{1,3}}) S(?P<status>{_N}{{1,20}}) A(?P<addr>{_N}{{1,20}})"
    rf"(?: M(?P<misc>{_N}{{1,20}}))?(?: (?P<machine>P{_N}{{1,20}}/{_N}{{1,8}}))?(?P<text> .{{0,200}})?$"
)
_MC = re.compile(
    rf"MC: ?PCPU(?P<cpu>[\d#*]{{1,4}}) B:(?P<bank>[\d#*]{{1,3}}) S:0x(?P<status>{_N}{{1,20}}) "
    rf"M:0x(?P<misc>{_N}{{1,20}}) A:0x(?P<addr>{_N}{{1,20}})(?: (?P<mcg>[0-9a-f]))?(?:\s|$)"
)
_ESX4 = re.compile(
    r"MCE: [\d#*]{1,5}: MCE on cpu(?P<cpu>[\d#*]{1,4}) bank(?P<bank>[\d#*]{1,3}): Status:0x"
    rf"(?P<status>{_N}{{1,20}}) Misc:0x(?P<misc>{_N}{{1,20}}) Addr:0x(?P<addr>{_N}{{1,20}})"
    r"(?:: ?(?P<text>.{0,200}))?$"
)
_ESX4_GLOBAL = re.compile(
    r"MCE: [\d#*]{1,5}: Machine Check Global status on cpu(?P<cpu>[\d#*]{1,4}): 0x(?P<mcg>[0-9a-f#*]{1,16})\b"
)
_ESX3 = re.compile(
    r"MCE: [\d#*]{1,5}: Machine Check (?P<how>Exception): Bank (?P<bank>[\d#*]{1,3}), "
    rf"Status (?:0x)?(?P<status>{_N}{{1,20}})(?![\w#*])"
)
_SAYS = re.compile(
    r"(?:MCAIntel|MCAAMD|MCA|MCE|IDT): ?\d{1,5}: (?P<text>(?:Force retiring MPN|Uncorrectable/(?:un)?recoverable|"
    r"MCE not recoverable|Status bits).{0,200})$"
)
_SCREEN = re.compile(
    r"(?P<text>Machine Check Exception on PCPU\S{1,6} in world .{1,80}|System has encountered a Hardware Error.{0,80}"
    r"|Hardware \(Machine\) Error.{0,160})$"
)
_FMS = re.compile(
    r"FMS=(?P<family>[0-9a-f]{1,2})/(?P<model>[0-9a-f]{1,2})/(?P<stepping>[0-9a-f]) ?uCode=0x(?P<ucode>[0-9a-f]{1,8}?)"
    r"(?=frame|\s|$)"
)
_DELIVERY: Final = {
    "Poll": Delivery.POLLED,
    "Intr": Delivery.CMCI,
    "Excp": Delivery.MACHINE_CHECK,
    "Exception": Delivery.MACHINE_CHECK,
}
_DEC = re.compile(r"\d{1,4}$")
_HEX = re.compile(r"[0-9a-fA-F]{1,16}$")
_REGISTERS: Final = (("status", "status"), ("addr", "addr"), ("misc", "misc"), ("mcg", "mcg_status"))


def _report(body: str, match: re.Match[str]) -> Fragment:
    found = match.groupdict()
    values, registers = Values(), RegisterValues()
    masked: list[str] = []
    for group, register in _REGISTERS:
        if (text := found.get(group)) is None:
            continue
        if _HEX.match(text):
            registers[register] = int(text, 16)  # type: ignore[literal-required] # the table's values are its keys
        else:
            masked.append(register)
    if (text := found.get("bank")) is not None:
        if _DEC.match(text):
            values["bank"] = int(text)
        else:
            masked.append("bank")
    cpu = found.get("cpu") or ((place := _CPU.search(body)) and place["cpu"])
    if cpu and _DEC.match(cpu):
        values["cpu"] = int(cpu)
    if (delivery := _DELIVERY.get(found.get("how") or "")) is not None:
        values["delivery"] = delivery
    claims: list[tuple[ClaimKind, str]] = []
    if found.get("kind"):
        claims.append((ClaimKind.SEVERITY, found["kind"]))
    if text := (found.get("text") or "").strip():
        claims.append((ClaimKind.ERROR, text))
    if found.get("machine"):
        # What stands behind the slash is not documented (64, 8, 4 and 0 were seen): the pair is kept as it is.
        claims.append((ClaimKind.HYPERVISOR, f"machine address {found['machine']}"))
    reasons = (f"masked in the log, not read: {', '.join(masked)}",) if masked else ()
    return Fragment(
        Format.ESXI,
        "head",
        opens=True,
        values=values,
        registers=registers,
        claims=tuple(claims),
        assumptions=reasons,
    )


def _fms(match: re.Match[str]) -> Fragment:
    family, model, stepping = (int(match[name], 16) for name in ("family", "model", "stepping"))
    values = Values(microcode=int(match["ucode"], 16))
    with suppress(ValueError):  # numbers that no CPUID.1:EAX can hold are not a signature; its form is every vendor's
        values["cpuid"] = cpuid.eax(Signature(Vendor.INTEL, family, model, stepping))
    return Fragment(Format.ESXI, "processor", values=values)


def read(body: str, inside: bool) -> Fragment | None:
    """The fragment that a line of a vmkernel log or of a purple screen is, or None."""
    body = body.strip()
    for form in (_MCA, _MC, _ESX4, _ESX3):
        if match := form.search(body):
            return _report(body, match)
    if match := _ESX4_GLOBAL.search(body):
        if not (_DEC.match(match["cpu"]) and _HEX.match(match["mcg"])):
            return Fragment(Format.ESXI, "known")
        return Fragment(
            Format.ESXI,
            "context",
            values=Values(cpu=int(match["cpu"])),
            registers=RegisterValues(mcg_status=int(match["mcg"], 16)),
        )
    if match := _SAYS.search(body):
        return Fragment(Format.ESXI, "says", claims=((ClaimKind.HYPERVISOR, match["text"]),), repeats=True)
    if match := _SCREEN.search(body):
        return Fragment(Format.ESXI, "screen", claims=((ClaimKind.PANIC, match["text"]),), repeats=True)
    if inside and (match := _FMS.search(body)):
        return _fms(match)
    return None


INSIDE_LINES: Final = 8
"""The purple screen's line with family, model and stepping stands a few lines below the machine check."""

GRAMMAR = Grammar(
    format=Format.ESXI,
    tokens=(
        " Poll G", " Intr G", " Excp G", " Boot G", "MC:PCPU", "MC: PCPU", "MCE on cpu", "Machine Check Global status",
        "Machine Check Exception", "MCAIntel", "MCAAMD", "Uncorrectable/", "MCE not recoverable", "Status bits",
        "encountered a Hardware Error", "Hardware (Machine) Error",
    ),
    evidence_tokens=(" Poll G", " Intr G", " Excp G", "MC:PCPU", "MC: PCPU", "MCE on cpu"),
    read=read,
    inside_lines=INSIDE_LINES,
)  # fmt: skip
