"""The results of every golden journal are those of the release that wrote it. P4."""

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
    """State, outbound bytes, and the decisions unless `changed.toml` excepts them."""
    assert list(kept.complaints_of(name, tmp_path)) == []


def test_together_they_hold_every_kind_of_event(tmp_path: Path) -> None:
    kinds = set()
    for name in kept.journal_names():
        with Reader.open(kept.unpack_journal(name, tmp_path), station_kinds()) as reader:
            kinds |= {kind.__name__ for kind in kept.event_kinds_in(reader)}
    missing = station_kinds().kinds.keys() - kinds
    assert not missing, (
        "run `python -m tests.durability.golden.journals examples NAME` and commit what it adds"
    )


@pytest.mark.parametrize("subject", ["decisions", "state"])
def test_an_accepted_change_names_a_golden_journal_and_a_reason(subject: str) -> None:
    for name, reason in kept.accepted_changes(subject).items():
        assert name in kept.journal_names()
        assert reason.strip()


@pytest.mark.parametrize("name", kept.journal_names())
def test_the_pinned_state_is_the_one_of_the_digest(name: str) -> None:
    import hashlib

    assert hashlib.sha256(kept.pinned_state(name)).hexdigest() == kept.load_pins(name).state


@pytest.fixture
def golden_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of one golden journal in a directory of its own."""
    home = tmp_path / "kept"
    home.mkdir()
    name = kept.journal_names()[0]
    for file in kept.HOME.glob(f"{name}.*"):
        (home / file.name).write_bytes(file.read_bytes())
    (home / "changed.toml").write_text("[decisions]\n[state]\n")
    monkeypatch.setattr(kept, "HOME", home)
    monkeypatch.setattr("tests.durability.golden.journals.__main__.HOME", home)
    monkeypatch.setattr(kept, "CHANGED", home / "changed.toml")
    return home


def golden_complaints(tmp_path: Path) -> list[str]:
    [name] = kept.journal_names()
    directory = tmp_path / "unpacked"
    directory.mkdir(exist_ok=True)
    return list(kept.complaints_of(name, directory))


def test_another_state_is_reported_by_its_path(golden_copy: Path, tmp_path: Path) -> None:
    [name] = kept.journal_names()
    file = golden_copy / f"{name}.state.json.gz"
    state = kept.pinned_state(name).replace(b'"run_count":', b'"run_count":1')
    file.write_bytes(gzip.compress(state))
    [complaint] = golden_complaints(tmp_path)
    assert complaint.startswith("state: lifecycle.run_count: 1")


def test_a_field_that_only_a_later_release_has_is_no_difference(
    golden_copy: Path, tmp_path: Path
) -> None:
    [name] = kept.journal_names()
    state = msgspec.json.decode(kept.pinned_state(name))
    del state["lifecycle"]["run_count"]
    del state["witness"]
    (golden_copy / f"{name}.state.json.gz").write_bytes(gzip.compress(msgspec.json.encode(state)))
    assert golden_complaints(tmp_path) == []


def test_a_key_that_a_map_did_not_have_is_reported(golden_copy: Path, tmp_path: Path) -> None:
    [name] = kept.journal_names()
    state = msgspec.json.decode(kept.pinned_state(name))
    variables = state["variables"]["values"]
    first = min(variables)
    del variables[first]
    (golden_copy / f"{name}.state.json.gz").write_bytes(gzip.compress(msgspec.json.encode(state)))
    [complaint] = golden_complaints(tmp_path)
    assert first in complaint


@pytest.mark.parametrize(("field", "value"), [("outbound", "0" * 64), ("frames", 1)])
def test_other_bytes_for_the_csms_are_reported(
    golden_copy: Path, tmp_path: Path, field: str, value: str | int
) -> None:
    [name] = kept.journal_names()
    pins = msgspec.structs.replace(kept.load_pins(name), **{field: value})
    (golden_copy / f"{name}.json").write_bytes(msgspec.json.encode(pins))
    [complaint] = golden_complaints(tmp_path)
    assert "other bytes" in complaint


def test_a_golden_journal_is_never_overwritten(
    golden_copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [name] = kept.journal_names()
    before = {file.name: file.read_bytes() for file in golden_copy.iterdir()}
    journal = kept.unpack_journal(name, tmp_path)
    assert main(["keep", name, str(journal)]) == 1
    assert "never overwritten" in capsys.readouterr().out
    assert {file.name: file.read_bytes() for file in golden_copy.iterdir()} == before
    assert main(["keep", "another", str(journal)]) == 0
    today = kept.load_pins("another")  # its state may have more fields
    assert msgspec.structs.replace(today, state="") == msgspec.structs.replace(
        kept.load_pins(name), state=""
    )


@pytest.mark.parametrize("arguments", [[], ["keep"], ["keep", "name"], ["forget", "name", "x"]])
def test_wrong_usage_prints_the_help(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert "never overwritten" in capsys.readouterr().out
