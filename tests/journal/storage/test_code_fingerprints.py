"""Fingerprints of code: nothing that a definition uses is left out."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pkgutil import iter_modules
from types import FrameType

import pytest

from journal import projections
from journal.state import PROJECTIONS, State, apply_entries
from journal.storage.code_fingerprints import (
    Definition,
    Definitions,
    defined_name,
    iter_statements,
    parse_import,
    read_source,
)
from journal.storage.reader import Reader
from journal.upcasters import STEPS
from station.runtime.loop.projection_code import LISTS, REPLAY_CODE, projection_roots
from station.runtime.loop.startup import event_registry
from station.runtime.loop.state_snapshot import STATE_MODULES
from tests.durability.golden.journals import journal_names, unpack_journal

STATE_CODE = sorted(
    {
        *(name for name in STATE_MODULES if name != "journal.projections"),
        *(each.name for each in iter_modules(projections.__path__, "journal.projections.")),
    }
)


def sources(**modules: str) -> Definitions:
    """Definitions of a package `p` with these modules; `p` itself is `p.__init__`."""
    texts = {f"p.{name}".removesuffix(".__init__"): text for name, text in modules.items()}
    return Definitions("p", {"p": "", **texts}.get)


def used(definitions: Definitions, name: str) -> set[str]:
    """What `name` of the module `p.a` uses, as `module.name`."""
    return {
        f"{module.removeprefix('p.')}.{name}"
        for module, name in definitions.find_used([Definition("p.a", name)])
        if name not in ("", "*")
    }


# --- What is followed ----------------------------------------------------------------------------


def test_names_are_followed_through_definitions_and_imports() -> None:
    definitions = sources(
        a="from p.b import one as two, three\n\nclass A:\n    x = two\n\n\nB = three\nC = 1\n",
        b="import m\n\n\ndef one():\n    return m.f(four)\n\n\nfour: int = 4\nthree = 3\n",
    )
    assert used(definitions, "A") == {"a.A", "a.two", "b.one", "b.m", "m.*", "b.four"} - {"m.*"}
    assert used(definitions, "B") == {"a.B", "a.three", "b.three"}
    assert used(definitions, "C") == {"a.C"}


@pytest.mark.parametrize(
    "imports",
    [
        "from p import b",
        "import p.b",
        "import p.b as b",
        "from p.b import *",
        "from p import b as p",
    ],
)
def test_an_imported_module_is_used_whole(imports: str) -> None:
    definitions = sources(
        a=f"{imports}\n\n\ndef f():\n    p.b.one\n    b.one\n", b="one = 1\ntwo = 2\n"
    )
    assert used(definitions, "f") >= {"b.one", "b.two"}


@pytest.mark.parametrize(
    "statement",
    [
        "one()",
        "x.y = one",
        "x[1] = one",
        "x += one",
        "x, y = one",
        "if True:\n    x = one",
        "try:\n    x = 1\nexcept Exception:\n    x = one",
        "try:\n    x = 1\nfinally:\n    one()",
        "if True: x = 1\nelse: x = one",
        "try: x = 1\nfinally: x = one",
        "@one\ndef g(): ...",
        "from p.b import *",
    ],
)
def test_what_a_module_does_besides_defining_names_is_used_by_all_of_it(statement: str) -> None:
    definitions = sources(a=f"A = 1\n\n{statement}\n\none = 1\n", b="one = 1\n")
    assert any(name.endswith(".one") for name in used(definitions, "A"))


@pytest.mark.parametrize(
    "statement",
    [
        "x, y = one",
        "y = x = one",
        "y = (x := one)",
        "if True:\n    x = one",
        "for x in one: ...",
        "from p.c import *",
    ],
)
def test_names_that_other_statements_bind_are_found_by_other_modules(statement: str) -> None:
    definitions = sources(
        a="from p.b import x\n\nA = x\n", b=f"{statement}\n\none = 1\n", c="one = 1\nx = one\n"
    )
    assert used(definitions, "A") & {"b.one", "c.one"}


def test_the_packages_of_a_module_are_used_by_all_of_it() -> None:
    definitions = Definitions(
        "p",
        {"p": "top = 1\n", "p.q": "from p.r import x\n", "p.r": "x = 1\n", "p.q.a": "A = 1\n"}.get,
    )
    found = definitions.find_used([Definition("p.q.a", "A")])
    assert {Definition("p", "top"), Definition("p.q", "x"), Definition("p.r", "x")} <= found


def test_definitions_that_are_left_out_are_not_followed() -> None:
    definitions = sources(a="one = 1\n\n\nclass A:\n    x = one\n\n\nB = A\n")
    root, without = Definition("p.a", "B"), Definition("p.a", "A")
    assert definitions.find_used([root], frozenset({without})) >= {root}
    assert without not in definitions.find_used([root], frozenset({without}))
    assert Definition("p.a", "one") not in definitions.find_used([root], frozenset({without}))


def test_a_fingerprint_changes_with_what_is_used_and_with_nothing_else() -> None:
    texts = {
        "p": "",
        "p.a": "from q import z\nfrom p.b import one\n\n\nclass A:\n    x = one, z\n\n\nB = 2\n",
        "p.b": '"""Text."""\n\none = 1\ntwo = 2\n',
    }

    def fingerprint(*extra: str, **changes: tuple[str, str]) -> bytes:
        changed = dict(texts)
        for module, (before, after) in changes.items():
            assert before in texts[f"p.{module}"]
            changed[f"p.{module}"] = texts[f"p.{module}"].replace(before, after)
        return Definitions("p", changed.get).fingerprint([Definition("p.a", "A")], *extra)

    assert fingerprint() == fingerprint(b=("two = 2", "two = 3"))
    assert fingerprint() == fingerprint(a=("B = 2", "B = 3"))
    assert fingerprint() == fingerprint(b=("Text.", "Another text."))
    others = [
        fingerprint("extra"),
        fingerprint(b=("one = 1", "one = 3")),
        fingerprint(b=("one = 1", "one = 1\none = 3")),
        fingerprint(a=("x = one", "y = one")),
        fingerprint(a=("from q import z", "from q import y as z")),
        fingerprint(a=("from p.b import one", "from p.b import two as one")),
        fingerprint(a=("B = 2", "B.x = 2")),
    ]
    assert len({fingerprint(), *others}) == 1 + len(others)


def test_fingerprints_of_definitions_that_use_each_other_differ() -> None:
    definitions = sources(a="def one():\n    two()\n\n\ndef two():\n    one()\n")
    one, two = Definition("p.a", "one"), Definition("p.a", "two")
    assert definitions.find_used([one]) == definitions.find_used([two])
    roots = [(one,), (two,), (one, two), (two, one)]
    assert len({definitions.fingerprint(each) for each in roots}) == len(roots)


# --- The sources of this release -----------------------------------------------------------------


def text_of(module: str) -> str:
    text = read_source(module)
    assert text is not None
    return text


def top_of(tree: ast.Module) -> list[ast.stmt]:
    """The statements of a module, without its docstring."""
    return tree.body[1:] if ast.get_docstring(tree) is not None else tree.body


def expected_name(statement: ast.stmt) -> str:
    match statement:
        case ast.ClassDef(name=name) | ast.FunctionDef(name=name):
            return name
        case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return ""


def expected_imports(statement: ast.stmt) -> dict[str, Definition]:
    match statement:
        case ast.ImportFrom(module=str(module), names=names) if module != "__future__":
            return {each.asname or each.name: Definition(module, each.name) for each in names}
        case ast.Import(names=names):
            return {each.asname or each.name: Definition(each.name, "*") for each in names}
    return {}


@pytest.mark.parametrize("module", STATE_CODE)
def test_sources_are_divided_as_by_the_parser_of_python(module: str) -> None:
    text = text_of(module)
    expected = top_of(ast.parse(text))
    statements = list(iter_statements(text))
    for statement, node in zip(statements, expected, strict=True):
        assert statement.startswith(ast.get_source_segment(text, node) or "?")
        assert parse_import(statement) == expected_imports(node)
        if not isinstance(node, ast.Import | ast.ImportFrom):
            assert defined_name(statement) == expected_name(node)


DYNAMIC = (
    "__import__",
    "exec",
    "eval",
    "globals",
    "locals",
    "vars",
    "setattr",
    "delattr",
    "importlib",
)
HOOKS = ("__init_subclass__", "__set_name__", "__getattr__")


def find_hidden_uses(tree: ast.Module) -> Iterator[str]:
    """Ways of using code that the sources do not show by name."""
    for node in ast.walk(tree):
        match node:
            case ast.Import() | ast.ImportFrom() if node not in tree.body:
                yield "an import that is not at the top"
            case ast.ImportFrom(level=level) if level:
                yield "a relative import"
            case ast.Name(id=name) if name in DYNAMIC:
                yield name
            case ast.FunctionDef(name=name) if name in HOOKS:
                yield name
            case ast.Global():
                yield "a definition that a function changes"
    for node in top_of(tree):
        match node:
            case ast.Assign(value=value) | ast.AnnAssign(value=ast.expr() as value) if any(
                isinstance(each, ast.NamedExpr) for each in ast.walk(value)
            ):
                yield "two names in one definition"
            case (
                ast.Import()
                | ast.ImportFrom()
                | ast.ClassDef(decorator_list=[], keywords=[])
                | ast.FunctionDef(decorator_list=[])
                | ast.Assign(targets=[ast.Name()])
                | ast.AnnAssign(target=ast.Name())
            ):
                pass
            case ast.ClassDef() | ast.FunctionDef() if node.decorator_list:
                yield f"a decorator of {node.name}"
            case ast.ClassDef(keywords=keywords):
                if "metaclass" in {each.arg for each in keywords}:
                    yield f"a metaclass of {node.name}"
            case _:
                yield "a statement that defines nothing, or may change another module"


@pytest.mark.parametrize("module", STATE_CODE)
def test_the_code_of_the_state_uses_nothing_that_its_sources_do_not_name(module: str) -> None:
    assert list(find_hidden_uses(ast.parse(text_of(module)))) == []


@pytest.mark.parametrize(
    "source",
    [
        "def f():\n    import journal.events",
        "from .events import Entry",
        "x = globals()",
        "class A:\n    def __init_subclass__(cls): ...",
        "@register\nclass A: ...",
        "class A(metaclass=M): ...",
        "def f():\n    global x\n    x = 1",
        "x = 1 + (y := 1)",
        "x = y = 1",
        "x, y = 1, 2",
        "other.x = 1",
        "other.TABLE['x'] = 1",
        "other.register(x)",
        "if x:\n    y = 1",
    ],
)
def test_hidden_uses_are_noticed(source: str) -> None:
    assert list(find_hidden_uses(ast.parse(source)))


def test_every_step_of_an_upcaster_is_a_definition_of_its_own() -> None:
    names = {defined_name(each) for each in iter_statements(text_of("journal.upcasters"))}
    assert {step.__name__ for step in STEPS.values()} <= names
    assert all(step.__module__ == "journal.upcasters" for step in STEPS.values())


@contextmanager
def recorded_definitions() -> Iterator[set[Definition]]:
    """The definitions of the journal whose code runs meanwhile."""
    found = set[Definition]()

    def record(frame: FrameType, event: str, _: object) -> None:
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith("journal."):
            found.add(Definition(module, frame.f_code.co_qualname.split(".", 1)[0]))

    before = sys.getprofile()
    sys.setprofile(record)
    try:
        yield found
    finally:
        sys.setprofile(before)


def test_all_code_that_runs_in_a_replay_is_in_the_fingerprint_of_its_projection(
    tmp_path: Path,
) -> None:
    """Each projection is replayed alone over journals that contain every kind of event."""
    executed = {name: set[Definition]() for name in PROJECTIONS}
    for journal in journal_names():
        with Reader.open(unpack_journal(journal, tmp_path), event_registry()) as reader:
            entries, empty = list(reader.iter_entries()), State(reader.journal_id)
            for name in PROJECTIONS:
                with recorded_definitions() as found:
                    apply_entries(empty, entries, names=[name])
                executed[name] |= found
    definitions = Definitions("journal")
    failed = {Definition("journal.projections.station_health", "StationHealth")}  # records it
    replay_code = definitions.find_used(REPLAY_CODE, LISTS)
    for name, projection in PROJECTIONS.items():
        assert Definition(projection.__module__, projection.__name__) in executed[name]
        covered = failed | replay_code | definitions.find_used(projection_roots(projection))
        assert executed[name] - covered == set(), name
