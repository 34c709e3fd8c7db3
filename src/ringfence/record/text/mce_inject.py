"""The files that mce-inject takes: machine checks in the words of an order, for tests of the kernel (mce-test's too).

Facts from mce-inject: mce.lex, mce.y, mce.h and SPEC. A machine check begins with ``CPU n [bank]`` or ``MCE`` and lasts
until the next one; several terms may stand on a line. Numbers are C's: ``0x`` is hexadecimal, a leading 0 octal,
all others decimal. What follows STATUS and MCGSTATUS is combined, words and numbers. ADDR and MISC set their valid bits
in the STATUS that was said before; a STATUS behind them replaces it.

Much of it looks like what mcelog prints, where numbers without ``0x`` are hexadecimal. So nothing is read as such a
file line by line: a machine check is, whole, once one of its lines can be nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from ringfence.arch.cpuid import LINUX_VENDORS
from ringfence.arch.mcg import EIPV, LMCE_S, MCIP, RIPV, SEAM_NR, TES_P
from ringfence.arch.mci_status import ADDRV, AR, EN, MISCV, OVER, PCC, UC, VAL, S
from ringfence.record.evidence import ClaimKind, Delivery, Format
from ringfence.record.text.grammar import Fragment, Grammar, RegisterValues, Unless, Values
from ringfence.record.text.lines import Line

STATUS_WORDS: Final = {
    "VAL": VAL.mask,
    "OVER": OVER.mask,
    "UC": UC.mask,
    "EN": EN.mask,
    "PCC": PCC.mask,
    "S": S.mask,
    "AR": AR.mask,
    "TES_YELLOW": 1 << 54,
    "CORRECTED": VAL.mask | EN.mask,
    "UNCORRECTED": VAL.mask | UC.mask | EN.mask,
    "FATAL": VAL.mask | UC.mask | EN.mask | PCC.mask,
    "UCNA": 0,
    "SRAO": S.mask,
    "SRAR": S.mask | AR.mask,
}
"""What a word behind STATUS sets (mce.lex); bit 54 is the upper one of SDM vol. 3B 17.3.2.2's error status."""
MCG_WORDS: Final = {
    "RIPV": RIPV.mask,
    "EIPV": EIPV.mask,
    "MCIP": MCIP.mask,
    "LMCES": LMCE_S.mask,
    "TES_P": TES_P.mask,
    "SEAM_NR": SEAM_NR.mask,
}
"""What a word behind MCGSTATUS sets (mce.lex); it takes TES_P for a bit of this register too."""
_FLAGS: Final = {
    "NOBROADCAST": None,
    "IRQBROADCAST": None,
    "NMIBROADCAST": None,
    "HOLD": None,
    "IN_IRQ": None,
    "IN_PROC": None,
    "POLL": Delivery.POLLED,
    "EXCP": Delivery.MACHINE_CHECK,
}
"""How to inject, and what that says of how the error is signalled."""
_BITS: Final = {"CPU": 24, "BANK": 8, "SOCKETID": 16, "APICID": 32, "TSC": 64, "TIME": 40, "MCGCAP": 64, "ADDR": 64,
                "MISC": 64, "STATUS": 64, "MCGSTATUS": 64, "RIP": 64, "PROCESSOR": 32}  # fmt: skip
"""The keywords that take numbers, with the bits that those can have."""
_STARTS: Final = frozenset({"CPU", "MCE"})
_SHAPES: Final = {
    "MCE": re.compile(r"$"),
    "CPU": re.compile(r"nn?$"),
    "STATUS": re.compile(r"(?=.)w*n?w*$"),
    "MCGSTATUS": re.compile(r"w*n?w*$"),
    "RIP": re.compile(r"(?:n|n:n|n:<n>\{w\})$"),
    "PROCESSOR": re.compile(r"n:n$"),
}
"""What follows a keyword: n a number, w a word; one number where nothing is said, nothing behind a flag.

mce.y takes several numbers for a STATUS; here that is a number which something has cut in two.
"""
_WORDS: Final = {"STATUS": STATUS_WORDS, "MCGSTATUS": MCG_WORDS}
_TOKEN: Final = re.compile(
    r"\s*(?:(?P<comment>#.*)|(?P<number>0x[0-9a-fA-F]{1,16}|0[0-7]{0,22}|[1-9][0-9]{0,19})(?![0-9A-Za-z_])"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]{0,40})|(?P<mark>[:{}<>]))"
)
_MAX_TOKENS: Final = 64
"""No line of such a file comes near; the bound keeps a hostile line cheap."""

