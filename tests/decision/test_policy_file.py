"""A policy file: what is read, what is refused and in which words, and what is written."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ringfence.decision import durations
from ringfence.decision.policy import (
    DEFAULT,
    Answer,
    Budgets,
    Deadlines,
    DomainRule,
    Losses,
    OnPageTrend,
    OnRankTrend,
    OnUnlocated,
    Operation,
    Policy,
    Trends,
)
from ringfence.decision.policy_explained import explain
from ringfence.decision.policy_file import default_of, read, schema, unreached, write
from ringfence.decision.policy_keys import BY_PATH, KEYS, MAX_RULES, Table
from ringfence.decision.policy_kinds import Count, Duration, Refused, Weight
from ringfence.decision.rows import Row
from ringfence.decision.toml_document import MAX_BYTES, MAX_PROBLEMS
from ringfence.decision.toml_lines import line_of, lines
from ringfence.errors import PolicyError
from ringfence.world.domain import Domain, DomainKind
from ringfence.world.identities import DomainId

UUID = "12345678-9abc-def0-1234-56789abcdef0"


def problems(text: str | bytes) -> list[str]:
    """What is wrong with a file, without its name."""
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(PolicyError) as raised:
        read(data, "p")
    assert [f"p:{each.line}: {each}" for each in raised.value.problems] == str(raised.value).split("\n")
    return [line.removeprefix("p:") for line in str(raised.value).split("\n")]


# --- what is read -----------------------------------------------------------------------------------------------------


def test_a_file_that_says_nothing_is_the_default() -> None:
    assert read(b"").policy == DEFAULT
    assert read(b"# nothing\n[deadlines]\n").policy == DEFAULT


def test_every_key_reaches_its_place() -> None:
    text = f"""
        unlocated = "halt"
        approve = ["migrate", "destroy"]
        dry_run = true
        deadlines = {{ dom0 = "5s", evidence = "1.5 s", guest = "20 ms", mcip = "1min", operation = "1h" }}
        [budgets]
        pages_per_dimm = 0
        operations_at_a_time = 0x10
        vmces_per_error = 512
        [trends]
        page_count = 1_000
        page_window = "12h"
        rank_syndromes = 3
        rank_window = "90min"
        on_page = "offline"
        on_rank = "drain"
        [otherwise]
        keep = 2
        inform_of_ce = true
        [[domain]]
        name = "db-*"
        uuid = "{UUID.upper()}"
        labels = ["gold", "eu"]
        on_ue = "operate"
        on_srar = "notify-and-operate"
        operations = ["migrate", "restart"]
        ahead = []
        keep = 7.5
        vmce = false
        [[domain]]
        labels = ["gold"]
    """
    assert read(text.encode()).policy == Policy(
        unlocated=OnUnlocated.HALT,
        approve=frozenset({Operation.MIGRATE, Operation.DESTROY}),
        dry_run=True,
        deadlines=Deadlines(
            dom0_ms=5_000, evidence_ms=1_500, guest_ms=20, mcip_ms=60_000, operation_ms=3_600_000
        ),
        budgets=Budgets(pages_per_dimm=0, operations_at_a_time=16, vmces_per_error=512),
        trends=Trends(
            page_count=1000, page_window_s=43_200, rank_syndromes=3, rank_window_s=5_400, on_page=OnPageTrend.OFFLINE,
            on_rank=OnRankTrend.DRAIN,
        ),
        otherwise=DomainRule(keep=2.0, inform_of_ce=True),
        domains=(
            DomainRule(
                name="db-*", uuid=UUID, labels=frozenset({"gold", "eu"}), on_ue=Answer.OPERATE, on_srar=Answer.BOTH,
                operations=(Operation.MIGRATE, Operation.RESTART), ahead=(), keep=7.5, vmce=False,
            ),
            DomainRule(labels=frozenset({"gold"})),
        ),
    )  # fmt: skip


def test_windows_line_ends_and_a_byte_order_mark_do_no_harm() -> None:
    file = read(b'\xef\xbb\xbf\r\n[deadlines]\r\ndom0 = "3s"\r\n')
    assert file.policy.deadlines.dom0_ms == 3000
    assert file.origin(BY_PATH["deadlines.dom0"]) == "policy.toml:3"


def test_a_value_tells_where_it_comes_from() -> None:
    file = read(b'dry_run = true\n[[domain]]\nname = "a"\n[[domain]]\nname = "b"\nkeep = 3\n', "/etc/p.toml")
    keep = BY_PATH["domain.keep"]
    assert file.origin(BY_PATH["dry_run"]) == "/etc/p.toml:1"
    assert (file.origin(keep, 0), file.origin(keep, 1)) == ("default", "/etc/p.toml:6")
    assert file.origin(BY_PATH["deadlines.dom0"]) == "default"


# --- what is refused --------------------------------------------------------------------------------------------------


def test_all_that_is_wrong_with_a_file_is_said_at_once() -> None:
    found = problems("""\
