"""Machine-check registers in the texts of baseboard management controllers.

Four forms with registers are known: AMI's MegaRAC syslog (registers that the BIOS hands over after the fact), the
Integrated Management Log of HP and HPE (an apostrophe parts the halves of a register), IBM's Remote Supervisor Adapter
(a blank parts them; two lines; IBM support, RETAIN tip H191645), and the event 58001 of IBM's and Lenovo's IMM (Lenovo,
Flex System alerts). All come from firmware.

Others say in words that there was a machine check, and keep the registers to themselves: IPMI's events of a processor
(IPMI 2.0 table 42-3, sensor type 07h, as ipmitool prints them) and Dell's (iDRAC's CPU0011 and following; Dell
knowledge base 349127). They are shown as evidence that cannot be read.
"""

from __future__ import annotations

import re

from ringfence.record.evidence import ClaimKind, Delivery, Format, Location, MemoryReport
from ringfence.record.text.grammar import Fragment, Grammar, RegisterValues, Values

_AMI = re.compile(
    r"BankNum: ?(?P<bank>\d{1,3}), ?ApicId: ?(?P<apic>\d{1,10}), *"
    r"(?P<scope>BankType: ?\d{1,3}, *BankScope: ?\d{1,3}), *McaStatus: ?0x(?P<status>[0-9a-fA-F]{1,16})\b"
    r"(?:, *McaAddress: ?0x(?P<addr>[0-9a-fA-F]{1,16})\b)?"
    r"(?:, *McaMisc: ?0x(?P<misc>[0-9a-fA-F]{1,16})\b)?"
)
_HP = re.compile(
    r"(?P<kind>(?:Unc|C)orrect(?:able|ed)) Machine Check Exception \((?P<where>(?:Board \d{1,3}, )?Processor \d{1,3}), "
    r"APIC ID 0x(?P<apic>[0-9a-fA-F]{1,8}), Bank 0x(?P<bank>[0-9a-fA-F]{1,8}), "
    r"Status 0x(?P<status>[0-9a-fA-F']{1,17}), "
    r"Address 0x(?P<addr>[0-9a-fA-F']{1,17}), Misc 0x(?P<misc>[0-9a-fA-F']{1,17})\)"
)
_RSA = re.compile(
    r"Processor MachineCheck Data a Chassis=\S{1,16} reporting bank:(?P<bank>[0-9A-F]{4}) "
    r"reporting APICID:(?P<apic>[0-9A-F]{4}) Status:(?P<high>[0-9A-F]{8}) (?P<low>[0-9A-F]{8})\b"
)
_RSA_ADDRESS = re.compile(
    r"Processor MachineCheck Data b Chassis=\S{1,16} Address:(?P<high>[0-9A-F]{8}) (?P<low>[0-9A-F]{8})\b"
    r"(?P<rest>.{0,60})$"
)
_IMM = re.compile(
    r"(?P<what>.{0,160}?) on DIMM number (?P<dimm>\w{1,8}) at address (?:0x)?(?P<addr>[0-9a-fA-F]{1,16})\. "
    r"MC(?P<bank>\d{1,3}|x)_Status contains (?:0x)?(?P<status>[0-9a-fA-F]{1,16}) "
    r"and MC(?:\d{1,3}|x)_Misc contains (?:0x)?(?P<misc>[0-9a-fA-F]{1,16})\b"
)
_WORDS = (
    "ncorrectable machine check exception",
    "orrectable machine check error",
    "machine check exception detected on CPU",
    "machine check error detected",
    "machine check errors have occurred",
    "Machine Check errors occurred in the previous boot",
    "machine check system address reported by the processor",
    "processor machine check event occurred",
    "machine check event error occurred",
    "CPU Machine Chk",
)
_NO_REGISTERS = "a management controller's words: the registers, if it has them, are elsewhere in its logs"
_MAX_BANK = 255
_MAX_U64 = (1 << 64) - 1


def _halves(text: str) -> int | None:
    """``BA000000'00400405`` as a number; None if the apostrophe does not part two halves of 32 bits."""
    high, mark, low = text.partition("'")
    if not high or (mark and len(low) != 8):
        return None
    value = int(high + low, 16)
    return value if value <= _MAX_U64 else None


