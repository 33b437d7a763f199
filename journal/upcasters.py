"""Steps that turn a body of an older version into one of the newest.

One small function per step, named `<kind>_<from>_to_<to>` and entered in `STEPS`. A released step
is never edited and never removed, because journals of that age are still read. Before release 1.0
`STEPS` is empty: no format of the development was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Body = dict[str, Any]
Step = Callable[[Body], Body]
Steps = Mapping[tuple[str, int], Step]


def upcast(steps: Steps, kind: str, version: int, newest: int, body: Body) -> Body:
    """Raise `body` step by step from `version` to `newest`.

    Raises:
        KeyError: a step is missing; `journal.codec.Registry` refuses such a table when it is built.
    """
    for step in range(version, newest):
        body = steps[kind, step](body)
    return body


STEPS: Steps = {}