unlocatd = "halt"
approve = ["destroy", "explode"]
dom0 = "3s"

[deadlines]
dom0 = "5 parsecs"
evidence = "2min"
gest = "1s"
mcip = 500

[budgets]
pages_per_dimm = -1
operations_at_a_time = true

[trends]
page_window = "90500ms"

[[domain]]
name = "db-*"
on_ue = "operate"
operations = []

[[domain]]
name = "db-1"
uuid = "4711"

[[domain]]
name = "db-2"
keep = nan

[[domain]]
operations = ["migrate", "save", "migrate"]
labels = "gold"
""")
    operations = '"pause", "save", "restore", "migrate", "shutdown", "restart", "destroy"'
    duration = "a number with ms, s, min or h"
    top = "unlocated, approve, dry_run, deadlines, budgets, trends, losses, otherwise, domain"
    assert found == [
        f"1: unlocatd: there is no such key; did you mean unlocated?; allowed: {top}",
        f"2: approve: 'explode' is none of them; allowed: an array of some of {operations}, or an empty one",
        f"3: dom0: there is no such key; did you mean deadlines.dom0?; allowed: {top}",
        f"6: deadlines.dom0: '5 parsecs' is no duration; allowed: {duration}, from 100 ms to 1 h",
        f"7: deadlines.evidence: '2min' is too long; allowed: {duration}, from 100 ms to 1 min (a serial line carries "
        "a record in some 100 ms; a host that cannot trust itself must not go on for long)",
        "8: deadlines.gest: there is no such key; did you mean guest?; allowed: dom0, evidence, guest, mcip, "
        "operation, approval",
        f"9: deadlines.mcip: 500 is no duration; allowed: {duration}, from 10 ms to 1 min",
        "12: budgets.pages_per_dimm: -1 is too small; allowed: a whole number from 0 to 65536 (65536 pages are 256 "
        "MiB: a DIMM that needs more must be replaced)",
        "13: budgets.operations_at_a_time: true is no whole number; allowed: a whole number from 1 to 64",
        f"16: trends.page_window: '90500ms' is no whole number of 1 s; allowed: {duration}, from 1 min to 720 h "
        "(patrol scrubbing visits a page about once a day: less than a minute counts one storm, more than a month "
        "counts chance)",
        "21: domain.operations: an answer is to operate, but no operation is allowed; allowed: at least one operation, "
        'or another answer than "operate" and "notify-and-operate"',
        f'25: domain.uuid: \'4711\' is no UUID; allowed: a UUID such as "{UUID}", or ""',
        "27: domain: this rule is never reached: the one on line 18 matches every domain that it matches; allowed: the "
        "special rule first, the general one after it",
        "29: domain.keep: nan is no number; allowed: a number from 0 to 1000",
        f"32: domain.operations: 'migrate' stands there twice; allowed: an array of some of {operations}, or an empty "
        "one",
        "33: domain.labels: 'gold' is no array; allowed: an array of at most 64 texts, each of 1 to 63 printable "
        "characters in quotes",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a =", "1: this is no TOML: Invalid value"),
        (b'\n\ndry_run = true\ndry_run = true', "4: this is no TOML: Cannot overwrite a value"),
        (b"\nx = \xff", "2: byte 0xff is no UTF-8; allowed: text in UTF-8"),
        (b"\nx = 'a\0'", r"2: this is no TOML: Found invalid character '\x00'"),
        (b"x = " + b"[" * 50_000, "1: arrays or tables are nested too deeply; allowed: arrays of words"),
        (b"\n\nkeep = " + b"9" * 5000, "3: a number has too many digits"),
        (b"\na" + b".a" * 100_000 + b" = 1", "2: too many dots; allowed: at most 256 dots in a line"),
        (b" " * (MAX_BYTES + 1), f"1: more than {MAX_BYTES} bytes; allowed: at most {MAX_BYTES} bytes"),
        (
            b"[budgets]\nvmces_per_error = 0x" + b"f" * 5000,
            "2: budgets.vmces_per_error: a number of 20000 bits is too large; allowed: a whole number from 1 to 512 "
            "(512 pages are a 2 MiB superpage, each a vMCE that waits for the one before; to allow none, set vmce = "
            "false)",
        ),
        (b"budgets = 3", "1: budgets: 3 is no table; allowed: a table [budgets]"),
        (b"[[budgets]]", "1: budgets: an array is no table; allowed: a table [budgets]"),
        (b"[domain]", "1: domain: a table is no list of rules; allowed: [[domain]], once a rule"),
        (b"\ndomain = [1]", "2: domain: 1 is no table; allowed: a table [[domain]], once a rule"),
        (
            b"deadlines.dom0.x = 1",
            "1: deadlines.dom0: a table is no duration; allowed: a number with ms, s, min or h, from 100 ms to 1 h",
        ),
        (b"dry_run = 2024-01-01", "1: dry_run: 2024-01-01 is neither true nor false; allowed: true or false"),
        (
            b'[[domain]]\nname = "\\u001b[2J"',
            r"2: domain.name: '\x1b[2J' holds what cannot be printed; allowed: 1 to 255 printable characters in quotes "
            "(libvirt keeps a domain's definition in a file of its name, and file names end there)",
        ),
        (
            b'"\\u001b[2J" = 1',
            r"1: '\x1b[2J': there is no such key; allowed: unlocated, approve, dry_run, deadlines, budgets, trends, "
            "losses, otherwise, domain",
        ),
    ],
)  # fmt: skip
def test_hostile_and_broken_files_are_refused_in_few_words(text: bytes, said: str) -> None:
    assert problems(text) == [said]


def test_a_wrong_value_is_repeated_in_part_only() -> None:
    (said,) = problems(f'unlocated = "{"x" * 100_000}"')
    assert len(said) < 200
    (said,) = problems("x" * 100_000 + " = 1")
    assert len(said) < 250


def test_a_file_of_nonsense_has_its_first_problems_named_and_the_rest_counted() -> None:
    found = problems("".join(f"k{n} = 1\n" for n in range(15_000)))
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == f"{MAX_PROBLEMS + 1}: and {15_000 - MAX_PROBLEMS} more problems from here on"


def test_more_rules_than_a_host_has_domains_are_refused() -> None:
    rules = "".join(f'[[domain]]\nname="{n}"\n' for n in range(MAX_RULES + 1))
    assert problems(rules) == [f"1: domain: these are {MAX_RULES + 1} rules; allowed: at most {MAX_RULES}"]
    assert len(read(rules.rsplit("[[", 1)[0].encode()).policy.domains) == MAX_RULES


@pytest.mark.parametrize(
    ("earlier", "later", "hidden"),
    [
        ("", 'name = "a"', True),
        ('name = "a*"', 'name = "ab"', True),
        ('name = "a*"', 'name = "b"', False),
        ('name = "a*"', 'name = "ab*"', False),  # it does; only patterns that are the same or plain are compared
        ('name = "a"', "", False),
        ('labels = ["x"]', 'labels = ["x", "y"]', True),
        ('labels = ["x", "y"]', 'labels = ["x"]', False),
        (f'uuid = "{UUID}"', f'uuid = "{UUID}"\nname = "a"', True),
        (f'uuid = "{UUID}"', 'name = "a"', False),
    ],
)
def test_a_rule_that_an_earlier_one_hides_is_an_error(earlier: str, later: str, hidden: bool) -> None:
    text = f"[[domain]]\n{earlier}\n[[domain]]\n{later}\n"
    if hidden:
        (said,) = problems(text)
        assert said.startswith("3: domain: this rule is never reached: the one on line 1 ")
    else:
        assert len(read(text.encode()).policy.domains) == 2


def test_of_a_rule_whose_selector_is_wrong_it_is_not_said_that_it_hides_others() -> None:
    (said,) = problems('[[domain]]\nname = 3\n[[domain]]\nname = "a"\n')
    assert said.startswith("2: domain.name: 3 is no text")


@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.path)
def test_each_range_is_as_the_table_says(key: object) -> None:
    """The bounds are allowed, what lies one beyond is not; every number, of every key that is one."""
    match getattr(key, "kind"):  # noqa: B009 (parametrize gives objects)
        case Count(least=least, most=most) as kind:
            ends: list[tuple[object, bool]] = [(least, True), (most, True), (least - 1, False), (most + 1, False)]
        case Weight(least=least, most=most) as kind:
            ends = [(least, True), (most, True), (least - 1e-9, False), (most + 1e-9, False), (float("inf"), False)]
        case Duration(shortest_ms=least, longest_ms=most) as kind:
            ends = [(f"{least}ms", True), (f"{most}ms", True), (f"{least - 1}ms", False), (f"{most + 1}ms", False)]
        case kind:
            ends = [(3.5, False), (None, False)]
    for raw, good in ends:
        assert isinstance(kind.read(raw), Refused) != good, raw


# --- durations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("2s", 2000), ("1.5 h", 5_400_000), ("0s", 0), ("007ms", 7), ("0.001s", 1), ("0.0001s", None), ("0.5ms", None),
        ("2", None), ("-2s", None), ("+2s", None), ("1e3s", None), ("2 S", None), ("2  s", None), ("2s ", None),
        (".5s", None), ("2.s", None), ("1h30min", None), ("٣s", None), ("", None), ("1" * 40 + "s", None),
        ("2m", None), ("1d", None), ("s", None),
    ],
)  # fmt: skip
def test_a_duration_is_a_number_with_a_unit(text: str, ms: int | None) -> None:
    assert durations.read(text) == ms


@given(st.integers(0, 10**18))
def test_a_duration_is_read_as_it_was_written(ms: int) -> None:
    assert durations.read(durations.write(ms)) == ms


def test_a_duration_is_shown_in_a_unit_that_fits() -> None:
    shown = [durations.about(ms) for ms in (0, 0.4, 950, 1000, 1500, 59_000, 90_000, 3_600_000, 259_200_000)]
    assert shown == ["0 ms", "0 ms", "950 ms", "1 s", "1.5 s", "59 s", "1.5 min", "1 h", "72 h"]


# --- lines ------------------------------------------------------------------------------------------------------------

TRICKY = '''\
a = 1 # b = 2
"c d" = """
e = 5
[f]
""\\""""
'g.h' . i = [ # ]
  { j = "]" }, "k = 3",
  \'\'\'
l = 6 \'\'\',
]
[ m . "\\u006e" ] # [o]
p.q = { r = "}" , s = [1, 2] }

[[t]]
u = '#'
[[t]]
[t.v]
w = 2024-01-01 00:00:00
[[t.x]]
[[t.x]]
y = "\\"]"
'''


def test_keys_are_found_wherever_strings_comments_and_brackets_pretend_to_be_some() -> None:
    assert lines(TRICKY) == {
        (): 1, ("a",): 1, ("c d",): 2, ("g.h",): 6, ("g.h", "i"): 6, ("m",): 11, ("m", "n"): 11, ("m", "n", "p"): 12,
        ("m", "n", "p", "q"): 12, ("t",): 14, ("t", 0): 14, ("t", 0, "u"): 15, ("t", 1): 16, ("t", 1, "v"): 17,
        ("t", 1, "v", "w"): 18, ("t", 1, "x"): 19, ("t", 1, "x", 0): 19, ("t", 1, "x", 1): 20,
        ("t", 1, "x", 1, "y"): 21,
    }  # fmt: skip
    assert line_of(lines(TRICKY), ("g.h", "i", 0, "j")) == 6


@pytest.mark.parametrize("text", ["]", "=", "a = 1\n? = 2\nb = 3", "[", '"', "a", "a = [", "[[t", "a = '"])
def test_what_is_no_toml_has_an_end_all_the_same(text: str) -> None:
    assert lines(text)[()] == 1


values = st.sampled_from(
    ["1", '"x"', '"""\nx = 1\n[y]\n"""', "'''a\n'''", "[1, 2]", "[\n  1, # ]\n  [2],\n]", '{ z = "}" }', "1979-05-27",
     '"\\"# ["', '""', '""""""', "'''''a'''", "true # = [", '["""]\n""", \'[\']']
)  # fmt: skip
keys = st.sampled_from(["a{n}", '"a {n}"', "'a[{n}]'", "s{n}.t{n}", '"=#" . k{n}'])
heads = st.sampled_from(["[h{n}]", "[ h{n} . 'i' ]", "[[r]]", "# k = 1", "", "   ", "[[r.s]]"])


@given(st.lists(st.tuples(heads, st.lists(st.tuples(keys, values), max_size=4)), max_size=6))
def test_every_key_that_the_parser_finds_has_the_line_on_which_it_was_put(
    blocks: list[tuple[str, list[tuple[str, str]]]],
) -> None:
    text, number, put = "", 0, []
    for head, entries in blocks:
        text += head.replace("{n}", str(number)) + "\n"
        number += 1
        for key, value in entries:
            put.append((text.count("\n") + 1, f"{number}"))
            text += f"  {key.replace('{n}', str(number))} = {value}\n"
            number += 1
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        assume(False)
        raise
    found = lines(text)
    leaves = [path for path in found if not any(other[: len(path)] == path and other != path for other in found)]
    for path in found:
        held: object = document
        for part in path:
            held = held[part]  # type: ignore[index]  # what is not there is what this test looks for
    assert {line for line, _ in put} <= set(found.values())
    by_line = dict(put)
    assert all(by_line[found[path]] in str(path[-1]) for path in leaves if found[path] in by_line)


# --- what is written --------------------------------------------------------------------------------------------------


def _within(key: str) -> st.SearchStrategy[int]:
    kind = BY_PATH[key].kind
    if isinstance(kind, Duration):
        return st.integers(kind.shortest_ms // kind.unit_ms, kind.longest_ms // kind.unit_ms)
    assert isinstance(kind, Count)
    return st.integers(kind.least, kind.most)


words = st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=20)
some = st.lists(st.sampled_from(Operation), unique=True).map(tuple)


def _section(table: Table, **more: st.SearchStrategy[object]) -> dict[str, st.SearchStrategy[object]]:
    numbers = {
        key.field: _within(key.path) for key in KEYS if key.table is table and isinstance(key.kind, Duration | Count)
    }
    return {**numbers, **more}


def _rules(**selectors: st.SearchStrategy[object]) -> st.SearchStrategy[DomainRule]:
    rules = st.builds(
        DomainRule, on_ue=st.sampled_from(Answer), on_srar=st.sampled_from(Answer), operations=some, ahead=some,
        keep=st.floats(0, 1000), vmce=st.booleans(), inform_of_ce=st.booleans(), **selectors,
    )  # fmt: skip
    operate = {Answer.OPERATE, Answer.BOTH}
    return rules.filter(lambda rule: bool(rule.operations) or operate.isdisjoint({rule.on_ue, rule.on_srar}))


special = _rules(
    name=words, uuid=st.just("") | st.uuids().map(str), labels=st.frozensets(words, max_size=3)
)  # fmt: skip
shares = st.floats(0, 1)
policies = st.builds(
    Policy,
    deadlines=st.builds(Deadlines, **_section(Table.DEADLINES)),
    budgets=st.builds(Budgets, **_section(Table.BUDGETS)),
    trends=st.builds(
        Trends, **_section(Table.TRENDS, on_page=st.sampled_from(OnPageTrend), on_rank=st.sampled_from(OnRankTrend))
    ),
    losses=st.builds(
        Losses,
        **_section(
            Table.LOSSES,
            run_state=shares,
            orderly_stop=shares,
            standstill_per_hour=shares,
            lost_page_needed=shares,
            copier_takes_host=shares,
        ),
    ),
    unlocated=st.sampled_from(OnUnlocated),
    approve=st.frozensets(st.sampled_from(Operation)),
    dry_run=st.booleans(),
    domains=st.lists(special, max_size=3).map(tuple).filter(lambda rules: not unreached(dict(enumerate(rules)))),
    otherwise=_rules(),
)


@given(policies)
def test_a_policy_is_read_as_it_was_written(policy: Policy) -> None:
    text = write(policy)
    assert read(text.encode()).policy == policy
    jsonschema.Draft202012Validator(schema()).validate(tomllib.loads(text))


def test_the_default_is_written_with_every_keys_meaning() -> None:
    text = write(DEFAULT)
    assert text.startswith(
        """\
