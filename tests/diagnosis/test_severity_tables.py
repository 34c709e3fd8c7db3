"""The severity tables as tables: total, without a rule that cannot be reached, and right for all 65,536 error codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice, product

import pytest

from ringfence.arch import mci_status as bits
from ringfence.arch.bitfield import Field
from ringfence.arch.cpuid import Signature, Vendor
from ringfence.decode.meaning import Note
from ringfence.diagnosis.severity import (
    TABLES,
    Code,
    Condition,
    ErrorClass,
    Inputs,
    Rule,
    Severity,
    Table,
    judge_inputs,
    table_name,
)
from ringfence.errors import DeclarationError
from ringfence.record.evidence import ClaimedSeverity, Delivery

CODES = (0x0000, 0x0005, 0x009F, 0x00C0, 0x00CF, 0x00D0, 0x10C3, 0x017A, 0x117A, 0x0134, 0x1134, 0x0150, 0x1150, 0x0C0B)
SKYLAKE_SCRUB_CODE = 0x001000C1
EXCUSE = Note("not an error", "a test")
SKYLAKE = Signature(Vendor.INTEL, 6, 0x55, 4)
MILAN = Signature(Vendor.AMD, 0x19, 0x01, 1)

INTEL_BITS = (bits.VAL, bits.UC, bits.PCC, bits.EN, bits.S, bits.AR, bits.OVER, bits.ADDRV, bits.MISCV)
AMD_BITS = (bits.VAL, bits.UC, bits.PCC, bits.EN, bits.OVER, bits.DEFERRED, bits.POISON, bits.TCC)
SHARED_BITS = (bits.VAL, bits.UC, bits.PCC, bits.EN, bits.OVER)


def statuses(fields: tuple[Field, ...], codes: Iterable[int]) -> Iterator[int]:
    for settings in product((0, 1), repeat=len(fields)):
        high = sum(field.mask for field, on in zip(fields, settings, strict=True) if on)
        for code in codes:
            yield high | code


def intel(ser_p: bool, vendor: Vendor) -> Iterator[Inputs]:
    codes = (*CODES, SKYLAKE_SCRUB_CODE)
    deliveries = (Delivery.MACHINE_CHECK, Delivery.POLLED, Delivery.UNKNOWN)
    places = ((SKYLAKE, 14), (SKYLAKE, 7)) if vendor is Vendor.INTEL and ser_p else ((None, None),)
    for status, delivery, (signature, bank) in product(tuple(statuses(INTEL_BITS, codes)), deliveries, places):
        yield Inputs(vendor=vendor, ser_p=ser_p, status=status, delivery=delivery, signature=signature, bank=bank)


def amd(smca: bool) -> Iterator[Inputs]:
    if smca:
        signatures: tuple[Signature | None, ...] = (MILAN,)
    else:
        signatures = (Signature(Vendor.AMD, 0x0F, 5, 1), Signature(Vendor.AMD, 0x15, 1, 2), None)
    destats = (None, bits.VAL.mask, bits.VAL.mask | bits.DEFERRED.mask) if smca else (None,)
    flags = (False, True)
    deliveries = (Delivery.MACHINE_CHECK, Delivery.POLLED)
    every = product(tuple(statuses(AMD_BITS, (0x0, 0x0813))), deliveries, signatures, destats, flags, flags)
    for status, delivery, signature, destat, succor, overflow_recovery in every:
        yield Inputs(
            vendor=Vendor.AMD,
            smca=smca,
            signature=signature,
            status=status,
            delivery=delivery,
            destat=destat,
            succor=succor,
            overflow_recovery=overflow_recovery,
        )


def unknown_vendor() -> Iterator[Inputs]:
    for status in statuses(SHARED_BITS, CODES):
        yield Inputs(status=status)


def claims() -> Iterator[Inputs]:
    for claimed, consumed in product(ClaimedSeverity, (False, True)):
        yield Inputs(claimed=claimed, claimed_consumed=consumed)


def excused(inputs: Iterable[Inputs]) -> Iterator[Inputs]:
    """Every input, and the first of them once more as one that is known to be no error."""
    first = True
    for one in inputs:
        if first:
            yield Inputs(vendor=one.vendor, smca=one.smca, ser_p=one.ser_p, status=one.status, not_an_error=EXCUSE)
            first = False
        yield one


GRIDS = {
    "intel-ser-p": lambda: intel(True, Vendor.INTEL),
    "intel-no-ser-p": lambda: intel(False, Vendor.INTEL),
    "amd-legacy": lambda: amd(False),
    "amd-smca": lambda: amd(True),
    "zhaoxin-ser-p": lambda: intel(True, Vendor.ZHAOXIN),
    "zhaoxin-no-ser-p": lambda: intel(False, Vendor.CENTAUR),
    "unknown-vendor": unknown_vendor,
    "claims": claims,
}


def conditions(table: Table) -> set[Condition]:
    return {condition for rule in table for condition in rule.when}


def test_every_table_has_its_grid() -> None:
    assert GRIDS.keys() == TABLES.keys()


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_total_each_of_its_rules_is_reached_and_the_grid_covers_every_part(name: str) -> None:
    table = TABLES[name]
    hits: Counter[str] = Counter()
    outcomes: dict[str, set[bool]] = {condition.name: set() for condition in conditions(table)}
    ones, zeros = 0, 0
    for inputs in excused(GRIDS[name]()):
        status = inputs.status or 0
        ones, zeros = ones | status, zeros | ~status
        for condition in conditions(table):
            outcomes[condition.name].add(condition.holds(inputs))
        matching = [rule for rule in table if rule.matches(inputs)]
        assert matching, f"nothing matches {inputs}"
        hits[matching[0].name] += 1
    assert [rule.name for rule in table if not hits[rule.name]] == []
    assert all(seen == {False, True} for seen in outcomes.values())
    for rule in table:
        single = sum(field.mask for field in (*rule.set, *rule.clear))
        assert ones & zeros & single == single


@pytest.mark.parametrize("name", TABLES)
def test_a_table_without_any_one_of_its_rules_judges_something_else(name: str) -> None:
    """No rule is a mere copy of what the rules after it say: severity or sentence would change."""
    table = TABLES[name]
    inputs = tuple(excused(GRIDS[name]()))
    needed: set[str] = set()
    for one in inputs:
        matching = [rule for rule in table if rule.matches(one)]
        if len(matching) == 1 or matching[0].reason != matching[1].reason:
            needed.add(matching[0].name)
    assert needed == {rule.name for rule in table}


@pytest.mark.parametrize("name", [name for name in TABLES if name != "claims"])
def test_the_table_is_the_one_its_inputs_are_sent_to(name: str) -> None:
    for inputs in islice(GRIDS[name](), 5_000):
        if inputs.has(bits.VAL):
            assert table_name(inputs) == name
    assert len({rule.name for rule in TABLES[name]}) == len(TABLES[name])
    assert all(rule.because and rule.cite for rule in TABLES[name])


@pytest.mark.parametrize("name", TABLES)
def test_a_reasons_name_says_which_it_is(name: str) -> None:
    """No fact beside the class is called like a rule, and no verdict gives two reasons of one name."""
    rules = {rule.name for table in TABLES.values() for rule in table}
    for inputs in excused(GRIDS[name]()):
        with_context = replace(inputs, mcg_status=0b0001, cs=0x10, claimed=inputs.claimed or ClaimedSeverity.CORRECTED)
        for one in (inputs, with_context):
            if not one.has(bits.VAL) and one.status is not None:
                continue
            decided, *beside = [reason.rule for reason in judge_inputs(one).reasons]
            assert decided in rules
            assert not rules & set(beside)
            assert len(set(beside)) == len(beside)


SCRUB = {code for code in range(0x10000) if code & 0xEFF0 == 0x00C0}
WRITEBACK = {0x017A, 0x117A}
LOAD, FETCH = {0x0134, 0x1134}, {0x0150, 0x1150}
ALL = set(range(0x10000))

SER = Inputs(vendor=Vendor.INTEL, ser_p=True, delivery=Delivery.MACHINE_CHECK, signature=SKYLAKE, bank=14)
NO_SER = Inputs(vendor=Vendor.INTEL, delivery=Delivery.MACHINE_CHECK)
SMCA = Inputs(vendor=Vendor.AMD, smca=True, signature=MILAN, succor=True, overflow_recovery=True)
K10 = Inputs(vendor=Vendor.AMD, signature=Signature(Vendor.AMD, 0x10, 4, 2))

# What every MCACOD comes to, by the bits above it: SDM vol. 3B 17.6.3 and 17.9.3; APM vol. 2 9.3.2 knows no such codes.
SWEEPS = [
    (SER, (), {"corrected": ALL}),
    (SER, (bits.UC, bits.PCC), {"pcc": ALL}),
    (SER, (bits.UC,), {"srao-scrub": SCRUB, "srao-l3-writeback": WRITEBACK, "ucna": ALL - SCRUB - WRITEBACK}),
    (
        SER,
        (bits.UC, bits.S, bits.OVER),
        {"srao-scrub": SCRUB, "srao-l3-writeback": WRITEBACK, "srao-unknown-code": ALL - SCRUB - WRITEBACK},
    ),
    (
        SER,
        (bits.UC, bits.S, bits.AR, bits.ADDRV, bits.MISCV),
        {"srar-data-load": LOAD, "srar-instruction-fetch": FETCH, "srar-unknown-code": ALL - LOAD - FETCH},
    ),
    (SER, (bits.UC, bits.S, bits.AR), {"srar-without-address": LOAD | FETCH, "srar-unknown-code": ALL - LOAD - FETCH}),
    (SER, (bits.UC, bits.S, bits.AR, bits.OVER), {"srar-overflow": ALL}),
    (SER, (bits.UC, bits.AR), {"ar-without-s": ALL}),
    (NO_SER, (bits.UC, bits.S, bits.AR), {"uc-without-ser-p": ALL}),
    (SMCA, (bits.UC,), {"uc-contained": ALL}),
    (SMCA, (bits.DEFERRED,), {"deferred": ALL}),
    (K10, (bits.UC,), {"uc-without-succor": ALL}),
    (Inputs(), (bits.UC,), {"uc-unknown-vendor": ALL}),
]


@pytest.mark.parametrize(("inputs", "fields", "expected"), SWEEPS)
def test_all_sixteen_bits_of_the_error_code_are_judged(
    inputs: Inputs, fields: tuple[Field, ...], expected: dict[str, set[int]]
) -> None:
    high = sum(field.mask for field in (bits.VAL, bits.EN, *fields))
    table = TABLES[table_name(replace(inputs, status=high))]
    found: dict[str, set[int]] = {}
    for code in range(0x10000):
        one = replace(inputs, status=high | code)
        found.setdefault(next(rule.name for rule in table if rule.matches(one)), set()).add(code)
    assert found == expected


def test_badness_grows_from_none_to_fatal() -> None:
    order = ["NONE", "CORRECTED", "DEFERRED", "UCNA", "SRAO", "SRAR", "FATAL"]
    assert [severity.value for severity in sorted(Severity, key=lambda severity: severity.badness)] == order


def test_an_uncorrected_error_is_everything_but_corrected_and_none() -> None:
    assert ErrorClass.of(Severity.NONE) is ErrorClass.NONE
    assert ErrorClass.of(Severity.CORRECTED) is ErrorClass.CORRECTED
    rest = set(Severity) - {Severity.NONE, Severity.CORRECTED}
    assert {ErrorClass.of(severity) for severity in rest} == {ErrorClass.UNCORRECTED}


@pytest.mark.parametrize("name", [name for name in TABLES if name != "claims"])
def test_one_more_sign_of_damage_never_makes_it_less_bad(name: str) -> None:
    """Setting PCC gives FATAL, and a valid error with UC=1 is never corrected, whatever else is set."""
    for inputs in GRIDS[name]():
        if not inputs.has(bits.VAL):
            continue
        severity = judge_inputs(inputs).severity
        assert severity is not Severity.NONE
        if inputs.has(bits.PCC):
            assert severity is Severity.FATAL
        elif inputs.has(bits.UC):
            assert severity.badness > Severity.CORRECTED.badness


def test_a_rule_that_contradicts_itself_is_refused() -> None:
    with pytest.raises(DeclarationError, match="different single bits"):
        Rule(name="x", severity=Severity.FATAL, because="x", cite="x", set=(bits.UC,), clear=(bits.UC,))
    with pytest.raises(DeclarationError, match="different single bits"):
        Rule(name="x", severity=Severity.FATAL, because="x", cite="x", set=(bits.MCACOD,))
    with pytest.raises(DeclarationError, match="can never match"):
        Rule(name="x", severity=Severity.FATAL, because="x", cite="x", code=Code("y", 0xF0, 0x0F))
