"""What a severity rule is: bits and named conditions on one side, a class and its reason on the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from ringfence.arch import mci_status
from ringfence.arch.bitfield import Field
from ringfence.arch.cpuid import Signature, Vendor
from ringfence.decode.meaning import Note
from ringfence.errors import DeclarationError
from ringfence.quick import quick
from ringfence.record.evidence import ClaimedSeverity, Delivery


class Severity(StrEnum):
    """How bad an error is, from the least to the worst; ``badness`` gives that order.

    ``DEFERRED`` (AMD), ``UCNA`` and ``SRAO`` are uncorrected errors that nobody has consumed, as far as is known;
    ``SRAR`` was consumed and can be confined; ``FATAL`` cannot (SDM vol. 3B 17.6.3, APM vol. 2 9.3.2).
    """

    NONE = "NONE"
    CORRECTED = "CORRECTED"
    DEFERRED = "DEFERRED"
    UCNA = "UCNA"
    SRAO = "SRAO"
    SRAR = "SRAR"
    FATAL = "FATAL"

    @property
    def badness(self) -> int:
        """0 for ``NONE`` up to 6 for ``FATAL``."""
        return _BADNESS[self]


_BADNESS = {severity: badness for badness, severity in enumerate(Severity)}


class ErrorClass(StrEnum):
    """Whether hardware got over the error by itself."""

    NONE = "none"
    CORRECTED = "corrected"
    UNCORRECTED = "uncorrected"

    @staticmethod
    def of(severity: Severity) -> ErrorClass:
        """The class of a severity: an uncorrected error is everything but ``CORRECTED`` and ``NONE``."""
        match severity:
            case Severity.NONE:
                return ErrorClass.NONE
            case Severity.CORRECTED:
                return ErrorClass.CORRECTED
            case Severity.DEFERRED | Severity.UCNA | Severity.SRAO | Severity.SRAR | Severity.FATAL:
                return ErrorClass.UNCORRECTED


class Reason(msgspec.Struct, frozen=True):
    """Why something is said: the rule's name, its sentence, and the manual section or source behind it."""

    rule: str
    because: str
    cite: str


@quick
@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """All that severity depends on. None: the evidence does not say.

    ``status`` is MCi_STATUS, ``destat`` MCA_DESTAT. ``ser_p`` is MCG_CAP.SER_P, ``succor`` and ``overflow_recovery``
    are AMD's CPUID Fn8000_0007_EBX[1] and [0]: here they are always known or decided, see ``severity_capabilities``.
    ``delivery`` is UNKNOWN where neither the source nor MCG_STATUS tells. ``claimed`` is the source's own word,
    ``claimed_consumed`` that it says the bad data was consumed.
    """

    vendor: Vendor | None = None
    signature: Signature | None = None
    smca: bool = False
    status: int | None = None
    mcg_status: int | None = None
    delivery: Delivery = Delivery.UNKNOWN
    ser_p: bool = False
    succor: bool = False
    overflow_recovery: bool = False
    bank: int | None = None
    cs: int | None = None
    destat: int | None = None
    claimed: ClaimedSeverity | None = None
    claimed_consumed: bool = False
    not_an_error: Note | None = None

    def has(self, bit: Field) -> bool:
        """Whether a one-bit field of MCi_STATUS is set."""
        return bool((self.status or 0) & bit.mask)

    @property
    def by_exception(self) -> bool:
        """Whether the record comes from a machine-check exception handler."""
        return self.delivery in {Delivery.MACHINE_CHECK, Delivery.LOCAL_MACHINE_CHECK}


@dataclass(frozen=True, slots=True)
class Condition:
    """A named condition that is more than bits of MCi_STATUS."""

    name: str
    holds: Callable[[Inputs], bool] = field(compare=False)


@dataclass(frozen=True, slots=True)
class Code:
    """A pattern of error codes: ``status & mask == wanted`` (bits 31:0 only)."""

    name: str
    mask: int
    wanted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of a severity table. It matches if all of its parts do; a rule without parts matches always.

    ``set`` and ``clear`` are one-bit fields of MCi_STATUS. Raises DeclarationError if the parts contradict each other.
    """

    name: str
    severity: Severity
    because: str
    cite: str
    set: tuple[Field, ...] = ()
    clear: tuple[Field, ...] = ()
    code: Code | None = None
    when: tuple[Condition, ...] = ()
    mask: int = field(init=False, default=0)
    wanted: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        bits = (*self.set, *self.clear)
        if any(bit.high != bit.low for bit in bits) or len({bit.low for bit in bits}) != len(bits):
            raise DeclarationError(f"rule {self.name}: set and clear must be different single bits")
        mask = sum(bit.mask for bit in bits)
        wanted = sum(bit.mask for bit in self.set)
        if self.code is not None:
            if self.code.wanted & ~self.code.mask or self.code.mask >> 32:
                raise DeclarationError(f"rule {self.name}: the pattern {self.code.name} can never match")
            mask |= self.code.mask
            wanted |= self.code.wanted
        object.__setattr__(self, "mask", mask)
        object.__setattr__(self, "wanted", wanted)

    def matches(self, inputs: Inputs) -> bool:
        """Whether the rule applies."""
        return ((inputs.status or 0) & self.mask) == self.wanted and all(
            condition.holds(inputs) for condition in self.when
        )

    @property
    def reason(self) -> Reason:
        """The rule as a reason."""
        return Reason(self.name, self.because, self.cite)


Table = tuple[Rule, ...]
"""Rules in the order in which they are tried: the first that matches decides."""

BY_EXCEPTION = Condition("reported by a machine-check exception", lambda inputs: inputs.by_exception)
EXPLAINED_AWAY = Condition("known not to be an error", lambda inputs: inputs.not_an_error is not None)

NOT_AN_ERROR = Rule(
    name="not-an-error",
    severity=Severity.NONE,
    because="the record is known not to report a hardware error",
    cite="the note on the record",
    when=(EXPLAINED_AWAY,),
)
NOT_VALID = Rule(
    name="not-valid",
    severity=Severity.NONE,
    because="VAL=0: the bank holds no error",
    cite="SDM vol. 3B 17.3.2.2; APM vol. 2 9.3.2",
    clear=(mci_status.VAL,),
)
PCC_WITHOUT_UC = Rule(
    name="pcc-without-uc",
    severity=Severity.FATAL,
    because="PCC=1 says that the processor's context may be corrupt, though UC=0 calls the error corrected: "
    "the two contradict each other, and the worse is believed",
    cite="SDM vol. 3B 17.3.2.2; APM vol. 2 9.3.2; Linux arch/x86/kernel/cpu/mce/severity.c tests PCC alone",
    set=(mci_status.PCC,),
    clear=(mci_status.UC,),
)
PCC = Rule(
    name="pcc",
    severity=Severity.FATAL,
    because="PCC=1: the processor's context may be corrupt, so it cannot be continued reliably",
    cite="SDM vol. 3B 17.3.2.2; APM vol. 2 9.3.2",
    set=(mci_status.PCC,),
)
CORRECTED = Rule(
    name="corrected",
    severity=Severity.CORRECTED,
    because="UC=0: the hardware corrected the error, and nothing was lost",
    cite="SDM vol. 3B 17.3.2.2; APM vol. 2 9.3.2",
    clear=(mci_status.UC,),
)
