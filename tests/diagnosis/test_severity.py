"""How bad real errors are, what had to be assumed for it, and where Linux's handler grades them otherwise."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from ringfence.arch import cpuid
from ringfence.arch import mci_status as bits
from ringfence.arch.bitfield import Field
from ringfence.arch.cpuid import Signature, Vendor
from ringfence.decode.meaning import Note
from ringfence.diagnosis.finding import diagnose
from ringfence.diagnosis.severity import Inputs, Mode, Scope, Severity, Verdict, judge, judge_inputs
from ringfence.record.evidence import (
    Claim,
    ClaimedSeverity,
    ClaimKind,
    Delivery,
    Format,
    MemoryReport,
    Origin,
    Record,
    Registers,
)

EXCEPTION, LOCAL, POLLED = Delivery.MACHINE_CHECK, Delivery.LOCAL_MACHINE_CHECK, Delivery.POLLED


def record(
    registers: Registers | None = None,
    *,
    bank: int | None = None,
    delivery: Delivery = Delivery.UNKNOWN,
    memory: MemoryReport | None = None,
    claims: tuple[Claim, ...] = (),
) -> Record:
    return Record(
        origin=Origin("test"),
        format=Format.TYPED,
        raw=b"",
        registers=registers or Registers(),
        bank=bank,
        delivery=delivery,
        memory=memory,
        claims=claims,
    )


def verdict(vendor: Vendor, eax: int, one: Record) -> Verdict:
    return judge(one, vendor, cpuid.signature(vendor, eax))


@dataclass(frozen=True)
class Case:
    """One real record and what it is; ``source`` says where the registers stand in public."""

    source: str
    vendor: Vendor
    cpuid: int
    registers: Registers
    severity: Severity
    rule: str
    facts: frozenset[str] = frozenset()


CASES = [
    Case(
        "LKML 2022, patch on EX_TYPE uaccess: Ice Lake-SP, injected load in the kernel, LMCE",
        Vendor.INTEL,
        0x606A6,
        Registers(status=0xBD80000000100134, addr=0xF921F31400, misc=0x86, mcg_status=0xF, cs=0x10),
        Severity.SRAR,
        "srar-data-load",
        frozenset({"kernel-context", "local"}),
    ),
    Case(
        "LKML 20250928032842.1399147-1-qiuxu.zhuo@intel.com: Clearwater Forest, while splitting a huge page, LMCE",
        Vendor.INTEL,
        0xD06D0,
        Registers(status=0xBD80000000070134, addr=0x1D301B000, misc=0x80, mcg_status=0xF, cs=0x10),
        Severity.SRAR,
        "srar-data-load",
        frozenset({"kernel-context", "local"}),
    ),
    Case(
        "mcelog text of a Skylake-SP patrol scrub (public kernel notes), MCGCAP f000814",
        Vendor.INTEL,
        0x50654,
        Registers(status=0xFD001DC0001000C1, addr=0x5F14903680, mcg_status=5, mcg_cap=0xF000814),
        Severity.SRAO,
        "srao-scrub",
        frozenset({"overflow"}),
    ),
    Case(
        "Dell support archive: Westmere-EX, MCGCAP 1000c18, memory read",
        Vendor.INTEL,
        0x206F2,
        Registers(status=0xB00000000800009F, mcg_status=0, mcg_cap=0x1000C18),
        Severity.UCNA,
        "ucna",
    ),
    Case(
        "mcelog text of a Skylake-SP internal parity error, MCGCAP f000c14",
        Vendor.INTEL,
        0x50654,
        Registers(status=0xB200000000400005, mcg_status=5, mcg_cap=0xF000C14),
        Severity.FATAL,
        "pcc",
    ),
    Case(
        "andikleen/mcelog issue 116: Ice Lake-SP, corrected read",
        Vendor.INTEL,
        0x606A6,
        Registers(status=0x8C00004200800090, mcg_status=0, mcg_cap=0xF000C1C),
        Severity.CORRECTED,
        "corrected",
    ),
    Case(
        "mchehab/rasdaemon issue 155: Broadwell-DE, all-zero STATUS",
        Vendor.INTEL,
        0x50663,
        Registers(status=0, mcg_status=0),
        Severity.NONE,
        "not-valid",
    ),
    Case(
        "Arch wiki, Ryzen: Zen 3 instruction fetch, polled at boot",
        Vendor.AMD,
        0xA20F10,
        Registers(status=0xBC800800060C0859, mcg_status=0, ipid=0x100B000000000),
        Severity.SRAR,
        "poison-consumed",
        frozenset({"task-context-corrupt", "left-over"}),
    ),
    Case(
        "LKML November 2022, B. Petkov: Milan, injected, PCC",
        Vendor.AMD,
        0xA00F11,
        Registers(status=0xFE000010000B0C0F, mcg_status=6, cs=0x10),
        Severity.FATAL,
        "pcc",
        frozenset({"overflow", "kernel-context", "not-restartable"}),
    ),
    Case(
        "amdgpu bug mail March 2022: Picasso, coherent slave, deferred address violation",
        Vendor.AMD,
        0x810F81,
        Registers(status=0x9C2030000001085B, ipid=0x2E00000000),
        Severity.DEFERRED,
        "deferred",
    ),
    Case(
        "serverfault question on a 6200 Opteron: northbridge DRAM ECC",
        Vendor.AMD,
        0x600F12,
        Registers(status=0x9C0240006B080813),
        Severity.CORRECTED,
        "corrected",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.source)
def test_a_real_record_is_judged_as_its_source_says(case: Case) -> None:
    found = verdict(case.vendor, case.cpuid, record(case.registers))
    assert found.severity is case.severity
    assert found.reasons[0].rule == case.rule
    assert {reason.rule for reason in found.reasons[1:]} == case.facts


# --- what is assumed -------------------------------------------------------------------------------------------------

UC = 0xB000000000000005
UC_OVER = 0xF000000000000005


@pytest.mark.parametrize(
    ("vendor", "eax", "status", "severity", "assumption"),
    [
        (Vendor.INTEL, 0x606A6, UC, Severity.UCNA, "SER_P is present on Ice Lake-SP"),
        (Vendor.INTEL, 0x206C2, UC, Severity.FATAL, "SER_P is absent on Westmere-EP (MCG_CAP 1c09h"),
        (Vendor.INTEL, 0x6FB, UC, Severity.FATAL, "SER_P is absent on Core 2 (Merom) (SDM"),
        (Vendor.INTEL, 0x906EB, UC, Severity.FATAL, "SER_P is assumed absent on Coffee Lake"),
        (Vendor.ZHAOXIN, 0x307B0, UC, Severity.FATAL, "SER_P is assumed absent"),
        (Vendor.AMD, 0xF5A, UC, Severity.FATAL, "absent before family 15h"),
        (Vendor.AMD, 0x600F12, UC, Severity.FATAL, "SUCCOR is assumed absent, and overflow recovery is present"),
        (
            Vendor.AMD,
            0x700F01,
            UC_OVER,
            Severity.FATAL,
            "on family 16h model 0x0 SUCCOR is assumed absent, and overflow recovery is assumed absent",
        ),
        (Vendor.AMD, 0x660F01, UC_OVER, Severity.FATAL, "overflow recovery is assumed absent"),
        (Vendor.AMD, 0x830F10, UC_OVER, Severity.SRAR, "are present on family 17h and later"),
        (Vendor.HYGON, 0x900F02, UC, Severity.SRAR, "are present on family 17h and later"),
    ],
)
def test_a_capability_that_is_not_in_the_evidence_is_taken_from_the_model_and_said_so(
    vendor: Vendor, eax: int, status: int, severity: Severity, assumption: str
) -> None:
    found = verdict(vendor, eax, record(Registers(status=status), delivery=EXCEPTION))
    assert found.severity is severity
    assert len(found.assumptions) == 1
    assert assumption in found.assumptions[0]


def test_mcg_cap_in_the_evidence_beats_the_model_and_leaves_nothing_to_assume() -> None:
    # andikleen/mcelog issue 35: a Skylake server with MCG_CAP 6000c14, that is without SER_P
    found = verdict(Vendor.INTEL, 0x50652, record(Registers(status=UC, mcg_cap=0x6000C14), delivery=EXCEPTION))
    assert (found.severity, found.assumptions) == (Severity.FATAL, ())


@pytest.mark.parametrize("status", [0x8C00004200800090, 0xBE00000000800400, 0])
def test_what_no_capability_could_change_lists_no_assumption(status: int) -> None:
    assert verdict(Vendor.INTEL, 0x606A6, record(Registers(status=status))).assumptions == ()


def test_a_guest_whose_kernel_says_that_it_has_no_recovery_is_believed() -> None:
    # qemu-devel August 2023, W. Roche: AMD guest without SUCCOR, "Machine Check Exception: 5 Bank 1: a000000000000000"
    registers = Registers(status=0xA000000000000000, mcg_status=5)
    said = Claim(ClaimKind.PANIC, "Uncorrected error without MCA Recovery")
    silent = verdict(Vendor.AMD, 0x800F12, record(registers, delivery=EXCEPTION))
    found = verdict(Vendor.AMD, 0x800F12, record(registers, delivery=EXCEPTION, claims=(said,)))
    assert silent.severity is Severity.SRAR
    assert found.severity is Severity.FATAL
    assert found.reasons[0].rule == "uc-without-succor"
    assert "the kernel's own message says that SUCCOR is absent" in found.assumptions[-1]


def test_an_amd_record_without_a_processor_is_an_smca_one_if_it_has_an_ipid() -> None:
    registers = Registers(status=0xBC00080001010135, ipid=0x1000B000000000)
    assert judge(record(registers), Vendor.AMD, None).table == "amd-smca"
    assert judge(record(registers), None, None).table == "amd-smca"


def test_bit_44_of_an_unknown_amd_processor_is_not_passed_over_as_corrected() -> None:
    found = judge(record(Registers(status=0x9C20300000010853)), Vendor.AMD, None)
    assert found.severity is Severity.DEFERRED
    assert "bit 44 is read as Deferred" in found.assumptions[0]
    k8 = verdict(Vendor.AMD, 0xF5A, record(Registers(status=0x9C20300000010853)))
    assert k8.severity is Severity.CORRECTED


def test_without_a_maker_an_uncorrected_error_is_fatal() -> None:
    found = judge(record(Registers(status=UC)), None, None)
    assert (found.severity, found.table) == (Severity.FATAL, "unknown-vendor")
    assert "maker is not known" in found.assumptions[0]


# --- delivery, context, scope ----------------------------------------------------------------------------------------


def test_an_error_that_was_not_enabled_did_not_raise_the_exception() -> None:
    # SDM vol. 3B 17.10.4.1
    status = UC & ~bits.EN.mask
    by_exception = judge_inputs(Inputs(vendor=Vendor.INTEL, ser_p=True, status=status, delivery=EXCEPTION))
    assert [reason.rule for reason in by_exception.reasons] == ["uc-not-enabled"]
    polled = judge_inputs(Inputs(vendor=Vendor.INTEL, ser_p=True, status=status, delivery=POLLED))
    assert [reason.rule for reason in polled.reasons] == ["ucna", "not-enabled"]


def test_ripv_says_nothing_of_an_exception_that_left_mcip_clear() -> None:
    # SDM vol. 3B 17.3.1.2: MCIP is set when a machine check is generated; an injected one leaves MCG_STATUS as it was.
    error = Inputs(vendor=Vendor.INTEL, ser_p=True, status=UC, delivery=EXCEPTION)
    injected = judge_inputs(replace(error, mcg_status=0))
    assert injected.interrupted_context_lost is None
    assert [reason.rule for reason in injected.reasons] == ["ucna", "mcip-clear"]
    real = judge_inputs(replace(error, mcg_status=4))
    assert real.interrupted_context_lost is True
    assert [reason.rule for reason in real.reasons] == ["ucna", "not-restartable"]


def test_lmce_changes_the_scope_and_not_the_class() -> None:
    status = 0xBD80000000100134
    ice_lake = Signature(Vendor.INTEL, 6, 0x6A, 6)
    everybody = judge_inputs(
        Inputs(vendor=Vendor.INTEL, signature=ice_lake, ser_p=True, status=status, mcg_status=7, delivery=EXCEPTION)
    )
    alone = judge_inputs(
        Inputs(vendor=Vendor.INTEL, signature=ice_lake, ser_p=True, status=status, mcg_status=15, delivery=LOCAL)
    )
    assert (everybody.severity, everybody.scope) == (Severity.SRAR, Scope.BROADCAST)
    assert (alone.severity, alone.scope) == (Severity.SRAR, Scope.LOCAL)


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        (Inputs(vendor=Vendor.INTEL, status=UC, delivery=POLLED), Scope.NONE),
        (Inputs(vendor=Vendor.INTEL, status=UC, delivery=Delivery.CMCI), Scope.NONE),
        (Inputs(vendor=Vendor.INTEL, status=UC), Scope.UNKNOWN),
        (Inputs(vendor=Vendor.AMD, status=UC, delivery=EXCEPTION), Scope.LOCAL),
        (Inputs(vendor=Vendor.ZHAOXIN, status=UC, delivery=EXCEPTION), Scope.BROADCAST),
        (
            Inputs(vendor=Vendor.INTEL, signature=Signature(Vendor.INTEL, 6, 11, 4), status=UC, delivery=EXCEPTION),
            Scope.UNKNOWN,  # Pentium III
        ),
    ],
)
def test_to_whom_an_exception_goes(inputs: Inputs, expected: Scope) -> None:
    assert judge_inputs(inputs).scope is expected


@pytest.mark.parametrize("cs", [None, 0x10, 0x33])
@pytest.mark.parametrize("mcg_status", [4, 5, 6, 7])
def test_user_or_kernel_context_is_told_and_changes_no_class(cs: int | None, mcg_status: int) -> None:
    found = judge_inputs(
        Inputs(
            vendor=Vendor.INTEL, ser_p=True, status=0xBD80000000100134, mcg_status=mcg_status, cs=cs, delivery=EXCEPTION
        )
    )
    assert found.severity is Severity.SRAR
    known = {0x10: Mode.KERNEL, 0x33: Mode.USER}
    assert found.mode is (Mode.UNKNOWN if cs is None or mcg_status == 4 else known[cs])
    assert found.interrupted_context_lost is not bool(mcg_status & 1)
    assert ("consumer-elsewhere" in {reason.rule for reason in found.reasons}) == (mcg_status == 5)


@pytest.mark.parametrize(
    ("status", "mcg_status", "delivery", "lost"),
    [
        (0xBC80080000000000, 7, EXCEPTION, True),  # TCC
        (0xBC00080000000000, 7, EXCEPTION, False),
        (0xBC00080000000000, 6, EXCEPTION, True),  # RIPV=0
        (0xBC00080000000000, None, EXCEPTION, None),
        (0xBC00080000000000, 0, POLLED, None),
        (0xBE00080000000000, 7, EXCEPTION, True),  # PCC
        (0x3C80080000000000, 6, EXCEPTION, None),  # VAL=0
    ],
)
def test_tcc_or_a_clear_ripv_mean_that_the_interrupted_context_is_lost(
    status: int, mcg_status: int | None, delivery: Delivery, lost: bool | None
) -> None:
    found = judge_inputs(
        Inputs(
            vendor=Vendor.AMD,
            smca=True,
            succor=True,
            overflow_recovery=True,
            status=status,
            mcg_status=mcg_status,
            delivery=delivery,
        )
    )
    assert found.interrupted_context_lost is lost


def test_bit_55_is_task_context_corrupt_on_smca_only() -> None:
    inputs = Inputs(vendor=Vendor.INTEL, ser_p=True, status=0xBD80000000100134, mcg_status=7, delivery=EXCEPTION)
    assert judge_inputs(inputs).interrupted_context_lost is False


@pytest.mark.parametrize(
    ("mcg_status", "scope"),
    [(0, Scope.NONE), (4, Scope.BROADCAST), (0xC, Scope.LOCAL), (None, Scope.UNKNOWN)],
)
def test_where_the_source_does_not_say_how_it_came_mcg_status_does(mcg_status: int | None, scope: Scope) -> None:
    assert verdict(Vendor.INTEL, 0x606A6, record(Registers(status=UC, mcg_status=mcg_status))).scope is scope


def test_deferred_is_tested_before_poison_and_after_pcc() -> None:
    def on_smca(*fields: Field) -> Severity:
        status = sum(field.mask for field in (bits.VAL, bits.EN, *fields))
        return judge_inputs(Inputs(vendor=Vendor.AMD, smca=True, succor=True, status=status)).severity

    assert on_smca(bits.DEFERRED, bits.POISON) is Severity.DEFERRED
    assert on_smca(bits.UC, bits.POISON) is Severity.SRAR
    assert on_smca(bits.UC, bits.PCC, bits.DEFERRED) is Severity.FATAL


def test_a_deferred_error_that_only_destat_holds_is_found() -> None:
    found = verdict(Vendor.AMD, 0xA00F11, record(Registers(status=0, destat=0x9420100000000000)))
    assert (found.severity, found.reasons[0].rule) == (Severity.DEFERRED, "deferred-in-destat")
    alone = verdict(Vendor.AMD, 0xA00F11, record(Registers(destat=0x9420100000000000)))
    assert alone.severity is Severity.DEFERRED


def test_a_skylake_patrol_scrub_reported_as_corrected_is_not_believed() -> None:
    # MSCOD 0010h MCACOD 00C1h in a memory controller bank, ADDRV MISCV, UC=0: Linux severity.c
    registers = Registers(status=0x9C000040001000C1, mcg_cap=0xF000C14)
    assert verdict(Vendor.INTEL, 0x50657, record(registers, bank=14)).severity is Severity.SRAO
    assert verdict(Vendor.INTEL, 0x50657, record(registers, bank=7)).severity is Severity.CORRECTED
    assert verdict(Vendor.INTEL, 0x50652, record(registers, bank=14)).severity is Severity.CORRECTED
    assert verdict(Vendor.INTEL, 0x606A6, record(registers, bank=14)).severity is Severity.CORRECTED


def test_what_the_decoder_knows_to_be_no_error_is_none_and_says_why() -> None:
    # linux-edac September 2025: Cezanne, noise from MCA_DESTAT read as a status with PCC and Deferred
    note = Note("MCA_DESTAT of this bank is noise", "linux-edac, September 2025")
    found = judge(record(Registers(status=0x8700900800000000)), Vendor.AMD, Signature(Vendor.AMD, 0x19, 0x50, 0), note)
    assert found.severity is Severity.NONE
    assert [(reason.rule, reason.because, reason.cite) for reason in found.reasons] == [
        ("not-an-error", note.text, note.source)
    ]


# --- records without registers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("claimed", "severity"),
    [
        (ClaimedSeverity.CORRECTED, Severity.CORRECTED),
        (ClaimedSeverity.DEFERRED, Severity.DEFERRED),
        (ClaimedSeverity.RECOVERABLE, Severity.SRAO),
        (ClaimedSeverity.FATAL, Severity.FATAL),
        (ClaimedSeverity.INFORMATIONAL, Severity.NONE),
    ],
)
def test_without_registers_the_sources_word_is_taken_and_called_so(
    claimed: ClaimedSeverity, severity: Severity
) -> None:
    found = judge(record(memory=MemoryReport(severity=claimed)), None, None)
    assert (found.severity, found.table) == (severity, "claims")
    assert "the source" in found.reasons[0].because


@pytest.mark.parametrize(
    ("kind", "text", "severity"),
    [
        (ClaimKind.SEVERITY, "Corrected error, no action required.", Severity.CORRECTED),
        (ClaimKind.SEVERITY, "Uncorrected, software restartable error.", Severity.SRAO),
        (ClaimKind.SEVERITY, "Deferred error, no action required.", Severity.DEFERRED),
        (ClaimKind.SEVERITY, "System Fatal error.", Severity.FATAL),
        (ClaimKind.SEVERITY, "recoverable", Severity.SRAO),
        (ClaimKind.SEVERITY, "uncorrectable, non-fatal", Severity.SRAO),
        (ClaimKind.SEVERITY, "info", Severity.NONE),
        (ClaimKind.PANIC, "Fatal local machine check", Severity.FATAL),
        (ClaimKind.MEMORY_FAILURE, "0x1d301b: recovery action for dirty LRU page: Recovered", Severity.SRAO),
    ],
)
def test_a_severity_in_words_is_read_and_uncorrected_is_not_corrected(
    kind: ClaimKind, text: str, severity: Severity
) -> None:
    assert judge(record(claims=(Claim(kind, text),)), None, None).severity is severity


def test_qemus_action_required_is_consumption_and_its_action_optional_is_not() -> None:
    # qemu-devel 2023/2024, W. Roche: "Guest MCE Memory Error at QEMU addr ... of type BUS_MCEERR_AR injected"
    memory = MemoryReport(severity=ClaimedSeverity.RECOVERABLE)
    required = Claim(ClaimKind.INJECTION, "Guest MCE Memory Error ... of type BUS_MCEERR_AR injected")
    optional = Claim(ClaimKind.INJECTION, "Guest MCE Memory Error ... of type BUS_MCEERR_AO injected")
    assert judge(record(memory=memory, claims=(required,)), None, None).severity is Severity.SRAR
    assert judge(record(memory=memory, claims=(optional,)), None, None).severity is Severity.SRAO


@pytest.mark.parametrize(
    ("words", "severity"),
    [
        ("Uncorrected hardware memory error in user-access at 3a4b5c000", Severity.SRAR),
        ("Kernel accessed poison in user space at 3a4b5c000", Severity.SRAR),
        ("Memory failure: 0x3a4b5c: recovery action for dirty LRU page: Recovered", Severity.SRAO),
    ],
)
def test_what_the_kernel_prints_when_somebody_took_bad_data_in_is_consumption(words: str, severity: Severity) -> None:
    # Linux arch/x86/kernel/cpu/mce/core.c, kill_me_maybe (MF_ACTION_REQUIRED) and kill_me_never
    memory = MemoryReport(severity=ClaimedSeverity.RECOVERABLE)
    claim = Claim(ClaimKind.MEMORY_FAILURE, words)
    assert judge(record(memory=memory, claims=(claim,)), None, None).severity is severity


@pytest.mark.parametrize(
    ("delivery", "said"), [(Delivery.UNKNOWN, True), (Delivery.FIRMWARE, True), (EXCEPTION, False), (POLLED, False)]
)
def test_that_an_amd_error_was_consumed_is_an_assumption_where_nothing_says_how_it_was_signalled(
    delivery: Delivery, said: bool
) -> None:
    found = verdict(Vendor.AMD, 0x830F10, record(Registers(status=UC), delivery=delivery))
    assert found.severity is Severity.SRAR
    assert any("it is taken as consumed" in sentence for sentence in found.assumptions) == said


def test_of_several_claims_the_worst_counts() -> None:
    claims = (Claim(ClaimKind.SEVERITY, "corrected"), Claim(ClaimKind.PANIC, "Fatal machine check"))
    assert judge(record(claims=claims), None, None).severity is Severity.FATAL


def test_a_record_that_says_nothing_is_never_called_corrected() -> None:
    silent = (
        record(),
        record(claims=(Claim(ClaimKind.OTHER, "corrected"),)),
        record(Registers(addr=0x1000)),
        record(memory=MemoryReport(physical_address=0x1000)),
    )
    for one in silent:
        with pytest.raises(ValueError, match="nothing to judge"):
            judge(one, Vendor.INTEL, None)


def test_registers_beat_the_sources_word_and_the_difference_is_shown() -> None:
    memory = MemoryReport(severity=ClaimedSeverity.CORRECTED)
    found = verdict(Vendor.INTEL, 0x606A6, record(Registers(status=UC, mcg_cap=0xF000C1C), memory=memory))
    assert found.severity is Severity.UCNA
    assert found.reasons[-1].rule == "source-disagrees"


def test_an_invalid_status_does_not_hide_what_the_source_says() -> None:
    memory = MemoryReport(severity=ClaimedSeverity.FATAL)
    assert verdict(Vendor.INTEL, 0x606A6, record(Registers(status=0), memory=memory)).severity is Severity.FATAL


# --- beside Linux ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Linux:
    """What arch/x86/kernel/cpu/mce/severity.c of Linux 6.1 makes of it (read off its table), and why we differ."""

    status: int
    linux: str
    ours: Severity
    why_we_differ: str | None = None
    mcg_status: int = 7
    cs: int = 0x33
    delivery: Delivery = EXCEPTION
    vendor: Vendor = Vendor.INTEL


AGREES = {
    "NO": {Severity.NONE},
    "KEEP": {Severity.CORRECTED},
    "DEFERRED": {Severity.DEFERRED},
    "UCNA": {Severity.UCNA},
    "AO": {Severity.SRAO},
    "AR": {Severity.SRAR},
    "PANIC": {Severity.FATAL},
}

BESIDE_LINUX = [
    Linux(0x0, "NO", Severity.NONE),
    Linux(0x9C000040000000C0, "KEEP", Severity.CORRECTED, delivery=POLLED),
    Linux(0xBE00000000800400, "PANIC", Severity.FATAL),
    Linux(0xBD000000000000C1, "AO", Severity.SRAO),
    Linux(0xBC000000000000C1, "AO", Severity.SRAO, delivery=POLLED, mcg_status=0),
    Linux(0xBD0000000000017A, "AO", Severity.SRAO),
    Linux(0xBC00000000000090, "UCNA", Severity.UCNA),
    Linux(0xBD80000000100134, "AR", Severity.SRAR),
    Linux(0xBD80000000100150, "AR", Severity.SRAR),
    Linux(0xFD80000000100134, "PANIC", Severity.FATAL),
    Linux(0xB080000000000005, "PANIC", Severity.FATAL),
    Linux(
        0xF080000000000005,
        "KEEP",
        Severity.FATAL,
        "AR=1 S=0 is undefined with OVER=1, too; Linux tests it with OVER=0 only, and then takes S=0 as silent",
    ),
    Linux(0xA200000000000005, "NO", Severity.FATAL, "EN=0 under #MC: not the cause, but PCC=1 still is what it is"),
    Linux(
        0xA000000000000005,
        "NO",
        Severity.UCNA,
        "EN=0 under #MC: Linux leaves it to polling, it is an error all the same",
    ),
    Linux(
        0xBD80000000100134,
        "PANIC",
        Severity.SRAR,
        "kernel code was hit: consumption, as before; who dies is decided later",
        cs=0x10,
    ),
    Linux(
        0xBD80000000100134,
        "PANIC",
        Severity.SRAR,
        "RIPV=EIPV=0: the context is lost, which is stated beside the class",
        mcg_status=4,
        cs=0,
    ),
    Linux(
        0xBD80000000100134,
        "KEEP",
        Severity.SRAR,
        "RIPV=1 EIPV=0: it was consumed, if by another logical processor",
        mcg_status=5,
    ),
    Linux(
        0xBD80000000100145,
        "PANIC",
        Severity.SRAR,
        "an SRAR code that Linux has no recovery for is still recoverable by class",
    ),
    Linux(0xBD00000000000405, "SOME", Severity.SRAO, "an SRAO code that Linux does not know is SRAO by S=1 AR=0"),
    Linux(
        0xB000000000000005,
        "PANIC",
        Severity.UCNA,
        "MCIP=0 in the handler: injected by software; stated beside the class",
        mcg_status=1,
    ),
    Linux(0xBE00000000000000, "PANIC", Severity.FATAL, vendor=Vendor.AMD),
    Linux(0x9C00100000000000, "DEFERRED", Severity.DEFERRED, vendor=Vendor.AMD),
    Linux(0x9C00080000000000, "KEEP", Severity.CORRECTED, vendor=Vendor.AMD),
    Linux(0xFC00080000000000, "AR", Severity.SRAR, vendor=Vendor.AMD),
    Linux(0xBC00080000000000, "PANIC", Severity.SRAR, "kernel code was hit: see above", vendor=Vendor.AMD, cs=0x10),
]


@pytest.mark.parametrize("case", BESIDE_LINUX)
def test_where_linux_grades_otherwise_there_is_a_reason(case: Linux) -> None:
    found = judge_inputs(
        Inputs(
            vendor=case.vendor,
            ser_p=True,
            smca=case.vendor is Vendor.AMD,
            succor=True,
            overflow_recovery=True,
            status=case.status,
            mcg_status=case.mcg_status,
            cs=case.cs,
            delivery=case.delivery,
        )
    )
    assert found.severity is case.ours
    assert (found.severity in AGREES.get(case.linux, set())) == (case.why_we_differ is None)


def test_tcc_is_a_fact_only_where_pcc_is_clear() -> None:
    def rules(status: int) -> set[str]:
        return {each.rule for each in judge_inputs(Inputs(vendor=Vendor.AMD, smca=True, status=status)).reasons}

    assert "task-context-corrupt" in rules(0xBC80080000000000)
    assert "task-context-corrupt" not in rules(0xBE80080000000000)


def test_an_srao_by_its_code_alone_does_not_claim_that_s_is_clear() -> None:
    # Skylake-SP, mcelog (055): a memory scrub error that came by an exception, S=1.
    found = judge_inputs(Inputs(vendor=Vendor.INTEL, ser_p=True, status=0xBD000000000000C0, delivery=EXCEPTION))
    assert found.reasons[0].rule == "srao-scrub"
    assert "S=0" not in found.reasons[0].because


# --- what to do ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("delivery", [Delivery.POLLED, Delivery.UNKNOWN])
def test_a_fatal_error_that_mcg_status_shows_to_be_polled_is_advised_on_as_one_of_the_past(delivery: Delivery) -> None:
    # Zen 2, github.com/NixOS (watchdog timeout found at the next start); rasdaemon gives MCG_STATUS and no delivery.
    watchdog = Record(
        origin=Origin("x"), format=Format.RASDAEMON, raw=b"", bank=5, vendor=Vendor.AMD, cpuid=0x870F10,
        delivery=delivery, registers=Registers(status=0xBEA0000000000108, mcg_status=0, ipid=0x500B000000000),
    )  # fmt: skip
    found = diagnose(watchdog)
    assert found.severity is Severity.FATAL
    assert "left-over" in {reason.rule for reason in found.reasons}
    assert "after the fact" in found.advice
    in_handler = replace(watchdog, delivery=Delivery.UNKNOWN, registers=replace(watchdog.registers, mcg_status=4))
    assert "after the fact" not in diagnose(in_handler).advice
