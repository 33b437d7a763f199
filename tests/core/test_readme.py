"""station/core/README.md and station/profiles/README.md show code, files and tables as they are."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from station import core
from station.core.blocks.c_authorization_cache import clear_cache
from station.core.decide import RULE_SECTIONS
from station.profiles import load_profile

STATION = Path(core.__path__[0]).parent
CORE_README = (STATION / "core" / "README.md").read_text("utf-8")
PROFILES_README = (STATION / "profiles" / "README.md").read_text("utf-8")


def test_the_handler_shown_is_the_one_of_the_program() -> None:
    [shown] = re.findall(r"^( *)```python\n(.*?)^ *```", CORE_README, re.MULTILINE | re.DOTALL)
    indent, code = shown
    text = "".join(line.removeprefix(indent) for line in code.splitlines(keepends=True))
    assert text.startswith(inspect.getsource(clear_cache))


def test_every_module_of_the_core_is_in_the_table() -> None:
    for path in sorted((STATION / "core").iterdir()):
        name = f"{path.name}/" if path.is_dir() else path.name
        if path.suffix == ".py" or (path / "__init__.py").exists():
            assert name == "__init__.py" or f"`{name}`" in CORE_README, name


def test_the_sections_of_the_rules_are_in_the_table_in_order() -> None:
    titles = [section.title for section in RULE_SECTIONS]
    table = CORE_README[CORE_README.index("| section | why here |") :]
    assert re.findall(r"^\| ([^|-]+?) \|", table, re.MULTILINE)[1:] == titles


def test_the_profile_shown_can_be_loaded(tmp_path: Path) -> None:
    example = re.findall(r"```toml\n(.*?)```", PROFILES_README, re.DOTALL)[0]
    path = tmp_path / "kerbside.toml"
    path.write_text(example, "utf-8")
    assert load_profile(path).evse_ids == (1,)


def test_links_between_pages_resolve() -> None:
    for page, text in ((STATION / "core", CORE_README), (STATION / "profiles", PROFILES_README)):
        for target, anchor in re.findall(r"\]\(([^)#]+\.md)(?:#([^)]*))?\)", text):
            linked = (page / target).read_text("utf-8")
            anchors = {
                re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")
                for heading in re.findall(r"^#+ (.*)$", linked, re.MULTILINE)
            }
            assert not anchor or anchor in anchors, f"{target}#{anchor}"