# Ringfence: what is done about machine checks. A key that is left out has its default.
# Durations: a number with ms, s, min or h. Check a file with: ringfence policy check FILE

# What holds for the whole host. These keys stand before the first table.

# What an uncorrected error does whose page cannot be named: the host takes no new guests, or moves
# all guests away as well, or halts.
# Allowed: one of "degrade", "drain", "halt".
unlocated = "degrade"
"""
    )
    assert text.endswith(
        """
# A rule for some domains. The first that matches a domain is its own. What a rule leaves out has the
# default, not what [otherwise] says.
# [[domain]]
# name = "db-*"
# on_ue = "operate"
# operations = ["migrate", "restore"]
# keep = 5.0
"""
    )
    unfolded = " ".join(text.replace("\n#", "").split())
    assert [key.path for key in KEYS if key.table is not Table.DOMAIN and key.meaning not in unfolded] == []


def test_the_rule_that_the_default_shows_as_an_example_is_a_good_one() -> None:
    head, _, example = write(DEFAULT).rpartition("# [[domain]]")
    (rule,) = read((head + "[[domain]]" + example.replace("\n# ", "\n")).encode()).policy.domains
    assert (rule.name, rule.keep) == ("db-*", 5.0)


def test_every_field_of_a_policy_has_a_key() -> None:
    fields = {
        *(("", name) for name in Policy.__dataclass_fields__),
        *(("deadlines", name) for name in Deadlines.__dataclass_fields__),
        *(("budgets", name) for name in Budgets.__dataclass_fields__),
        *(("trends", name) for name in Trends.__dataclass_fields__),
        *(("losses", name) for name in Losses.__dataclass_fields__),
        *(("domain", name) for name in DomainRule.__dataclass_fields__),
    }
    sections = {("", name) for name in ("deadlines", "budgets", "trends", "losses", "otherwise", "domains")}
    assert fields - sections == {(key.table.value, key.field) for key in KEYS if key.table is not Table.OTHERWISE}


# --- the schema -------------------------------------------------------------------------------------------------------


def test_the_published_schema_is_fresh_and_a_schema() -> None:
    published = Path(__file__).parents[2] / "docs/policy-schema.json"
    assert json.loads(published.read_text()) == schema()
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize(
    "text",
    [
        'unlocated = "explode"', "dry_run = 1", "dom0 = 1", '[deadlines]\ndom0 = "5 parsecs"', "[deadlines]\ndom0 = 5",
        "[budgets]\nvmces_per_error = 0", "[trends]\nrank_syndromes = 1", '[otherwise]\nname = "a"', "[domain]",
        '[[domain]]\noperations = ["save", "save"]', '[[domain]]\nuuid = "4711"', '[[domain]]\nname = ""',
        "[[domain]]\nkeep = -1", "[losses]\nrun_state = 1.5", "[losses]\nperson = 8",
    ],
)  # fmt: skip
def test_the_schema_refuses_what_reading_refuses(text: str) -> None:
    assert not jsonschema.Draft202012Validator(schema()).is_valid(tomllib.loads(text))
    assert problems(text)


def test_a_default_in_the_schema_is_the_default() -> None:
    for key in KEYS:
        value = key.kind.read(default_of(key))
        # The file's arrays are sets or tuples in the program.
        assert (value == key.default) or (isinstance(value, list) and sorted(value) == sorted(key.default))  # type: ignore[call-overload]


# --- in words ---------------------------------------------------------------------------------------------------------


def test_every_row_that_a_policy_bears_on_is_explained() -> None:
    explained = explain(read(b""))
    shown = {row for each in (*explained.host, *explained.rules[0].rows) for row in each.rows}
    named = {row for key in KEYS for row in key.rows}
    # These have no sentence of their own: they are named by the sentences on what they restrict.
    assert named - shown == {Row.ON_DOMAIN, Row.DOM0_IF_ABLE, Row.LAST_WORDS, Row.INFORM}


def test_every_key_is_the_ground_of_some_sentence() -> None:
    busy = b'dry_run = true\napprove = ["restart"]\n[[domain]]\nname = "a"\n'
    explained = explain(read(busy))
    rows = [*explained.host, *(row for rule in explained.rules for row in rule.rows)]
    selectors = {"domain.name", "domain.uuid", "domain.labels"}
    assert {value.key for row in rows for value in row.values} == set(BY_PATH) - selectors


@given(policies, st.sampled_from(["a", "db-1"]))
def test_any_policy_can_be_explained_and_a_domain_gets_the_rule_that_is_its_own(policy: Policy, name: str) -> None:
    domain = Domain(id=DomainId(1), name=name, kind=DomainKind.HVM)
    file = read(write(policy).encode())
    (rule,) = explain(file, domain).rules
    own = file.policy.otherwise if rule.number is None else file.policy.domains[rule.number]
    assert own == policy.rule_for(domain)
    assert len(explain(file).rules) == len(policy.domains) + 1
