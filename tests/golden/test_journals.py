"""Does the same follow from journals of the past as on the day they were kept? P4"""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest

from journal.reader import Reader
from tests.golden import journals as kept
from tests.golden import station_kinds
from tests.golden.journals.__main__ import main


@pytest.mark.parametrize("name", kept.names())
def test_the_same_follows_from_a_journal_of_the_past_p4(name: str, tmp_path: Path) -> None:
    """State, outbound bytes, and the judgement where nobody meant to change it."""
    assert list(kept.complaints_of(name, tmp_path)) == []


def test_together_they_hold_every_kind_of_event(tmp_path: Path) -> None:
    found = set()
    for name in kept.names():
        with Reader.open(kept.unpacked(name, tmp_path), station_kinds()) as reader:
            found |= {kind.__name__ for kind in kept.kinds_in(reader)}
    missing = station_kinds().kinds.keys() - found
    assert not missing, (
        "run `python -m tests.golden.journals examples NAME` and commit what it adds"
    )


@pytest.mark.parametrize("what", ["judgement", "state"])
def test_what_is_meant_to_be_otherwise_has_a_journal_and_a_reason(what: str) -> None:
    for name, why in kept.changed(what).items():
        assert name in kept.names()
        assert why.strip()


@pytest.mark.parametrize("name", kept.names())
def test_the_pinned_state_is_the_one_of_the_digest(name: str) -> None:
    import hashlib

    assert hashlib.sha256(kept.state_of(name)).hexdigest() == kept.pins_of(name).state


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of one golden journal in a place of its own."""
    home = tmp_path / "kept"
    home.mkdir()
    name = kept.names()[0]
    for file in kept.HOME.glob(f"{name}.*"):
        (home / file.name).write_bytes(file.read_bytes())
    (home / "changed.toml").write_text("[judgement]\n[state]\n")
    monkeypatch.setattr(kept, "HOME", home)
    monkeypatch.setattr("tests.golden.journals.__main__.HOME", home)
    monkeypatch.setattr(kept, "CHANGED", home / "changed.toml")
    return home


def complaints(tmp_path: Path) -> list[str]:
    [name] = kept.names()
    directory = tmp_path / "unpacked"
    directory.mkdir(exist_ok=True)
    return list(kept.complaints_of(name, directory))


def test_another_state_is_told_by_its_path(home: Path, tmp_path: Path) -> None:
    [name] = kept.names()
    file = home / f"{name}.state.json.gz"
    state = kept.state_of(name).replace(b'"runs":', b'"runs":1')
    file.write_bytes(gzip.compress(state))
    [found] = complaints(tmp_path)
    assert found.startswith("state: lifecycle.runs: 1")


def test_what_only_a_later_release_remembers_is_nothing_to_complain_of(
    home: Path, tmp_path: Path
) -> None:
    [name] = kept.names()
    state = msgspec.json.decode(kept.state_of(name))
    del state["lifecycle"]["runs"]
    del state["heads"]
    (home / f"{name}.state.json.gz").write_bytes(gzip.compress(msgspec.json.encode(state)))
    assert complaints(tmp_path) == []


def test_what_a_table_holds_today_and_did_not_hold_is_told(home: Path, tmp_path: Path) -> None:
    [name] = kept.names()
    state = msgspec.json.decode(kept.state_of(name))
    variables = state["variables"]["values"]
    first = min(variables)
    del variables[first]
    (home / f"{name}.state.json.gz").write_bytes(gzip.compress(msgspec.json.encode(state)))
    [found] = complaints(tmp_path)
    assert first in found


@pytest.mark.parametrize(("field", "value"), [("outbound", "0" * 64), ("frames", 1)])
def test_other_bytes_for_the_csms_are_told(
    home: Path, tmp_path: Path, field: str, value: str | int
) -> None:
    [name] = kept.names()
    pins = msgspec.structs.replace(kept.pins_of(name), **{field: value})
    (home / f"{name}.json").write_bytes(msgspec.json.encode(pins))
    [found] = complaints(tmp_path)
    assert "other bytes" in found


def test_a_journal_that_is_kept_is_never_written_over(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [name] = kept.names()
    before = {file.name: file.read_bytes() for file in home.iterdir()}
    journal = kept.unpacked(name, tmp_path)
    assert main(["keep", name, str(journal)]) == 1
    assert "never written over" in capsys.readouterr().out
    assert {file.name: file.read_bytes() for file in home.iterdir()} == before
    assert main(["keep", "another", str(journal)]) == 0
    today = kept.pins_of("another")  # it may remember more, and so be another state
    assert msgspec.structs.replace(today, state="") == msgspec.structs.replace(
        kept.pins_of(name), state=""
    )


@pytest.mark.parametrize("arguments", [[], ["keep"], ["keep", "name"], ["forget", "name", "x"]])
def test_what_cannot_be_meant_is_explained(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "never written over" in capsys.readouterr().out
