"""`python -m tests.conformance.octt.mutants.station NAME …`: the `station` command of a mutant."""

from __future__ import annotations

import sys

from tests.conformance.octt.mutants import MUTANTS


def main() -> None:
    name = sys.argv.pop(1)
    MUTANTS[name].patch()
    from station.cli import main as station

    station()


if __name__ == "__main__":
    main()
