"""Zhaoxin and Centaur: Intel's machine-check architecture, with banks of their own.

Registers and MCA error codes are Intel's (Linux arch/x86/kernel/cpu/mce/core.c and severity.c treat the makers alike).
Of the model-specific part only the KH-50000's is public: rasdaemon, mce-zhaoxin-kh50000.c, by Zhaoxin. No manual is.
"""

from __future__ import annotations

from dataclasses import replace

from ringfence.arch.cpuid import Processor, Vendor
from ringfence.decode.intel.bank import NOTHING, Bank, Banks, Logged, Reader, Specific, choice, code_names, misc_bits
from ringfence.decode.intel.models import UNKNOWN, Model
from ringfence.decode.intel.reading import read_with
from ringfence.decode.meaning import BankReading, Note
from ringfence.record.evidence import Location, Record

_KH50000 = (7, 0x7B)
_SVAD_BANK = 8
_SVAD_NOTE = Note(
    "Bank 8 of this processor reports one error only, of the system view address decoder (SVAD), and prefetches raise "
    "it falsely when virtual machines start; Linux switches the bank off.",
    "Linux arch/x86/kernel/cpu/mce/core.c mce_zhaoxin_feature_init",
)


def read_bank(record: Record, processor: Processor | None) -> BankReading:
    """What a bank of a Zhaoxin or Centaur processor says. Raises ValueError if the record has no MCi_STATUS."""
    reading = read_with(record, processor, _model_of(processor))
    if record.bank == _SVAD_BANK and _has_svad_bank(processor):
        return replace(reading, notes=(*reading.notes, _SVAD_NOTE))
    return reading


def _has_svad_bank(processor: Processor | None) -> bool:
    if processor is None or processor.signature.vendor not in (Vendor.ZHAOXIN, Vendor.CENTAUR):
        return False
    family, model = processor.signature.family, processor.signature.model
    return (family, model) == (7, 0x1B) or model in (0x19, 0x1F)


def _model_of(processor: Processor | None) -> Model:
    if processor is None or (processor.signature.family, processor.signature.model) != _KH50000:
        return UNKNOWN
    return _KH50000_MODEL


def _core(logged: Logged) -> Specific:
    """MCi_STATUS[24:16]: which core of which die met the error."""
    return Specific(
        details=(
            f"I/O die {logged.bits(24, 23)}, core die (CCD) {logged.bits(22, 19)}, core {logged.bits(18, 16)} of it",
        ),
    )


_CACHE_ERRORS = {
    1: "single-bit ECC error in the data of one line",
    2: "single-bit ECC error in different lines",
    3: "multi-bit ECC error in data",
}


def _pcie(logged: Logged) -> Specific:
    """Severity [23:16], and the device in MISC."""
    severities = {0: "PCI Express fatal error", 1: "PCI Express non-fatal error", 2: "PCI Express correctable error"}
    severity = severities.get(logged.bits(23, 16))
    details: tuple[str, ...] = ()
    if logged.misc is not None:
        segment, bus = misc_bits(logged.misc, 39, 32), misc_bits(logged.misc, 31, 24)
        device, function = misc_bits(logged.misc, 23, 19), misc_bits(logged.misc, 18, 16)
        details = (f"PCI Express device {segment:04x}:{bus:02x}:{device:02x}.{function:x}",)
    return Specific(phrases=(severity,) if severity else (), details=details)


_LINK_ERRORS = {
    1: "receiver overflow (transaction layer)",
    2: "flow control protocol error (transaction layer)",
    3: "surprise down",
    4: "data link protocol error",
    5: "replay timer timed out",
    6: "replay number rolled over",
    7: "bad data link layer packet",
    8: "bad transaction layer packet",
    9: "receiver error (physical layer)",
    10: "link training error (physical layer)",
    11: "link width reduced: unreliable link",
    14: "link speed reduced: unreliable link",
    **{
        16 + index: f"link width reduced to {width}: unreliable link"
        for index, width in enumerate(("x32/x24", "x16/x12", "x8", "x4", "x2"))
    },
    **{21 + index: f"link speed reduced to Gen{4 - index}: unreliable link" for index in range(3)},
}
_CCD_LINK_ERRORS = {
    1: "receiver overflow",
    2: "physical layer training error",
    3: "flow control protocol error",
    4: "surprise down",
    5: "data link protocol error",
    6: "replay timed out",
    7: "replay number rolled over",
    8: "bad data link layer packet",
    9: "bad transaction layer packet",
    10: "Gen2 unreliable",
    11: "Gen3 unreliable",
    12: "Gen4 unreliable",
    13: "x2 unreliable",
    14: "x4 unreliable",
    15: "x8 unreliable",
    16: "x16/x12 unreliable",
    17: "x32/x24 unreliable",
}


