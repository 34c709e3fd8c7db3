"""Raw registers with every field named, for those who want to check the reading against the manual."""

from __future__ import annotations

from collections.abc import Iterator

from ringfence.arch import mci_ctl2, mci_misc, smca_registers
from ringfence.arch.bitfield import Register
from ringfence.arch.cpuid import Vendor, is_smca
from ringfence.arch.mcg import MCG_CAP, MCG_STATUS
from ringfence.arch.mci_status import layout
from ringfence.diagnosis.finding import Finding
from ringfence.record.evidence import Registers

_AMD = frozenset({Vendor.AMD, Vendor.HYGON})


def _layouts(finding: Finding) -> dict[str, Register]:
    """The layout of each register on this processor, by the register's name in the evidence."""
    known = finding.meaning.processor
    signature = known.signature if known is not None else None
    registers = finding.record.registers
    amd = finding.vendor in _AMD
    layouts = {
        "mcg_status": MCG_STATUS,
        "mcg_cap": MCG_CAP,
        "synd": smca_registers.SYND,
        "ipid": smca_registers.IPID,
        "config": smca_registers.CONFIG,
        "destat": smca_registers.DESTAT,
        "ctl2": mci_ctl2.INTEL,
        "misc": mci_misc.AMD_MISC0 if amd else mci_misc.INTEL,
    }
    smca = registers.ipid is not None or (signature is not None and is_smca(signature))
    layouts["status"] = layout(finding.vendor, signature, smca, bank=finding.record.bank, mcg_cap=registers.mcg_cap)
    return layouts


def _fields(register: Register, value: int) -> Iterator[str]:
    for piece in register.split(value):
        bits = f"{piece.high}:{piece.low}" if piece.high != piece.low else str(piece.high)
        if piece.field is None:
            yield f"      {bits:>6}  {piece.value:#x}  not declared for this processor"
        else:
            # A flag's sentence says what it means when set.
            is_clear_flag = piece.high == piece.low and not piece.value
            meaning = "clear" if is_clear_flag else piece.field.meaning
            yield f"      {bits:>6}  {piece.field.name} = {piece.value:#x}  ({meaning})"


def registers_text(finding: Finding) -> str:
    """Every register of the evidence, taken apart field by field, with the manual section of its layout."""
    registers = finding.record.registers
    layouts = _layouts(finding)
    out: list[str] = []
    for name in Registers.__slots__:
        value = getattr(registers, name)
        if value is None:
            continue
        register = layouts.get(name)
        if register is None:
            out.append(f"    {name.upper()} {value:#018x}")
        else:
            out.append(f"    {register.name} {value:#018x}  [{register.cite}]")
            out.extend(_fields(register, value))
    return "".join(f"{line}\n" for line in out)