def _hp(match: re.Match[str]) -> Fragment:
    registers = RegisterValues()
    if (status := _halves(match["status"])) is not None:
        registers["status"] = status
    if (addr := _halves(match["addr"])) is not None:
        registers["addr"] = addr
    if (misc := _halves(match["misc"])) is not None:
        registers["misc"] = misc
    values = Values(apicid=int(match["apic"], 16), delivery=Delivery.FIRMWARE)
    if (bank := int(match["bank"], 16)) <= _MAX_BANK:
        values["bank"] = bank
    return Fragment(
        Format.BMC,
        "head",
        opens=True,
        closes=True,
        values=values,
        registers=registers,
        # The number of board and processor are the chassis' labels (from 1), not the socket ids of the CPU.
        claims=((ClaimKind.FIRMWARE, match["where"]), (ClaimKind.SEVERITY, match["kind"])),
    )


def _rsa(match: re.Match[str]) -> Fragment:
    values = Values(apicid=int(match["apic"], 16), delivery=Delivery.FIRMWARE)
    if (bank := int(match["bank"], 16)) <= _MAX_BANK:
        values["bank"] = bank
    registers = RegisterValues(status=int(match["high"] + match["low"], 16))
    return Fragment(Format.BMC, "head", opens=True, values=values, registers=registers)


def _imm(match: re.Match[str]) -> Fragment:
    values = Values(delivery=Delivery.FIRMWARE)
    if match["bank"].isdecimal() and int(match["bank"]) <= _MAX_BANK:
        values["bank"] = int(match["bank"])
    return Fragment(
        Format.BMC,
        "head",
        opens=True,
        closes=True,
        values=values,
        registers=RegisterValues(
            status=int(match["status"], 16), addr=int(match["addr"], 16), misc=int(match["misc"], 16)
        ),
        memory=MemoryReport(location=Location(label=f"DIMM {match['dimm']}")),
        claims=((ClaimKind.FIRMWARE, match["what"].strip(" -")),) if match["what"].strip(" -") else (),
    )


def _two_lines_or_words(body: str) -> Fragment | None:
    if match := _RSA.search(body):
        return _rsa(match)
    if match := _RSA_ADDRESS.search(body):
        claims = ((ClaimKind.OTHER, match["rest"].strip()),) if match["rest"].strip() else ()
        address = int(match["high"] + match["low"], 16)
        return Fragment(Format.BMC, "address", closes=True, registers=RegisterValues(addr=address), claims=claims)
    if "_Status contains" in body and (match := _IMM.search(body)):
        return _imm(match)
    if any(words in body for words in _WORDS):
        claims = ((ClaimKind.FIRMWARE, body.strip()),)
        return Fragment(Format.BMC, "words", opens=True, closes=True, claims=claims, assumptions=(_NO_REGISTERS,))
    return None


def read(body: str, inside: bool) -> Fragment | None:  # noqa: ARG001 (every line of this format can be told alone)
    """The fragment that a line of a BMC's log is, or None."""
    if match := _AMI.search(body):
        registers = RegisterValues(status=int(match["status"], 16))
        if match["addr"]:
            registers["addr"] = int(match["addr"], 16)
        if match["misc"]:
            registers["misc"] = int(match["misc"], 16)
        values = Values(bank=int(match["bank"]), delivery=Delivery.FIRMWARE)
        if int(match["apic"]) < 1 << 32:
            values["apicid"] = int(match["apic"])
        claims = ((ClaimKind.FIRMWARE, match["scope"]),)
        return Fragment(Format.BMC, "head", opens=True, closes=True, values=values, registers=registers, claims=claims)
    if match := _HP.search(body):
        return _hp(match)
    return _two_lines_or_words(body)


GRAMMAR = Grammar(
    format=Format.BMC,
    tokens=(
        "McaStatus", "Machine Check Exception (", "MachineCheck Data", "_Status contains", "machine check ",
        "Machine Check errors occurred", "CPU Machine Chk",
    ),
    evidence_tokens=("McaStatus", "Machine Check Exception (", "MachineCheck Data a"),
    read=read,
)  # fmt: skip
