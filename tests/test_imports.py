"""Do imports point one way, and does each layer keep to what it may do?

Everything is read from the source, so a breach shows even on a path no test runs.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from station.runtime.loop.startup import STATE_MODULES

ROOT = Path(__file__).parent.parent
OUR_PACKAGES = ("station", "journal", "drivers")

# From the top down: a module may import its own layer and every layer below.
LAYERS = (
    ("station.cli", "station.__main__"),
    ("station.commands",),
    ("station.simulation",),
    ("station.runtime",),
    ("station.core.decide", "station.core.desired", "station.ocpp.rpc"),
    ("station.core.blocks",),
    ("journal.state",),
    ("journal.projections",),
    ("journal.observations",),
    ("journal.events",),
)

# What every part of the station may use: vocabulary without behaviour of its own.
VOCABULARY = ("station.ocpp.messages", "station.profiles")

# Judgement: the same entries must give the same decisions, so nothing here meets the world.
PURE = (
    "station.core.decide",
    "station.core.desired",
    "station.ocpp.rpc",
    "station.core.blocks",
    "station.ocpp.messages",
    "journal.state",
    "journal.projections",
    "journal.observations",
    "journal.events",
)
IMPURE_MODULES = (
    "asyncio",
    "os",
    "pathlib",
    "random",
    "secrets",
    "socket",
    "sqlite3",
    "time",
    "trio",
)
IMPURE_CALLS = ("now", "utcnow", "today", "uuid1", "uuid4")

MAY_AWAIT = ("station.runtime", "station.simulation", "station.commands", "drivers")
MAY_WRITE_SQL = ("journal.storage", "journal.maintenance.rebuild")
SQL_THAT_WRITES = re.compile(
    r"\s*(INSERT\s+(OR\s+\w+\s+)?INTO|REPLACE\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM"
    r"|CREATE\s+(TABLE|TRIGGER|INDEX|UNIQUE)|DROP\s+(TABLE|TRIGGER|INDEX)|ALTER\s+TABLE)\b",
    re.IGNORECASE,
)

Rule = Callable[[str, ast.Module], Iterator[str]]


def is_within(module: str, *packages: str) -> bool:
    return any(module == each or module.startswith(each + ".") for each in packages)


def layer_of(module: str) -> int | None:
    """Position from the top, None for a module outside the order."""
    return next((n for n, names in enumerate(LAYERS) if is_within(module, *names)), None)


def imported_modules(tree: ast.Module) -> Iterator[str]:
    """Modules named by import statements anywhere; `from a import b` may mean `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_point_down(module: str, tree: ast.Module) -> Iterator[str]:
    """A layer imports itself and the layers below, the vocabulary none of them."""
    own = layer_of(module)
    for other in imported_modules(tree):
        its = layer_of(other)
        if own is not None and its is not None and its < own:
            yield f"imports {other}, which is above"
        if is_within(module, *VOCABULARY) and its is not None:
            yield f"imports {other}, though it is vocabulary"


def journal_imports_no_station(module: str, tree: ast.Module) -> Iterator[str]:
    """The journal imports neither the station nor a driver."""
    if is_within(module, "journal"):
        yield from (
            f"imports {each}"
            for each in imported_modules(tree)
            if is_within(each, *OUR_PACKAGES[::2])
        )


def drivers_import_nothing_of_ours(module: str, tree: ast.Module) -> Iterator[str]:
    if is_within(module, "drivers"):
        others = ("station", "journal", "migrations", "tests")
        yield from (
            f"imports {each}" for each in imported_modules(tree) if is_within(each, *others)
        )


def product_imports_no_tests(module: str, tree: ast.Module) -> Iterator[str]:
    yield from (f"imports {each}" for each in imported_modules(tree) if is_within(each, "tests"))


def pure_layers_stay_pure(module: str, tree: ast.Module) -> Iterator[str]:
    """No disk, no wire, no clock, no dice in the pure layers."""
    if not is_within(module, *PURE):
        return
    yield from (
        f"imports {each}" for each in imported_modules(tree) if is_within(each, *IMPURE_MODULES)
    )
    yield from (f"imports {each}" for each in imported_modules(tree) if is_within(each, "drivers"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            if called in IMPURE_CALLS:
                yield f"line {node.lineno}: calls {called}()"


def only_the_loop_awaits(module: str, tree: ast.Module) -> Iterator[str]:
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    if not is_within(module, *MAY_AWAIT):
        for node in ast.walk(tree):
            if isinstance(node, waiting):
                yield f"line {node.lineno}: awaits"


def only_the_store_writes_sql(module: str, tree: ast.Module) -> Iterator[str]:
    """Text that begins as a writing SQL statement stands in the store alone."""
    if not is_within(module, *MAY_WRITE_SQL):
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and SQL_THAT_WRITES.match(node.value)
            ):
                yield f"line {node.lineno}: writes SQL"


RULES: tuple[Rule, ...] = (
    imports_point_down,
    journal_imports_no_station,
    drivers_import_nothing_of_ours,
    product_imports_no_tests,
    pure_layers_stay_pure,
    only_the_loop_awaits,
    only_the_store_writes_sql,
)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def source_files() -> list[Path]:
    return sorted(path for package in OUR_PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps(rule: Rule) -> None:
    breaches = [
        f"{path.relative_to(ROOT)}: {breach}"
        for path in source_files()
        for breach in rule(module_of(path), ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert breaches == []


def reachable_modules(module: str, graph: dict[str, set[str]]) -> set[str]:
    """Modules that come along with an import, through helpers that have no layer."""
    found: set[str] = set()
    ahead = set(graph[module])
    while ahead:
        other = ahead.pop()
        if other not in found:
            found.add(other)
            ahead |= graph[other] if layer_of(other) is None else set()
    return found


def indirect_breaches(graph: dict[str, set[str]]) -> list[str]:
    """Layers that reach one above them by way of a module outside the order."""
    return [
        f"{module} reaches {other}, which is above"
        for module in sorted(graph)
        for other in sorted(reachable_modules(module, graph))
        if (own := layer_of(module)) is not None
        and (its := layer_of(other)) is not None
        and its < own
    ]


def test_no_helper_is_a_way_up() -> None:
    trees = {
        module_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in source_files()
    }
    graph = {module: set(imported_modules(tree)) & set(trees) for module, tree in trees.items()}
    assert indirect_breaches(graph) == []


def test_a_snapshot_is_of_all_that_makes_the_memory_and_of_nothing_else() -> None:
    """One that is good for other code would be a memory nobody ever had. P8."""
    trees = {
        module_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in source_files()
    }
    graph = {module: set(imported_modules(tree)) & set(trees) for module, tree in trees.items()}
    found, ahead = set[str](), {"journal.state", "journal.codec"}
    while ahead:
        module = ahead.pop()
        found.add(module)
        ahead |= graph[module] - found
    assert {one for one in trees if is_within(one, *STATE_MODULES)} >= found - {"journal"}
    assert all(any(is_within(one, each) for one in found) for each in STATE_MODULES)


def test_a_way_up_through_a_helper_is_seen() -> None:
    graph = {
        "station.core.blocks.a": {"station.helper"},
        "station.helper": {"station.helper", "station.runtime.csms.connection"},
        "station.runtime.csms.connection": set(),
    }
    [breach] = indirect_breaches(graph)
    assert breach == "station.core.blocks.a reaches station.runtime.csms.connection, which is above"


def test_there_is_a_tree() -> None:
    assert {module_of(path).partition(".")[0] for path in source_files()} == set(OUR_PACKAGES)


@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (
            imports_point_down,
            "station.core.blocks.e_transactions",
            "from station.runtime import link",
        ),
        (imports_point_down, "journal.projections.locks", "from journal import state"),
        (imports_point_down, "journal.events", "def f():\n    import journal.observations"),
        (imports_point_down, "station.ocpp.messages.enums", "import station.core.decide"),
        (journal_imports_no_station, "journal.codec", "from station.ocpp.messages import encode"),
        (journal_imports_no_station, "journal.observations", "import drivers.ports"),
        (drivers_import_nothing_of_ours, "drivers.ports", "import journal.events"),
        (
            product_imports_no_tests,
            "station.commands.demo.session",
            "from tests.support.csms import Csms",
        ),
        (pure_layers_stay_pure, "station.core.decide", "from time import monotonic"),
        (pure_layers_stay_pure, "station.core.desired", "from drivers import ports"),
        (pure_layers_stay_pure, "journal.state", "at = datetime.now(UTC)"),
        (pure_layers_stay_pure, "station.core.blocks.a", "from uuid import uuid4\nuuid4()"),
        (only_the_loop_awaits, "journal.storage.store", "async def save(): ..."),
        (only_the_store_writes_sql, "station.commands.archive", "q = ' delete from entry'"),
        (
            only_the_store_writes_sql,
            "journal.maintenance.verify",
            "q = f'UPDATE entry SET seq = {n}'",
        ),
    ],
)
def test_a_breach_is_seen(rule: Rule, module: str, source: str) -> None:
    assert list(rule(module, ast.parse(source)))


@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (
            imports_point_down,
            "station.runtime.csms.connection",
            "from station.core.decide import decide",
        ),
        (imports_point_down, "station.core.blocks.a", "from station.ocpp.messages import enums"),
        (pure_layers_stay_pure, "station.runtime.timer", "import trio"),
        (pure_layers_stay_pure, "station.core.decide", "from datetime import datetime"),
        (only_the_loop_awaits, "drivers.ports", "async def run(): ..."),
        (only_the_store_writes_sql, "journal.storage.store", "q = 'DELETE FROM id_token'"),
        (only_the_store_writes_sql, "station.page", "text = 'Update the entry'"),
    ],
)
def test_what_is_allowed_passes(rule: Rule, module: str, source: str) -> None:
    assert list(rule(module, ast.parse(source))) == []
