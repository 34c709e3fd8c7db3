"""The configuration's file: what is read, what is refused and in which words, and what is written."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta

from ringfence.decision.policy import DEFAULT as DEFAULT_POLICY
from ringfence.decision.policy import OnUnlocated
from ringfence.decision.toml_document import MAX_BYTES
from ringfence.errors import ConfigurationError, DeclarationError, PolicyError, SourceError
from ringfence.service.configuration import file
from ringfence.service.configuration.configuration import DEFAULT, Configuration
from ringfence.service.configuration.file import all_keys, changes, load, read, settings, write
from ringfence.service.configuration.keys import keys_of
from ringfence.service.configuration.rights import Grant, Rights
from ringfence.service.configuration.section import AT_ONCE, SECRET, Applies, Section
from ringfence.service.configured import Asked, in_force


def problems(text: str | bytes) -> list[str]:
    """What is wrong with a file, without its name, and without what is allowed instead."""
    data = text.encode() if isinstance(text, str) else text
    with pytest.raises(ConfigurationError) as raised:
        read(data, "c")
    assert [f"c:{each.line}: {each}" for each in raised.value.problems] == str(raised.value).split("\n")
    return [line.removeprefix("c:").partition("; allowed:")[0] for line in str(raised.value).split("\n")]


# --- what is read -----------------------------------------------------------------------------------------------------


def test_a_file_that_says_nothing_is_the_default() -> None:
    assert read(b"").configuration == DEFAULT
    assert read(b"\xef\xbb\xbf# nothing\r\n[rights]\r\n").configuration == DEFAULT


def test_every_key_of_the_default_can_be_read_back_and_has_words() -> None:
    assert read(write(DEFAULT).encode()).configuration == DEFAULT
    assert read(write(DEFAULT, commented=False).encode()).configuration == DEFAULT
    for path, key in all_keys():
        assert key.meaning, path
        assert key.allowed, path


_names = st.lists(st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=9), max_size=3).map(tuple)
_grants = st.builds(Grant, groups=_names, users=_names)


@given(st.builds(Rights, read=_grants, approve=_grants, operate=_grants, administer=_grants))
def test_what_was_written_is_read_as_it_was(rights: Rights) -> None:
    wanted = Configuration(rights=rights)
    assert read(write(wanted).encode()).configuration == wanted
    assert read(write(wanted, commented=False).encode()).configuration == wanted


def test_where_a_value_comes_from_is_known() -> None:
    found = read(b'# one\n[rights]\nread.groups = ["a"]\n[rights.operate]\nusers = []\n', "/etc/c.toml")
    assert found.origin(("rights", "read", "groups")) == "/etc/c.toml:3"
    assert found.origin(("rights", "operate", "users")) == "/etc/c.toml:5"
    assert found.origin(("rights", "read", "users")) == "default"


# --- what is refused --------------------------------------------------------------------------------------------------


def test_every_problem_is_named_with_its_line() -> None:
    text = """
        polcy = "x"
        [http]
        enabled = 1
        [rights.read]
        groups = ["good", "", 3]
        users = "root"
        [[rights.operate]]
        [policy]
        unlocated = "stop"
        [policy.deadlines]
        dom1 = "2s"
        [[policy.domain]]
        keep = -1
        [journl]
    """
    assert problems(text) == [
        "2: polcy: there is no such key; did you mean policy?",
        "4: http.enabled: 1 is neither true nor false",
        "6: rights.read.groups: number 2: '' is too short",
        "7: rights.read.users: 'root' is no array",
        "8: rights.operate: an array is no table",
        "10: policy.unlocated: 'stop' is none of them",
        "12: policy.deadlines.dom1: there is no such key; did you mean dom0?",
        "14: policy.domain.keep: -1 is too small",
        "15: journl: there is no such key; did you mean journal?",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[rights\n", "1: this is no TOML: Expected ']' at the end of a table declaration"),
        ("policy = 3\n", "1: policy: 3 is no text"),
        ("http = 3\n", "1: http: 3 is no table"),
        ("webhook = 3\n", "1: webhook: 3 is no list of tables"),
        ("webhook = [3]\n", "1: webhook[1]: 3 is no table"),
        ("[[webhook]]\n", "1: webhook[1].name: it must be said"),
        ('enabled = true\n', "1: enabled: there is no such key; did you mean system-journal.enabled?"),
        ('[rights.read]\n"\\u001b[31m" = 1\n', "2: 'rights.read.\\x1b[31m': there is no such key"),
        (b"# \xff\n", "1: byte 0xff is no UTF-8"),
        (b"#" * (MAX_BYTES + 1), f"1: more than {MAX_BYTES} bytes"),
        (f"x = {'9' * 5000}\n", "1: a number has too many digits"),
        ("x = " + "[" * 5000 + "]" * 5000 + "\n", "1: arrays or tables are nested too deeply"),
        ('rights.read.users = ["\\u001b[0m"]\n',
         "1: rights.read.users: number 1: '\\x1b[0m' holds what cannot be printed"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(text: str | bytes, said: str) -> None:
    assert problems(text)[0] == said


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")))
def test_whatever_a_file_holds_it_is_a_configuration_or_its_problems_are_named(data: bytes) -> None:
    try:
        read(data)
    except ConfigurationError as error:
        assert error.problems
        assert str(error).isprintable() or "\n" in str(error)


_values: st.SearchStrategy[object] = st.recursive(
    st.booleans() | st.integers(-(2**62), 2**62) | st.floats() | st.text(max_size=5),
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=3), each, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([path for path, _ in all_keys()]), _values)
def test_a_value_of_any_kind_at_any_key_is_taken_or_refused_with_its_name(path: tuple[str, ...], value: object) -> None:
    document = value
    for name in reversed(path):
        document = {name: document}
    assert isinstance(document, dict)
    walk = file._Walk({(): 1})
    plain = walk.table(Configuration, {name: each for name, each in document.items() if name != "policy"}, ())
    if walk.problems:
        assert all(each.key.lstrip("'").startswith(path[0]) for each in walk.problems)
    else:
        msgspec.convert(plain, Configuration)


# --- kinds of values --------------------------------------------------------------------------------------------------


class Inner(Section, frozen=True, kw_only=True):
    """An inner table."""

    name: Annotated[str, Meta(description="Its name.", pattern="^[a-z]+$")]
    secret: Annotated[str, Meta(description="What nobody sees.", max_length=4, extra=SECRET)] = ""


class Outer(Section, frozen=True, kw_only=True):
    """One of each kind."""

    many: Annotated[int, Meta(ge=1, le=3, description="A number.", extra=AT_ONCE)] = 1
    weight: Annotated[float, Meta(gt=0, description="A weight.")] = 1.0
    words: Annotated[dict[str, str], Meta(description="Words.")] = msgspec.field(default_factory=dict)
    inner: Annotated[Inner | None, Meta(description="Perhaps a table.")] = None
    other_inner: Annotated[tuple[Inner, ...], Meta(description="Tables.")] = ()

    def __post_init__(self) -> None:
        if self.many == 3 and self.weight == 3:
            raise ValueError("three and three do not go together")


def said(content: dict[str, object]) -> list[str]:
    walk = file._Walk({(): 1})
    walk.table(Outer, content, ())
    return [f"{each.key}: {each.problem}; {each.allowed}" for each in walk.problems]


def test_each_kind_says_what_is_wrong_and_what_is_allowed() -> None:
    content: dict[str, object] = {
        "many": 4, "weight": 0, "words": {"a": 1}, "inner": {"name": "A", "secret": "hunter2"},
        "other-inner": [{"name": "a"}, {"secret": 5}],
    }  # fmt: skip
    assert said(content) == [
        "many: 4 is too large; a whole number from 1 to 3",
        "weight: 0 is too small; a number, more than 0",
        "words: 'a': 1 is no text; a table of names, each with a text in quotes",
        "inner.name: 'A' is not of that form; a text in quotes of the form ^[a-z]+$",
        "inner.secret: what stands there is too long; a text in quotes of 0 to 4 characters",
        "other-inner[2].secret: what stands there is no text; a text in quotes of 0 to 4 characters",
        "other-inner[2].name: it must be said; a text in quotes of the form ^[a-z]+$",
    ]


def test_a_tables_own_check_is_heard() -> None:
    assert said({"many": 3, "weight": 3}) == [": three and three do not go together; "]


def test_what_is_secret_is_shown_nowhere() -> None:
    found = Outer(inner=Inner(name="a", secret="k3y"), other_inner=(Inner(name="b", secret="l0ck"),))
    shown = [*(f"{each.name} = {each.shown}" for each in settings(found)), file._section(found, (), commented=True)]
    assert 'inner.name = "a"' in shown
    assert not [each for each in shown if "k3y" in each or "l0ck" in each]
    assert 'other-inner[1].secret = "(not shown)"' in shown


def test_a_declaration_that_toml_cannot_hold_is_a_fault_of_the_program() -> None:
    class Bad(Section, frozen=True, kw_only=True):
        when: bytes = b""

    with pytest.raises(DeclarationError):
        keys_of(Bad)


# --- the policy in it -------------------------------------------------------------------------------------------------


def test_the_policy_stands_in_the_file_with_its_own_lines(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[policy]\nunlocated = "halt"\n[policy.deadlines]\ndom0 = "1s"\n')
    found = in_force(Asked(config=path), DEFAULT_POLICY)
    assert found.policy.policy.unlocated is OnUnlocated.HALT
    assert found.policy.policy.deadlines.dom0_ms == 1000
    assert found.policy.file.lines["deadlines", "dom0"] == 4
    assert found.policy.file.path == str(path)


def test_the_policys_file_is_seen_from_the_configurations_directory(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('policy = "p.toml"\n')
    (tmp_path / "p.toml").write_text('unlocated = "halt"\n')
    asked = Asked(config=tmp_path / "c.toml")
    assert in_force(asked, DEFAULT_POLICY).policy.policy.unlocated is OnUnlocated.HALT
    (tmp_path / "p.toml").write_text("unlocated = 1\n")
    with pytest.raises(PolicyError, match=r"p\.toml:1: unlocated: 1 is none of them"):
        in_force(asked, DEFAULT_POLICY)
    (tmp_path / "p.toml").unlink()
    with pytest.raises(SourceError, match="No such file"):
        in_force(asked, DEFAULT_POLICY)


def test_the_command_line_wins(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text('[policy]\nunlocated = "halt"\n[rights.read]\ngroups = ["root"]\n')
    (tmp_path / "p.toml").write_text('unlocated = "drain"\n')
    asked = Asked(config=tmp_path / "c.toml", policy=str(tmp_path / "p.toml"), read_group="daemon")
    found = in_force(asked, DEFAULT_POLICY)
    assert found.policy.policy.unlocated is OnUnlocated.DRAIN
    assert found.configuration.rights.read.groups == ("root", "daemon")
    assert found.file.configuration.rights.read.groups == ("root",)


def test_a_file_that_nobody_named_may_be_missing_and_one_that_was_named_may_not(tmp_path: Path) -> None:
    assert load(tmp_path / "none", required=False).configuration == DEFAULT
    with pytest.raises(SourceError, match="no such file"):
        load(tmp_path / "none")
    with pytest.raises(SourceError):
        load(tmp_path, required=False)


# --- what changed -----------------------------------------------------------------------------------------------------


def test_what_changed_is_named_with_when_it_applies() -> None:
    before = read(b"[rights.read]\ngroups = ['a']\n").configuration
    after = read(
        b"policy = 'p'\n[rights.read]\ngroups = ['b']\n[[webhook]]\nname = 'a'\nurl = 'https://x'\n"
    ).configuration
    found = {each.key: each.applies for each in changes(before, after)}
    assert found.pop("webhook") in set(Applies)
    assert found == {"rights.read.groups": Applies.AT_ONCE}
    assert changes(before, before) == ()


# --- for editors ------------------------------------------------------------------------------------------------------


def test_the_schema_takes_what_the_reader_takes_and_refuses_what_it_refuses() -> None:
    schema = file.schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    good = (
        write(DEFAULT),
        'policy = "p.toml"\n',
        '[policy]\nunlocated = "halt"\n[[policy.domain]]\nname = "db-*"\n[rights.read]\nusers = ["a"]\n',
    )
    for text in good:
        read(text.encode())
        assert check.is_valid(tomllib.loads(text)), text
    for text in (
        "x = 1\n",
        "policy = 1\n",
        "[policy]\nx = 1\n",
        "[http]\nenabled = 1\n",
        "[rights.read]\nusers = ['']",
    ):
        with pytest.raises(ConfigurationError):
            read(text.encode())
        assert not check.is_valid(tomllib.loads(text)), text
    assert '"null"' not in msgspec.json.encode(schema).decode()
