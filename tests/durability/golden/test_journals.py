"""Does the same follow from journals of the past as on the day they were kept? P4"""

from __future__ import annotations

import gzip
from pathlib import Path

import msgspec
import pytest

from journal.storage.reader import Reader
from tests.durability.golden import journals as kept
from tests.durability.golden import station_kinds
from tests.durability.golden.journals.__main__ import main


@pytest.mark.parametrize("name", kept.journal_names())
def test_the_same_follows_from_a_journal_of_the_past_p4(name: str, tmp_path: Path) -> None:
    """State, outbound bytes, and the judgement where nobody meant to change it."""
    assert list(kept.complaints_of(name, tmp_path)) == []


def test_together_they_hold_every_kind_of_event(tmp_path: Path) -> None:
    found = set()
    for name in kept.journal_names():
        with Reader.open(kept.unpack_journal(name, tmp_path), station_kinds()) as reader:
            found |= {kind.__name__ for kind in kept.event_kinds_in(reader)}
    missing = station_kinds().kinds.keys() - found
    assert not missing, (
        "run `python -m tests.durability.golden.journals examples NAME` and commit what it adds"
    )


@pytest.mark.parametrize("what", ["judgement", "state"])
def test_what_is_meant_to_be_otherwise_has_a_journal_and_a_reason(what: str) -> None:
    for name, why in kept.accepted_changes(what).items():
        assert name in kept.journal_names()
        assert why.strip()


@pytest.mark.parametrize("name", kept.journal_names())
def test_the_pinned_state_is_the_one_of_the_digest(name: str) -> None:
    import hashlib

    assert hashlib.sha256(kept.pinned_state(name)).hexdigest() == kept.load_pins(name).state


@pytest.fixture
def golden_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of one golden journal in a place of its own."""
    home = tmp_path / "kept"
    home.mkdir()
    name = kept.journal_names()[0]
    for file in kept.HOME.glob(f"{name}.*"):
        (home / file.name).write_bytes(file.read_bytes())
    (home / "changed.toml").write_text("[judgement]\n[state]\n")
    monkeypatch.setattr(kept, "HOME", home)
    monkeypatch.setattr("tests.durability.golden.journals.__main__.HOME", home)
    monkeypatch.setattr(kept, "CHANGED", home / "changed.toml")
    return home


def golden_complaints(tmp_path: Path) -> list[str]:
    [name] = kept.journal_names()
    directory = tmp_path / "unpacked"
    directory.mkdir(exist_ok=True)
    return list(kept.complaints_of(name, directory))


def test_another_state_is_told_by_its_path(golden_copy: Path, tmp_path: Path) -> None:
    [name] = kept.journal_names()
    file = golden_copy / f"{name}.state.json.gz"
    state = kept.pinned_state(name).replace(b'"run_count":', b'"run_count":1')
    file.write_bytes(gzip.compress(state))
    [found] = golden_complaints(tmp_path)
    assert found.startswith("state: lifecycle.runs: 1")


def test_what_only_a_later_release_remembers_is_nothing_to_complain_of(
    golden_copy: Path, tmp_path: Path
) -> None:
    [name] = kept.journal_names()
    state = msgspec.json.decode(kept.pinned_state(name))
    del state["lifecycle"]["run_count"]
    del state["heads"]
    (golden_copy / f"{name}.state.json.gz").write_bytes(gzip.compress(msgspec.json.encode(state)))
    assert golden_complaints(tmp_path) == []


def test_what_a_table_holds_today_and_did_not_hold_is_told(
    golden_copy: Path, tmp_path: Path
) -> None:
    [name] = kept.journal_names()
    state = msgspec.json.decode(kept.pinned_state(name))
    variables = state["variables"]["values"]
    first = min(variables)
    del variables[first]
    (golden_copy / f"{name}.state.json.gz").write_bytes(gzip.compress(msgspec.json.encode(state)))
    [found] = golden_complaints(tmp_path)
    assert first in found


@pytest.mark.parametrize(("field", "value"), [("outbound", "0" * 64), ("frames", 1)])
def test_other_bytes_for_the_csms_are_told(
    golden_copy: Path, tmp_path: Path, field: str, value: str | int
) -> None:
    [name] = kept.journal_names()
    pins = msgspec.structs.replace(kept.load_pins(name), **{field: value})
    (golden_copy / f"{name}.json").write_bytes(msgspec.json.encode(pins))
    [found] = golden_complaints(tmp_path)
    assert "other bytes" in found


def test_a_journal_that_is_kept_is_never_written_over(
    golden_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [name] = kept.journal_names()
    before = {file.name: file.read_bytes() for file in golden_copy.iterdir()}
    journal = kept.unpack_journal(name, tmp_path)
    assert main(["keep", name, str(journal)]) == 1
    assert "never written over" in capsys.readouterr().out
    assert {file.name: file.read_bytes() for file in golden_copy.iterdir()} == before
    assert main(["keep", "another", str(journal)]) == 0
    today = kept.load_pins("another")  # it may remember more, and so be another state
    assert msgspec.structs.replace(today, state="") == msgspec.structs.replace(
        kept.load_pins(name), state=""
    )


@pytest.mark.parametrize("arguments", [[], ["keep"], ["keep", "name"], ["forget", "name", "x"]])
def test_what_cannot_be_meant_is_explained(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "never written over" in capsys.readouterr().out
