"""Laws that hold for each reader of a textual format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.record.evidence import Record
from ringfence.record.text import bmc, esxi, freebsd, ghes, mcelog, mcelog_client, qemu, rasdaemon, xen_console
from ringfence.record.text.grammar import Grammar
from ringfence.record.text.lines import RawLine
from ringfence.record.text.reader import read
from tests.record import test_text_bmc as of_bmc
from tests.record import test_text_freebsd as of_freebsd
from tests.record import test_text_ghes as of_ghes
from tests.record import test_text_mcelog as of_mcelog
from tests.record import test_text_mcelog_client as of_client
from tests.record import test_text_qemu as of_qemu
from tests.record import test_text_rasdaemon as of_rasdaemon

GRAMMARS = [
    module.GRAMMAR for module in (bmc, esxi, freebsd, ghes, mcelog, mcelog_client, qemu, rasdaemon, xen_console)
]
XEN = "CPU3: Machine Check Exception: 5\nBank 5: be00000000800400[ 1] at 3fe98d264ebd\nMCE: inject vMCE to d5v0"
ESXI = "MCA: 200: UC Excp G5 B1 Sbf80000000000114 Aaf9e74900 M86 Paf9e74900/40 Cache"
REAL = [
    line
    for text in (
        of_bmc.AMI, of_bmc.HP, of_freebsd.OPTERON, of_ghes.MEMORY, of_ghes.OLD_MEMORY, of_ghes.PROCESSOR,
        of_mcelog.SKYLAKE_SRAO, of_client.ACCOUNTING, of_qemu.LARGE, of_qemu.ON_LARGE, of_rasdaemon.ZEN5,
        of_rasdaemon.ICELAKE_WRAPPED, XEN, ESXI,
    )
    for line in text.splitlines()
]  # fmt: skip
WORDS = sorted({word for line in REAL for word in line.split(" ")} | {token for g in GRAMMARS for token in g.tokens})

jumbled = st.lists(st.sampled_from(WORDS) | st.text(max_size=20), max_size=14).map(" ".join)
mutated = st.builds(
    lambda line, at, cut, new: line[: at % (len(line) + 1)] + new + line[at % (len(line) + 1) + cut :],
    st.sampled_from(REAL),
    st.integers(0, 400),
    st.integers(0, 6),
    st.text(max_size=4) | st.sampled_from(["0x", "f" * 20, "'", "-1", "9" * 12, "\0", "#", " "]),
)


@pytest.mark.parametrize("grammar", GRAMMARS, ids=lambda grammar: grammar.format.value)
@given(line=jumbled | mutated | st.text(), inside=st.booleans())
def test_no_line_makes_a_reader_fail_or_give_a_value_out_of_range(grammar: Grammar, line: str, inside: bool) -> None:
    fragment = grammar.read(line, inside)
    if fragment is None:
        return
    assert fragment.format is grammar.format
    for register in fragment.registers.values():
        assert isinstance(register, int)
        assert 0 <= register < 1 << 64
    values = fragment.values
    assert 0 <= values.get("bank", 0) < 1000
    assert 0 <= values.get("cpu", 0) < 1 << 24
    assert 0 <= values.get("cpuid", 0) < 1 << 32
    assert 0 <= values.get("apicid", 0) < 1 << 32
    assert 0 <= values.get("count", 1) < 10**11
    if fragment.memory is not None:
        for number in (fragment.memory.physical_address, fragment.memory.physical_address_mask):
            assert number is None or 0 <= number < 1 << 64


@pytest.mark.parametrize("grammar", GRAMMARS, ids=lambda grammar: grammar.format.value)
@given(line=jumbled | mutated)
def test_a_line_that_is_read_outside_of_a_record_has_one_of_the_tokens(grammar: Grammar, line: str) -> None:
    if grammar.read(line.strip(), False) is not None:
        assert any(token in line for token in grammar.tokens)


@pytest.mark.parametrize("grammar", GRAMMARS, ids=lambda grammar: grammar.format.value)
def test_real_lines_that_are_read_outside_of_a_record_have_a_token(grammar: Grammar) -> None:
    bodies = {line.rpartition("[Hardware Error]:")[2].strip() for line in REAL}
    read_alone = {body for body in bodies if grammar.read(body, False) is not None}
    assert read_alone
    assert {body for body in read_alone if not any(token in body for token in grammar.tokens)} == set()


@given(st.lists(st.sampled_from(REAL), max_size=60))
def test_lines_in_any_order_give_no_register_that_no_line_has(lines: list[str]) -> None:
    text = "\n".join(lines).lower()
    raw = (RawLine(number, line.encode()) for number, line in enumerate(lines, start=1))
    for item in read(raw, "log"):
        if isinstance(item, Record) and item.registers.status is not None:
            digits = f"{item.registers.status:x}"
            assert digits in text.replace("'", "")
