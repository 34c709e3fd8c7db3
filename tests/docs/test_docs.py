"""The documentation says what is true: generated pages are fresh, examples run, terms are in use, links lead on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest

from docs import declared, examples, generate, reference_pages
from ringfence import arch
from ringfence.arch import mcg, smca_banks
from ringfence.arch.bitfield import Register
from ringfence.diagnosis.severity import TABLES
from ringfence.record.evidence import Format

DOCS = generate.ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))


def test_every_generated_page_and_every_example_is_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "docs.generate", "--check"],
        cwd=generate.ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)


def test_a_stale_page_is_named_and_fails_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "PAGES_WITH_EXAMPLES", ())
    (tmp_path / "docs").mkdir()
    assert generate.main(["--check"]) == 1
    assert "docs/reference/severity.md is stale" in capsys.readouterr().err
    assert generate.main([]) == 0
    assert generate.main(["--check"]) == 0
    page = tmp_path / "docs/reference/severity.md"
    page.write_text(page.read_text() + "x")
    assert generate.main(["--check"]) == 1


def test_an_example_is_run_with_its_files_and_its_old_output_replaced() -> None:
    page = "\n".join(
        (
            "<!-- file: two.txt -->",
            "```text",
            "one",
            "two",
            "```",
            "```console",
            "$ wc -l < two.txt; exit 3",
            "old output",
            "$ cat nothing 2> /dev/null; echo end",
            "```",
            "after",
        )
    )
    assert examples.commands(page) == ["wc -l < two.txt; exit 3", "cat nothing 2> /dev/null; echo end"]
    shown = "```console\n$ wc -l < two.txt; exit 3\n2\n\n$ cat nothing 2> /dev/null; echo end\nend\n```\nafter"
    assert examples.renewed(page).endswith(shown)
    assert examples.renewed(examples.renewed(page)) == examples.renewed(page)


@pytest.mark.parametrize("name", generate.PAGES_WITH_EXAMPLES)
def test_no_example_ends_in_a_program_fault(name: str) -> None:
    page = (generate.ROOT / name).read_text()
    assert examples.commands(page)
    assert "Traceback" not in page


def test_no_register_is_left_out() -> None:
    page = (DOCS / "reference/registers.md").read_text()
    names = [
        item.name
        for module in declared.modules(arch)
        for item in declared.declared(module)
        if isinstance(item.value, Register)
    ]
    assert len(names) > 25
    assert [name for name in names if f"(`{name}`)" not in page] == []


def test_a_declaration_is_found_with_the_sentence_below_it() -> None:
    found = {item.name: item.doc for item in declared.declared(mcg)}
    assert found["MCG_STATUS"] == "MSR 17Ah."
    assert found["RIPV"] == ""


def test_every_rule_stands_in_its_order_with_its_sentence() -> None:
    page = (DOCS / "reference/severity.md").read_text()
    for name, rules in TABLES.items():
        section = page.split(f"\n## {name}\n")[1].split("\n## ")[0]
        rows = [line.split(" | ") for line in section.splitlines() if re.match(r"\| \d", line)]
        assert [row[1] for row in rows] == [f"`{rule.name}`" for rule in rules]
        assert [row[4] for row in rows] == [rule.because for rule in rules]


def test_every_bank_type_and_every_format_has_its_place() -> None:
    banks = (DOCS / "reference/smca-banks.md").read_text()
    assert all(f"| `{bank.symbol}` | {bank.name} |" in banks for bank in smca_banks.BANK_TYPES)
    formats = (DOCS / "reference/formats.md").read_text()
    assert [form for form in Format if f"`{form}`" not in formats] == []


def test_a_bar_in_a_cell_does_not_break_the_table() -> None:
    assert reference_pages.table(("a",), [("x|y",)]) == "| a |\n| --- |\n| x\\|y |\n"


def test_the_schema_accepts_what_the_program_prints_and_refuses_what_it_never_prints() -> None:
    schema = json.loads((DOCS / "decode-schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    page = (DOCS / "decode.md").read_text()
    lines = [json.loads(line) for line in page.splitlines() if line.startswith("{")]
    assert {"unrecognised" in line for line in lines} == {True, False}
    for line in lines:
        validator.validate(line)
        assert not validator.is_valid({key: value for key, value in line.items() if key != "file"})


def _terms() -> list[str]:
    return re.findall(r"^\*\*(.+?)\*\*:", (DOCS / "terms.md").read_text(), re.MULTILINE)


def test_terms_are_in_alphabetic_order_and_each_is_defined_once() -> None:
    folded = [term.casefold() for term in _terms()]
    assert len(folded) > 50
    assert folded == sorted(set(folded))


def test_every_term_is_in_use() -> None:
    used = [path.read_text() for path in (generate.ROOT / "src").rglob("*.py")]
    used += [path.read_text() for path in PAGES if path.name != "terms.md"]
    text = "\n".join(used)
    unused = [
        term
        for term in _terms()
        if not re.search(rf"(?<!\w){re.escape(term)}(?!\w)", text, re.IGNORECASE if term.islower() else 0)
    ]
    assert unused == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(DOCS)))
def test_every_link_leads_to_a_file(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_room_of_the_house_that_is_named_exists_and_none_is_left_out() -> None:
    page = (DOCS / "architecture.md").read_text()
    tree = page.split("src/ringfence/\n")[1].split("    tests/")[0]
    named = set(re.findall(r"^      (\w+)(?:/|\.py) ", tree, re.MULTILINE))
    package = generate.ROOT / "src/ringfence"
    rooms = {path.name for path in package.iterdir() if (path / "__init__.py").exists()}
    rooms |= {path.stem for path in package.glob("*.py") if path.stem != "__init__"}
    assert named == rooms
