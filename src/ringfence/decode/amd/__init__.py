"""AMD and Hygon: from one bank's registers to unit, error, address and place."""

from __future__ import annotations

from typing import Final

from ringfence.arch.cpuid import SMCA_FROM_FAMILY, Processor, Signature, Vendor
from ringfence.decode.amd.legacy import read_legacy
from ringfence.decode.amd.smca import read_smca
from ringfence.decode.amd.virtual import read_virtual
from ringfence.decode.meaning import BankReading
from ringfence.record.evidence import Record

__all__ = ["read_bank"]

_LAST_LEGACY_BANK: Final = 6


def read_bank(record: Record, processor: Processor | None) -> BankReading:
    """What a bank of an AMD or Hygon processor says; ``record.registers.status`` must not be None.

    A pure function of the record's registers, bank, socket, node and delivery and of the processor, and for what the
    kernel's decoder printed, of its words. Never raises for any register values; raises ValueError if there is no
    status.
    """
    status = record.registers.status
    if status is None:
        raise ValueError("a bank cannot be read without MCi_STATUS")
    virtual = read_virtual(record)
    if virtual is not None:
        return virtual
    signature = None if processor is None else processor.signature
    if has_smca(record, signature):
        return read_smca(record, status, signature)
    return read_legacy(record, status, signature)


def has_smca(record: Record, signature: Signature | None) -> bool:
    """Whether the record is one of a Scalable MCA bank: by the processor, else by the registers or the bank number.

    Before SMCA there were at most seven banks, and none of SMCA's registers.
    """
    if signature is not None:
        return signature.vendor is Vendor.HYGON or signature.family >= SMCA_FROM_FAMILY
    registers = record.registers
    smca_only = (registers.ipid, registers.synd, registers.config, registers.destat)
    if any(value is not None for value in smca_only):
        return True
    return record.bank is not None and record.bank > _LAST_LEGACY_BANK
