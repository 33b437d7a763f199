"""The order of packages and modules, and what each of them may do.

Everything is read from the source, so a breach shows even on a path that no test runs.

`FLOORS` is the order from the top down. A floor holds rooms that do not import each
other; a room is a module (`station.core.context`) or a package with its direct modules
(`station.core.blocks.*`). A module may import its own room and every floor below. Rooms are named
one by one: a new package, or a new module beside packages, fails `test_every_module_has_a_floor`
until it is entered here. Within a room, imports may not form a circle.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from station.runtime.loop.state_snapshot import STATE_MODULES

ROOT = Path(__file__).parent.parent
OUR_PACKAGES = ("station", "journal", "drivers", "migrations")

FLOORS: tuple[tuple[str, ...], ...] = (
    ("station.__main__",),
    ("station.cli", "station.packaging.*"),
    # The verbs
    ("station.commands.demo.*",),
    ("station.commands.*",),
    ("station.commands.shared.*",),
    # The page, a process of its own: the station never imports it
    ("station.page.*",),
    # The simulated world: it runs the product's runtime, so it is above it
    ("station.simulation.experiments.*",),
    ("station.simulation.*",),
    # Everything that awaits
    ("station.runtime.process",),
    ("station.runtime.app",),
    ("station.runtime.control_socket",),
    ("station.runtime.external_limits", "station.runtime.live_status"),
    ("station.runtime.emulation", "station.runtime.service.*"),
    (
        "station.runtime.csms.*",
        "station.runtime.disk.*",
        "station.runtime.hardware.*",
        "station.runtime.jobs.*",
        "station.runtime.loop.*",
        "station.runtime.requested_values",
    ),
    ("station.runtime.crypto.*",),
    (
        "station.runtime.host_values",
        "station.runtime.monitored_values",
        "station.runtime.reconcile",
        "station.runtime.secrets.*",
        "station.runtime.timer",
        "station.runtime.transfers.*",
    ),
    (
        "station.runtime",
        "station.runtime.clock",
        "station.runtime.lean_imports",
        "station.runtime.recent_maximum",
        "station.runtime.similar_names",
        "station.runtime.watched_value",
    ),
    # What is read from a journal afterwards, and the configuration
    ("station.history.report.*", "station.history.regression.*"),
    ("station.history.export.*",),
    ("station.history.explain.*", "station.history.filter"),
    (
        "station.config.*",
        "station.history.energy_check",
        "station.history.evse_statuses",
        "station.history.json_diff",
        "station.history.limiting_causes",
        "station.history.subjects",
    ),
    ("station.history", "station.transcript.*"),
    # Decisions, pure
    ("station.core.decide_batch",),
    ("station.core.decide", "station.core.desired"),
    ("station.core.display_rows",),
    ("station.core.display",),
    ("station.core.block_tables", "station.core.display_situation"),
    ("station.core.blocks.n_monitoring.*",),
    ("station.core.blocks.*",),
    ("station.core.blocks.k_smart_charging.*",),
    (
        "station.core.certificate_validity",
        "station.core.evse_status",
        "station.core.html_text",
        "station.core.meter_values",
        "station.core.outbox_rules",
        "station.core.report_messages",
        "station.core.reuse",
        "station.core.signing_certificate",
        "station.core.x509",
    ),
    ("station.core.context",),
    ("station.core.certificates.*",),
    ("station.core", "station.core.device_model.*", "station.core.reasons"),
    # The journal
    ("journal.maintenance.*",),
    ("journal.storage.*",),
    ("journal.format.*",),
    ("journal.state",),
    ("journal.projections.*",),
    ("journal.observations",),
    ("journal.codec",),
    ("journal", "journal.immutable", "journal.upcasters"),
    ("journal.events",),
    # Vocabulary: imports nothing of ours outside its own package
    ("station.ocpp.csms_url", "station.ocpp.rpc"),
    (
        "drivers.catalog",
        "drivers.emulators.*",
        "station.ocpp",
        "station.ocpp.messages.*",
    ),
    (
        "drivers.displays.*",
        "drivers.insulation.*",
        "drivers.io.*",
        "drivers.meters.*",
        "drivers.power.*",
        "drivers.readers.*",
        "drivers.secc.*",
    ),
    ("drivers.wire.*",),
    (
        "drivers",
        "drivers.alarm",
        "drivers.awake_clock",
        "drivers.beat",
        "drivers.ports",
        "drivers.settings",
        "migrations.*",
        "station",
        "station.firmware.*",
        "station.profiles.*",
        "station.texts.*",
    ),
    ("drivers.wiring",),
)
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}

# The same entries must give the same decisions and texts, so nothing here has effects or inputs
# besides its arguments.
PURE = (
    "station.core",
    "station.ocpp",
    "station.transcript",
    "journal.codec",
    "journal.events",
    "journal.immutable",
    "journal.observations",
    "journal.projections",
    "journal.state",
    "journal.upcasters",
)
# Of ours, pure code imports pure code, and these: types and functions without effects in packages
# that have others too.
PURE_MAY_IMPORT = (
    "journal.format.id_tokens",
    "station.profiles",
    "station.texts",
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
IMPURE_CALLS = ("now", "open", "today", "utcnow", "uuid1", "uuid4")

MAY_AWAIT = ("station.page", "station.runtime", "station.simulation", "station.commands", "drivers")
MAY_WRITE_SQL = ("journal.storage", "journal.maintenance.rebuild")
SQL_THAT_WRITES = re.compile(
    r"\s*(INSERT\s+(OR\s+\w+\s+)?INTO|REPLACE\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM"
    r"|CREATE\s+(TABLE|TRIGGER|INDEX|UNIQUE)|DROP\s+(TABLE|TRIGGER|INDEX)|ALTER\s+TABLE)\b",
    re.IGNORECASE,
)
# pytest, coverage tools and editors collect such files as tests.
LOOKS_LIKE_A_TEST = re.compile(r"(^|\.)(test_\w+|\w+_test|conftest)$")

Rule = Callable[[str, ast.Module], Iterator[str]]


def is_within(module: str, *packages: str) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def room_of(name: str) -> str | None:
    """The room of a module; None where `FLOORS` has none, or where `name` is no module."""
    parent = name.rpartition(".")[0]
    return next((room for room in (name, f"{name}.*", f"{parent}.*") if room in FLOOR_OF), None)


def imported_names(tree: ast.Module) -> Iterator[str]:
    """Names in import statements anywhere in a file; `from a import b` may mean `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def imports_point_down(module: str, tree: ast.Module) -> Iterator[str]:
    """A module imports its own room and the floors below."""
    own = room_of(module)
    for name in imported_names(tree):
        room = room_of(name)
        if own is None or room is None or room == own:
            continue
        if FLOOR_OF[room] < FLOOR_OF[own]:
            yield f"imports {name}, which is above"
        elif FLOOR_OF[room] == FLOOR_OF[own] and not own.startswith(f"{room}."):
            yield f"imports {name}, which is another room of the same floor"


def journal_imports_no_station(module: str, tree: ast.Module) -> Iterator[str]:
    """The journal is a library of its own: it imports neither the station nor a driver."""
    if is_within(module, "journal", "migrations"):
        names = (name for name in imported_names(tree) if is_within(name, "station", "drivers"))
        yield from (f"imports {name}" for name in names)


def drivers_import_nothing_of_ours(module: str, tree: ast.Module) -> Iterator[str]:
    """A driver is usable, and testable, without the station and the journal."""
    if is_within(module, "drivers"):
        ours = ("station", "journal", "migrations")
        names = (name for name in imported_names(tree) if is_within(name, *ours))
        yield from (f"imports {name}" for name in names)


def installer_stands_alone(module: str, tree: ast.Module) -> Iterator[str]:
    """The default installer is a program of its own: it imports only its package."""
    if module == "station.firmware.swap":
        for name in imported_names(tree):
            if is_within(name, *OUR_PACKAGES) and not is_within(name, "station.firmware"):
                yield f"imports {name}"


def product_imports_no_tests(module: str, tree: ast.Module) -> Iterator[str]:
    yield from (f"imports {name}" for name in imported_names(tree) if is_within(name, "tests"))


def pure_packages_stay_pure(module: str, tree: ast.Module) -> Iterator[str]:
    """No disk, network, clock or randomness in pure packages, and no import of what has them."""
    if not is_within(module, *PURE):
        return
    for name in imported_names(tree):
        impure = is_within(name, *OUR_PACKAGES) and not is_within(name, *PURE, *PURE_MAY_IMPORT)
        package = any(pure.startswith(f"{name}.") for pure in (*PURE, *PURE_MAY_IMPORT))
        if is_within(name, *IMPURE_MODULES) or (impure and not package):
            yield f"imports {name}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = getattr(node.func, "attr", None) or getattr(node.func, "id", None)
            if function in IMPURE_CALLS:
                yield f"line {node.lineno}: calls {function}()"


def only_the_loop_awaits(module: str, tree: ast.Module) -> Iterator[str]:
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith)
    if not is_within(module, *MAY_AWAIT):
        for node in ast.walk(tree):
            if isinstance(node, waiting):
                yield f"line {node.lineno}: awaits"


def only_the_store_writes_sql(module: str, tree: ast.Module) -> Iterator[str]:
    """Text that begins as a writing SQL statement occurs in the store alone."""
    if not is_within(module, *MAY_WRITE_SQL):
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Constant)
                and isinstance(node.value, str)
                and SQL_THAT_WRITES.match(node.value)
            ):
                yield f"line {node.lineno}: writes SQL"


def no_file_is_named_as_a_test(module: str, tree: ast.Module) -> Iterator[str]:
    if LOOKS_LIKE_A_TEST.search(module):
        yield "is named as a test; test runners collect it"


# Code of the station's loop, and what it may import while it runs: only to read a certificate that
# `station.runtime.crypto` has not read in another process before, and `html`, which the receiver of
# a frame has imported before.
IN_LOOP = ("station.core", "station.runtime.control_socket", "station.runtime.csms")
READS_CERTIFICATES = "station.core.certificates.parser"
MAY_IMPORT_LATE = {
    "station.core.certificates.known_facts": (READS_CERTIFICATES,),
    "station.core.html_text": ("html",),
}


def no_import_holds_the_loop(module: str, tree: ast.Module) -> Iterator[str]:
    """Code of the loop imports at the start: an import reads files and runs a module."""
    if not is_within(module, *IN_LOOP):
        return
    for function, name in late_imports(tree):
        if not is_within(name, *MAY_IMPORT_LATE.get(module, ())):
            yield f"{function} imports {name}"


def late_imports(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """Each name that is imported in a function, with the function's name."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            for name in imported_names(ast.Module(function.body, [])):
                yield function.name, name


# What brings `cryptography`, of 11 MiB, and who may import it: in a function that the station
# calls in another process. `station.core.certificates.known_facts` has the exception.
CRYPTOGRAPHY_USERS = ("station.firmware.signature", READS_CERTIFICATES)
MAY_IMPORT_CRYPTOGRAPHY = {
    "station.core.certificates.known_facts": (READS_CERTIFICATES,),
    "station.runtime.crypto.program": CRYPTOGRAPHY_USERS,
    "station.runtime.secrets.key_pairs": ("cryptography",),
}
RUNS_IN_THE_STATION = ("journal", "drivers", "station.core", "station.config", "station.runtime")


def no_cryptography_in_the_station(module: str, tree: ast.Module) -> Iterator[str]:
    """Work with keys and certificates is done in a process of its own."""
    if not is_within(module, *RUNS_IN_THE_STATION) or module == READS_CERTIFICATES:
        return
    allowed = {name for _, name in late_imports(tree)}
    for name in imported_names(tree):
        if is_within(name, "cryptography", *CRYPTOGRAPHY_USERS) and not (
            name in allowed and is_within(name, *MAY_IMPORT_CRYPTOGRAPHY.get(module, ()))
        ):
            yield f"imports {name}"


RULES: tuple[Rule, ...] = (
    imports_point_down,
    journal_imports_no_station,
    drivers_import_nothing_of_ours,
    installer_stands_alone,
    product_imports_no_tests,
    pure_packages_stay_pure,
    only_the_loop_awaits,
    only_the_store_writes_sql,
    no_file_is_named_as_a_test,
    no_import_holds_the_loop,
    no_cryptography_in_the_station,
)


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def source_trees() -> Mapping[str, ast.Module]:
    """Every module of the product, parsed."""
    paths = [path for package in OUR_PACKAGES for path in (ROOT / package).rglob("*.py")]
    return {
        module_of(path): ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
        for path in sorted(paths)
    }


@cache
def import_graph() -> Mapping[str, set[str]]:
    trees = source_trees()
    return {module: set(imported_names(tree)) & set(trees) for module, tree in trees.items()}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_tree_keeps(rule: Rule) -> None:
    breaches = [
        f"{module}: {breach}"
        for module, tree in source_trees().items()
        for breach in rule(module, tree)
    ]
    assert breaches == []


def modules_without_a_floor(modules: Iterator[str]) -> list[str]:
    return [module for module in modules if room_of(module) is None]


def test_every_module_has_a_floor() -> None:
    assert modules_without_a_floor(iter(source_trees())) == [], "enter it in FLOORS of this file"


def test_every_room_exists_and_has_one_floor() -> None:
    rooms = [room for floor in FLOORS for room in floor]
    assert len(rooms) == len(set(rooms))
    occupied = {room_of(module) for module in source_trees()}
    assert set(rooms) - occupied == set(), "rooms of FLOORS that no longer exist"


def circles(graph: Mapping[str, set[str]]) -> list[str]:
    """The first circle of imports, as the modules on it."""
    try:
        TopologicalSorter({a: others - {a} for a, others in graph.items()}).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def without_packages(graph: Mapping[str, set[str]]) -> Mapping[str, set[str]]:
    """`import a.b` names `a` too, which runs before both: that is no import of ours."""
    return {
        module: {other for other in others if not module.startswith(f"{other}.")}
        for module, others in graph.items()
    }


def test_no_imports_form_a_circle() -> None:
    assert circles(without_packages(import_graph())) == []


def state_code(graph: Mapping[str, set[str]]) -> set[str]:
    """Modules that `journal.state` and the codec import, directly or not."""
    reached, ahead = set[str](), {"journal.state", "journal.codec"}
    while ahead:
        module = ahead.pop()
        reached.add(module)
        ahead |= graph[module] - reached
    return reached - {"journal"}


def test_the_snapshot_fingerprint_covers_exactly_the_code_of_the_state_p8() -> None:
    """A snapshot made by other code may be a state that no replay gives."""
    code = state_code(import_graph())
    covered = {module for module in source_trees() if is_within(module, *STATE_MODULES)}
    assert covered >= code
    assert all(any(is_within(module, each) for module in code) for each in STATE_MODULES)


def test_the_rules_have_a_tree_to_read() -> None:
    assert {module.partition(".")[0] for module in source_trees()} == set(OUR_PACKAGES)


def test_no_test_file_is_skipped_by_its_name() -> None:
    """pytest collects `test_*.py` here; a second pattern would be collected elsewhere only."""
    assert list((ROOT / "tests").rglob("*_test.py")) == []


# --- The rules notice planted breaches -----------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "module", "source"),
    [
        (
            imports_point_down,
            "station.core.blocks.e_transactions",
            "from station.runtime.csms import connection",
        ),
        (imports_point_down, "journal.projections.locks", "from journal import state"),
        (imports_point_down, "journal.events", "def f():\n    import journal.observations"),
        (imports_point_down, "station.ocpp.messages.enums", "import station.core.decide"),
        (imports_point_down, "station.core.context", "from station.core.blocks import live"),
        (imports_point_down, "journal.format.wal", "from journal.storage.reader import Reader"),
        (imports_point_down, "journal.storage.store", "import journal.maintenance.verify"),
        (imports_point_down, "station.runtime.jobs.logs", "import station.runtime.csms.tls"),
        (imports_point_down, "station.runtime.timer", "import station.runtime.app"),
        (imports_point_down, "drivers.meters.x", "import drivers.secc.advantics"),
        (journal_imports_no_station, "journal.codec", "from station.ocpp.messages import encode"),
        (journal_imports_no_station, "journal.observations", "import drivers.ports"),
        (drivers_import_nothing_of_ours, "drivers.ports", "import journal.events"),
        (installer_stands_alone, "station.firmware.swap", "import journal.storage.atomic_file"),
        (
            product_imports_no_tests,
            "station.commands.demo.session",
            "from tests.support.csms import Csms",
        ),
        (no_import_holds_the_loop, "station.core.x", "def f():\n    from html import unescape"),
        (
            no_import_holds_the_loop,
            "station.core.x509",
            "def f():\n    from station.core.certificates import parser",
        ),
        (
            no_cryptography_in_the_station,
            "station.runtime.secrets.key_pairs",
            "import cryptography",
        ),
        (
            no_cryptography_in_the_station,
            "station.runtime.jobs.firmware",
            "def f():\n    from station.firmware.signature import check_signature",
        ),
        (
            no_cryptography_in_the_station,
            "station.core.x509",
            "from station.core.certificates.parser import parse_block",
        ),
        (pure_packages_stay_pure, "station.core.decide", "from time import monotonic"),
        (pure_packages_stay_pure, "station.core.desired", "from drivers import ports"),
        (pure_packages_stay_pure, "station.transcript.lines", "import journal.storage.reader"),
        (pure_packages_stay_pure, "station.core.new", "text = open('/etc/hostname')"),
        (pure_packages_stay_pure, "journal.state", "at = datetime.now(UTC)"),
        (pure_packages_stay_pure, "station.core.blocks.a", "from uuid import uuid4\nuuid4()"),
        (only_the_loop_awaits, "journal.storage.store", "async def save(): ..."),
        (only_the_store_writes_sql, "station.commands.archive", "q = ' delete from entry'"),
        (
            only_the_store_writes_sql,
            "journal.maintenance.verify",
            "q = f'UPDATE entry SET seq = {n}'",
        ),
        (no_file_is_named_as_a_test, "station.history.regression.to_test", ""),
        (no_file_is_named_as_a_test, "journal.test_format", ""),
    ],
)
def test_a_breach_is_noticed(rule: Rule, module: str, source: str) -> None:
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
        (imports_point_down, "station.core.blocks.a", "from station.core.blocks import b"),
        (imports_point_down, "station.runtime.jobs.logs", "from station.runtime import reconcile"),
        (installer_stands_alone, "station.firmware.swap", "from station.firmware import EXIT_OK"),
        (
            no_cryptography_in_the_station,
            "station.runtime.secrets.key_pairs",
            "def f():\n    from cryptography import x509",
        ),
        (no_cryptography_in_the_station, "station.history.export.manifest", "import cryptography"),
        (pure_packages_stay_pure, "station.runtime.timer", "import trio"),
        (pure_packages_stay_pure, "station.core.decide", "from datetime import datetime"),
        (pure_packages_stay_pure, "station.core.blocks.a", "from journal.projections import link"),
        (only_the_loop_awaits, "drivers.ports", "async def run(): ..."),
        (only_the_store_writes_sql, "journal.storage.store", "q = 'DELETE FROM id_token'"),
        (only_the_store_writes_sql, "station.page", "text = 'Update the entry'"),
        (no_file_is_named_as_a_test, "station.history.regression.case_writer", ""),
    ],
)
def test_what_is_allowed_passes(rule: Rule, module: str, source: str) -> None:
    assert list(rule(module, ast.parse(source))) == []


@pytest.mark.parametrize(
    "module",
    ["station.new", "station.core.new", "station.runtime.new.part", "journal.new", "drivers.new.x"],
)
def test_a_new_package_or_loose_module_has_no_floor(module: str) -> None:
    assert modules_without_a_floor(iter([module])) == [module]


def test_a_circle_is_noticed() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": set()})