ORDERED: Final = "mce-inject: a file orders this machine check; no hardware reported it"
_BANK_0: Final = Unless(Values(bank=0), "bank 0: mce-inject takes 0 where none is named")
_CPU_0: Final = Unless(Values(cpu=0), "CPU 0: mce-inject takes 0 where none is named")


@dataclass(frozen=True, slots=True)
class Term:
    """A keyword and what follows it."""

    keyword: str
    numbers: tuple[int, ...] = ()
    words: tuple[str, ...] = ()

    @property
    def unmistakable(self) -> bool:
        """Whether no other format has such a term."""
        return self.keyword in _FLAGS or (self.keyword in _WORDS and bool(self.words))


def _number(text: str) -> int:
    if text.startswith("0x"):
        return int(text, 16)
    return int(text, 8 if text.startswith("0") else 10)


def _term(keyword: str, shape: str, numbers: Sequence[int], words: Sequence[str]) -> Term | None:
    """The term, or None if this keyword takes nothing of this shape."""
    if keyword in _FLAGS:
        fits = not shape
    else:
        form = _SHAPES.get(keyword)
        fits = form.match(shape) is not None if form is not None else shape == "n"
    known = _WORDS.get(keyword)
    fits = fits and (known is None or all(word in known for word in words))
    fits = fits and all(number < 1 << _BITS[keyword] for number in numbers)
    return Term(keyword, tuple(numbers), tuple(words)) if fits else None


def terms(body: str) -> tuple[Term, ...] | None:
    """The terms of a line, or None if it is none of such a file. A comment is no term."""
    parts: list[tuple[str, list[str], list[int], list[str]]] = []
    at, body = 0, body.rstrip()
    for _ in range(_MAX_TOKENS):
        if at >= len(body):
            break
        match = _TOKEN.match(body, at)
        if match is None:
            return None
        at = match.end()
        name = (match["name"] or "").upper()
        if match["comment"] is not None:
            continue
        if name in _BITS or name in _FLAGS or name == "MCE":
            parts.append((name, [], [], []))
        elif not parts:
            return None
        elif match["number"] is not None:
            parts[-1][1].append("n")
            parts[-1][2].append(_number(match["number"]))
        elif name:
            parts[-1][1].append("w")
            parts[-1][3].append(name)
        else:
            parts[-1][1].append(match["mark"])
    if at < len(body):
        return None
    found = [_term(keyword, "".join(shape), numbers, words) for keyword, shape, numbers, words in parts]
    return tuple(term for term in found if term is not None) if None not in found else None


_OF_VALUES: Final = {"BANK": "bank", "SOCKETID": "socket", "APICID": "apicid"}
_OF_REGISTERS: Final = {"TSC": "tsc", "MCGCAP": "mcg_cap", "ADDR": "addr", "MISC": "misc", "STATUS": "status",
                        "MCGSTATUS": "mcg_status"}  # fmt: skip
_VALID: Final = {"ADDR": ADDRV.mask, "MISC": MISCV.mask}


