"""Machine-check registers in the texts of baseboard management controllers: one line, one record.

Two forms are known from real logs: AMI's MegaRAC syslog (registers that the BIOS hands over after the fact), and the
Integrated Management Log of HP and HPE (an apostrophe parts the halves of a register). Both come from firmware.
"""

from __future__ import annotations

import re

from ringfence.record.evidence import ClaimKind, Delivery, Format
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
    return None


GRAMMAR = Grammar(
    format=Format.BMC,
    tokens=("McaStatus", "Machine Check Exception ("),
    evidence_tokens=("McaStatus", "Machine Check Exception ("),
    read=read,
)