def _which_link(name: str, count: int) -> Reader:
    """MCi_MISC from bit 25 on: one bit per link."""

    def read(logged: Logged) -> Specific:
        if logged.misc is None:
            return NOTHING
        links = [str(index) for index in range(count) if logged.misc >> (25 + index) & 1]
        return Specific(details=(f"{name} link {', '.join(links)}",) if links else ())

    return read


_SVID_ERRORS = {
    1: "resending failed",
    2: "voltage regulator over-current",
    3: "voltage regulator over-temperature",
    4: "voltage regulator parity error",
}


def _regulator(logged: Logged) -> Specific:
    if logged.misc is None:
        return NOTHING
    return Specific(details=(f"voltage regulator {misc_bits(logged.misc, 25, 24)}",))


_CHANNELS = ("A0", "B0", "A1", "B1", "C0", "C1", "A2", "B2", "C2", "A3", "B3", "C3")
_MEMORY_ERRORS = {
    1: "single-bit ECC error",
    2: "multi-bit ECC error",
    3: "command parity error",
    4: "CRC error",
    5: "retry after a parity error failed",
    6: "retry after a CRC error failed",
    **dict.fromkeys(range(7, 16), "address decode error (DVAD)"),
    16: "key not found",
}


def _memory(logged: Logged) -> Specific:
    """Channel name from the error code, rank and syndrome from MISC."""
    details: list[str] = []
    location = Location()
    channel = logged.code.channel
    if logged.code.is_memory and channel is not None and channel < len(_CHANNELS):
        details.append(f"channel {_CHANNELS[channel]}")
    if logged.misc is not None:
        syndrome = misc_bits(logged.misc, 16, 9)
        details.append(f"ECC syndrome {syndrome:#04x} (single-bit errors)")
        location = Location(rank=misc_bits(logged.misc, 26, 25), syndrome=syndrome)
    return Specific(details=tuple(details), location=location)


# What the code means in a memory bank, where it is not a memory controller code.
_MEMORY_CODES = code_names({0x0001: "Address decode error (DVAD)", 0x0005: "Memory controller parity error"})

_HIF_ERRORS = {
    1: "address decode error (DVAD)",
    2: "multi-bit ECC error in the snoop table",
    3: "single-bit ECC error in the snoop table",
    4: "CXL poison, uncorrected",
    5: "CXL poison, corrected",
    6: "CXL parity error",
}

_LINK = choice(_LINK_ERRORS)
_SVID = (choice(_SVID_ERRORS, high=31, low=24), _regulator)
_DRAM = Bank("Memory controller", (_MEMORY_CODES, choice(_MEMORY_ERRORS), _memory))

_KH50000_BANKS: Banks = {
    0: Bank("Core", (choice({2: "the processor hung", 3: "undefined microcode address"}, high=29, low=25), _core)),
    1: Bank("L2 cache (PL2)", (choice(_CACHE_ERRORS, high=25, low=24),)),
    2: Bank("PCI Express (CRMCA0)", (_pcie,)),
    3: Bank("I/O die interconnect (ZDI, CRMCA0)", (_LINK, _which_link("ZDI", 6))),
    4: Bank("SVID 0", _SVID),
    5: Bank("I/O die interconnect (ZDI, CRMCA1)", (_LINK, _which_link("ZDI", 6))),
    6: Bank("PCI Express (CRMCA1)", (_pcie,)),
    7: Bank("Core die interconnect (ZDI)", (choice(_CCD_LINK_ERRORS, high=29, low=25), _core)),
    **dict.fromkeys((*range(9, 17), *range(18, 22)), _DRAM),
    17: Bank("Last-level cache", (choice(_CACHE_ERRORS, high=26, low=25), _core)),
    22: Bank("SVID 2", _SVID),
    26: Bank("Socket interconnect (ZPI)", (_LINK, _which_link("ZPI", 3))),
    27: Bank("SVID 1", _SVID),
    **{
        28 + index: Bank(f"Host interface (HIF) {index}", (choice(_HIF_ERRORS, high=23, low=16),)) for index in range(4)
    },
}
_KH50000_MODEL = Model(_KH50000_BANKS)