def _take(term: Term, values: Values, registers: RegisterValues) -> None:
    """Add what a term says; a later one replaces an earlier one."""
    keyword, numbers = term.keyword, term.numbers
    if keyword in _OF_VALUES:
        values[_OF_VALUES[keyword]] = numbers[0]  # type: ignore[literal-required] # the table's values are its keys
    elif keyword in _OF_REGISTERS:
        combined = 0
        for part in (*numbers, *(_WORDS[keyword][word] for word in term.words)):
            combined |= part
        registers[_OF_REGISTERS[keyword]] = combined  # type: ignore[literal-required] # as above
        if keyword in _VALID:
            registers["status"] = registers.get("status", 0) | _VALID[keyword]
    elif keyword == "CPU":
        values["cpu"] = numbers[0]
        if len(numbers) > 1 and numbers[1] < 1 << _BITS["BANK"]:
            values["bank"] = numbers[1]
    elif keyword == "TIME":
        values["time"] = float(numbers[0])
    elif keyword == "RIP":
        registers["ip"] = numbers[-1]
        if len(numbers) > 1 and numbers[0] < 1 << 16:
            registers["cs"] = numbers[0]
    elif keyword == "PROCESSOR":
        values["cpuid"] = numbers[1]
        if (vendor := LINUX_VENDORS.get(numbers[0])) is not None:
            values["vendor"] = vendor
    elif (delivery := _FLAGS.get(keyword)) is not None:
        values["delivery"] = delivery


def _ordered(said: Sequence[Term], lines: Iterable[str]) -> Fragment:
    """The machine check that the terms order."""
    values, registers = Values(), RegisterValues()
    for term in said:
        _take(term, values, registers)
    in_words = tuple((ClaimKind.OTHER, line) for line in lines)
    return Fragment(
        Format.MCE_INJECT, "head", opens=True, values=values, registers=registers,
        claims=((ClaimKind.INJECTION, ORDERED), *in_words), unless=(_BANK_0, _CPU_0),
    )  # fmt: skip


Read = tuple[Line, Fragment | None]
"""A line, and what was read in it."""
_LINE: Final = Fragment(Format.MCE_INJECT, "line", repeats=True)
_LIKE: Final = frozenset({Format.MCELOG, Format.MCE_INJECT})
INSIDE_LINES: Final = 6
"""The lines of a machine check directly follow each other, but for comments and empty lines."""


def _groups(found: Sequence[Read]) -> Iterator[tuple[list[int], list[Term]]]:
    """Runs of lines that could be one machine check of such a file: their places, and their terms."""
    places: list[int] = []
    said: list[Term] = []
    for at, (line, fragment) in enumerate(found):
        read = terms(line.body) if fragment is not None and fragment.format in _LIKE else None
        starts = bool(read) and read is not None and read[0].keyword in _STARTS
        if places and (not read or starts or line.order - found[places[-1]][0].order > INSIDE_LINES):
            yield places, said
            places, said = [], []
        if read and (places or starts):
            places.append(at)
            said.extend(read)
    if places:
        yield places, said


def _names_a_bank(said: Sequence[Term]) -> bool:
    """Whether it begins with ``CPU n bank``, which nobody else writes."""
    return said[0].keyword == "CPU" and len(said[0].numbers) > 1


def adopted(found: Sequence[Read]) -> dict[int, Fragment]:
    """The lines of a burst that belong to machine checks which can only be ordered ones: what each of them is."""
    out: dict[int, Fragment] = {}
    if not any(fragment is not None and fragment.format is Format.MCE_INJECT for _, fragment in found):
        return out
    for places, said in _groups(found):
        sure = _names_a_bank(said) or said[0].keyword == "MCE" or any(term.unmistakable for term in said)
        if sure and any(term.keyword == "STATUS" for term in said):
            out |= dict.fromkeys(places, _LINE)
            out[places[0]] = _ordered(said, [found[at][0].body for at in places])
    return out


def read(body: str, inside: bool) -> Fragment | None:
    """A line that is of such a file, or inside one may be: known, until ``adopted`` has seen its neighbours."""
    said = terms(body) if body else None
    if not said:
        return None
    if inside or _names_a_bank(said) or any(term.unmistakable for term in said):
        return Fragment(Format.MCE_INJECT, "known")
    return None


GRAMMAR = Grammar(
    format=Format.MCE_INJECT,
    # A machine check that begins with MCE alone is read behind another one: too many lines of other programs hold it.
    tokens=("CPU ", "STATUS "),
    read=read,
    inside_lines=INSIDE_LINES,
)
