"""A list that arrives in several messages is stored whole, and its figures are measured. D01."""

from __future__ import annotations

from pathlib import Path

from station.simulation.world import load_product
from tests.bench.local_list import ListBench, build_frame, describe, measure, uid_of

ID_TOKENS = 1_000


def test_a_list_that_arrives_in_parts_is_measured_d01_fr_11(tmp_path: Path) -> None:
    figures = measure(tmp_path, ID_TOKENS)
    limit = load_product().profile.local_list.items_per_message
    assert figures.first.messages == figures.again.messages == ID_TOKENS // limit
    assert figures.snapshot_bytes < 200 * ID_TOKENS
    assert len(list(describe(figures))) > 10


def test_a_part_changes_only_what_it_names_d01_fr_16(tmp_path: Path) -> None:
    """A part copies the chunks it touches: all others are the same objects as before."""
    bench = ListBench(tmp_path, load_product())
    bench.send_list(ID_TOKENS)
    before = bench.state.local_list.chunks
    bench.version += 1
    bench.receive(build_frame(bench.version, (1, 2, 3), is_first=False))
    after = bench.state.local_list
    assert after.version_number == bench.version
    kept = [key for key in before if after.chunks.get(key) is before[key]]
    assert len(kept) >= len(before) - 3
    for number in (1, 2, 3, ID_TOKENS - 1):
        assert after.find(bench.store.reference_for("ISO14443", uid_of(number)))
    bench.store.close()
