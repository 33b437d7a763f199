"""Do imports point one way, and does each layer keep to what it may do?

Everything is read from the source, so a breach shows even on a path no test runs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from station.runtime.memory import REMEMBERING

ROOT = Path(__file__).parent.parent
OURS = ("station", "journal", "drivers")

# From the top down: a module may import its own layer and every layer below.
LAYERS = (
    ("station.cli", "station.__main__"),
    ("station.commands",),
    ("station.simulation",),
    ("station.runtime",),
    ("station.decide", "station.wanted", "station.ocppj"),
    ("station.blocks",),
    ("journal.state",),
    ("journal.projections",),
    ("journal.observations",),
    ("journal.terms",),
)

# What every part of the station may use: vocabulary without behaviour of its own.
VOCABULARY = ("station.messages", "station.profiles")

# Judgement: the same entries must give the same decisions, so nothing here meets the world.
PURE = (
    "station.decide",
    "station.wanted",
    "station.ocppj",
    "station.blocks",
    "station.messages",
    "journal.state",
    "journal.projections",
    "journal.observations",
    "journal.terms",
)
WORLDLY = ("asyncio", "os", "pathlib", "random", "secrets", "socket", "sqlite3", "time", "trio")
DICE_AND_CLOCKS = ("now", "utcnow", "today", "uuid1", "uuid4")

MAY_AWAIT = ("station.runtime", "station.simulation", "station.commands", "drivers")
MAY_WRITE_SQL = ("journal.store",)
SQL_THAT_WRITES = re.compile(
    r"\s*(INSERT\s+(OR\s+\w+\s+)?INTO|REPLACE\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM"
    r"|CREATE\s+(TABLE|TRIGGER|INDEX|UNIQUE)|DROP\s+(TABLE|TRIGGER|INDEX)|ALTER\s+TABLE)\b",
    re.IGNORECASE,
)

Rule = Callable[[str, ast.Module], Iterator[str]]


def within(module: str, *packages: str) -> bool:
    return any(module == each or module.startswith(each + ".") for each in packages)


def layer(module: str) -> int | None:
    """Position from the top, None for a module outside the order."""
    return next((n for n, names in enumerate(LAYERS) if within(module, *names)), None)


def imported(tree: ast.Module) -> Iterator[str]:
    """Modules named by import statements anywhere; `from a import b` may mean `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def points_down(module: str, tree: ast.Module) -> Iterator[str]:
    """A layer imports itself and the layers below, the vocabulary none of them."""
    own = layer(module)
    for other in imported(tree):
        its = layer(other)
        if own is not None and its is not None and its < own:
            yield f"imports {other}, which is above"
        if within(module, *VOCABULARY) and its is not None:
            yield f"imports {other}, though it is vocabulary"


def memory_knows_no_station(module: str, tree: ast.Module) -> Iterator[str]:
    """The journal imports neither the station nor a driver."""
    if within(module, "journal"):
        yield from (f"imports {each}" for each in imported(tree) if within(each, *OURS[::2]))


def drivers_import_nothing_of_ours(module: str, tree: ast.Module) -> Iterator[str]:
    if within(module, "drivers"):
        others = ("station", "journal", "migrations", "tests")
        yield from (f"imports {each}" for each in imported(tree) if within(each, *others))


def product_imports_no_tests(module: str, tree: ast.Module) -> Iterator[str]:
    yield from (f"imports {each}" for each in imported(tree) if within(each, "tests"))


def judgement_meets_no_world(module: str, tree: ast.Module) -> Iterator[str]:
    """No disk, no wire, no clock, no dice in the pure layers."""
    if not within(module, *PURE):
        return
    yield from (f"imports {each}" for each in imported(tree) if within(each, *WORLDLY))
    yield from (f"imports {each}" for each in imported(tree) if within(each, "drivers"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            if called in DICE_AND_CLOCKS:
                yield f"line {node.lineno}: calls {called}()"


def only_the_loop_awaits(module: str, tree: ast.Module) -> Iterator[str]:
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    if not within(module, *MAY_AWAIT):
        for node in ast.walk(tree):
            if isinstance(node, waiting):
                yield f"line {node.lineno}: awaits"


def only_the_store_writes_sql(module: str, tree: ast.Module) -> Iterator[str]:
    """Text that begins as a writing SQL statement stands in the store alone."""
    if not within(module, *MAY_WRITE_SQL):
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and SQL_THAT_WRITES.match(node.value)
            ):
                yield f"line {node.lineno}: writes SQL"


RULES: tuple[Rule, ...] = (
    points_down,
    memory_knows_no_station,
    drivers_import_nothing_of_ours,
    product_imports_no_tests,
    judgement_meets_no_world,
    only_the_loop_awaits,
    only_the_store_writes_sql,
)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def sources() -> list[Path]:
    return sorted(path for package in OURS for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps(rule: Rule) -> None:
    breaches = [
        f"{path.relative_to(ROOT)}: {breach}"
        for path in sources()
        for breach in rule(module_of(path), ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert breaches == []


def reachable(module: str, graph: dict[str, set[str]]) -> set[str]:
    """Modules that come along with an import, through helpers that have no layer."""
    found: set[str] = set()
    ahead = set(graph[module])
    while ahead:
        other = ahead.pop()
        if other not in found:
            found.add(other)
            ahead |= graph[other] if layer(other) is None else set()
    return found


def breaches_through_helpers(graph: dict[str, set[str]]) -> list[str]:
    """Layers that reach one above them by way of a module outside the order."""
    return [
        f"{module} reaches {other}, which is above"
        for module in sorted(graph)
        for other in sorted(reachable(module, graph))
        if (own := layer(module)) is not None and (its := layer(other)) is not None and its < own
    ]


def test_no_helper_is_a_way_up() -> None:
    trees = {module_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in sources()}
    graph = {module: set(imported(tree)) & set(trees) for module, tree in trees.items()}
    assert breaches_through_helpers(graph) == []


def test_a_snapshot_is_of_all_that_makes_the_memory_and_of_nothing_else() -> None:
    """One that is good for other code would be a memory nobody ever had. P8."""
    trees = {module_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in sources()}
    graph = {module: set(imported(tree)) & set(trees) for module, tree in trees.items()}
    found, ahead = set[str](), {"journal.state", "journal.codec"}
    while ahead:
        module = ahead.pop()
        found.add(module)
        ahead |= graph[module] - found
    assert {one for one in trees if within(one, *REMEMBERING)} >= found - {"journal"}
    assert all(any(within(one, each) for one in found) for each in REMEMBERING)


def test_a_way_up_through_a_helper_is_seen() -> None:
    graph = {
        "station.blocks.a": {"station.helper"},
        "station.helper": {"station.helper", "station.runtime.link"},
        "station.runtime.link": set(),
    }
    [breach] = breaches_through_helpers(graph)
    assert breach == "station.blocks.a reaches station.runtime.link, which is above"


def test_there_is_a_tree() -> None:
    assert {module_of(path).partition(".")[0] for path in sources()} == set(OURS)


@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (points_down, "station.blocks.e_transactions", "from station.runtime import link"),
        (points_down, "journal.projections.locks", "from journal import state"),
        (points_down, "journal.terms", "def f():\n    import journal.observations"),
        (points_down, "station.messages.enums", "import station.decide"),
        (memory_knows_no_station, "journal.codec", "from station.messages import encode"),
        (memory_knows_no_station, "journal.observations", "import drivers.ports"),
        (drivers_import_nothing_of_ours, "drivers.ports", "import journal.terms"),
        (product_imports_no_tests, "station.commands.demo", "from tests.csms import Csms"),
        (judgement_meets_no_world, "station.decide", "from time import monotonic"),
        (judgement_meets_no_world, "station.wanted", "from drivers import ports"),
        (judgement_meets_no_world, "journal.state", "at = datetime.now(UTC)"),
        (judgement_meets_no_world, "station.blocks.a", "from uuid import uuid4\nuuid4()"),
        (only_the_loop_awaits, "journal.store", "async def save(): ..."),
        (only_the_store_writes_sql, "station.commands.archive", "q = ' delete from entry'"),
        (only_the_store_writes_sql, "journal.verify", "q = f'UPDATE entry SET seq = {n}'"),
    ],
)
def test_a_breach_is_seen(rule: Rule, module: str, source: str) -> None:
    assert list(rule(module, ast.parse(source)))


@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (points_down, "station.runtime.link", "from station.decide import decide"),
        (points_down, "station.blocks.a", "from station.messages import enums"),
        (judgement_meets_no_world, "station.runtime.alarm", "import trio"),
        (judgement_meets_no_world, "station.decide", "from datetime import datetime"),
        (only_the_loop_awaits, "drivers.ports", "async def run(): ..."),
        (only_the_store_writes_sql, "journal.store", "q = 'DELETE FROM id_token'"),
        (only_the_store_writes_sql, "station.page", "text = 'Update the entry'"),
    ],
)
def test_what_is_allowed_passes(rule: Rule, module: str, source: str) -> None:
    assert list(rule(module, ast.parse(source))) == []
