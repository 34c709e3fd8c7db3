"""What is followed: by the configuration, and by the command line in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.decision.policy import DEFAULT
from ringfence.errors import SourceError
from ringfence.service.configuration.sources import MOST_NAMED, Sources
from ringfence.service.configured import Asked, in_force
from ringfence.service.intake_plan import followed


def names(wanted: Sources) -> list[str]:
    return [each.source.name for each in followed(wanted)]


def test_nothing_is_followed_by_default_and_of_the_host_what_is_safe_to_read() -> None:
    assert not Sources().any and names(Sources()) == []
    assert names(Sources(host=True)) == ["bert", "pstore", "tracefs", "kmsg", "rasdaemon", "edac"]
    assert "mcelog" in names(Sources(host=True, mcelog_device=True))


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("none",), []),
        (("file:/a", "file:/b", "file:/a"), ["file:/a", "file:/b"]),
        (("socket:/s", "cper:/c", "rasdaemon:/r"), ["cper:/c", "rasdaemon:/r", "socket:/s"]),
        (("host", "file:/with:colon"), ["bert", "pstore", "tracefs", "kmsg", "rasdaemon", "edac", "file:/with:colon"]),
    ],
)
def test_the_command_line_says_what_is_followed_in_place_of_the_configuration(
    words: tuple[str, ...], expected: list[str]
) -> None:
    assert names(Sources(files=("/of/the/configuration",)).overridden(words)) == expected


def test_what_the_configuration_switches_off_stays_off_and_its_paths_hold() -> None:
    wanted = Sources(tracefs=False, pstore_path="/elsewhere").overridden(("host",))
    assert "tracefs" not in names(wanted) and wanted.pstore_path == "/elsewhere"


@pytest.mark.parametrize("word", ["", "disk:/x", "file:", "file", "hosts", ":/x"])
def test_a_word_that_is_no_source_is_refused_with_those_that_are(word: str) -> None:
    with pytest.raises(SourceError, match="this is no source") as caught:
        Sources().overridden((word,))
    assert "file:PATH" in caught.value.advice


def test_the_number_of_what_is_named_is_bounded() -> None:
    with pytest.raises(SourceError, match="more than 16"):
        Sources().overridden([f"file:/{number}" for number in range(MOST_NAMED + 1)])


@pytest.mark.parametrize(
    ("file", "asked", "host"),
    [
        ("", Asked(watches_host=True), True),
        ("", Asked(), False),
        ("[sources]\nhost = false\n", Asked(watches_host=True), False),
        ('[sources]\nfiles = ["/x"]\n', Asked(watches_host=True), False),
        ("[sources]\nhost = true\n", Asked(sources=("none",)), False),
        ("", Asked(sources=("host",)), True),
    ],
)
def test_a_machine_that_is_watched_by_default_is_not_against_anybodys_word(
    tmp_path: Path, file: str, asked: Asked, host: bool
) -> None:
    path = tmp_path / "ringfence.toml"
    path.write_text(file)
    found = in_force(Asked(config=path, sources=asked.sources, watches_host=asked.watches_host), DEFAULT)
    assert found.configuration.sources.host is host


def test_what_is_erased_is_on_the_disk_before_and_who_holds_an_earlier_boots_words_is_called_so() -> None:
    by_name = {each.source.name: each for each in followed(Sources(host=True, erase_pstore=True))}
    assert by_name["pstore"].erases and not by_name["bert"].erases
    assert (by_name["pstore"].sink, by_name["bert"].sink, by_name["kmsg"].sink) == ("pstore", "BERT", "")
