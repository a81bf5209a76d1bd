"""ARCHITECTURE.md is a short map, and the names in it and in docs/design exist."""

import re

import pytest

from tests.helpers import ROOT

MAP = ROOT / "ARCHITECTURE.md"
MAPS = sorted((ROOT / "integrations").glob("*/ARCHITECTURE.md"))  # of packages around the core
PAGES = [MAP, *sorted((ROOT / "docs" / "design").glob("*.md"))]
AROUND = [project.parent for project in (ROOT / "integrations").glob("*/pyproject.toml")]
MOST_WORDS = 3_500
PACKAGE = ROOT / "retrieval_store"
# Those of Chroma's module paths, and one for each of Chroma's functions, are what these rooms are.
OF_CHROMA = ("chromadb/", "utils/")
KINDS = ("c", "h", "json", "md", "py", "svg", "toml", "yml")
PATH = re.compile(
    rf"[\w.-]+(?:/[\w.-]+)*/|(?:[\w.-]+/)*[\w-]+\.(?:{'|'.join(KINDS)})|[\w.-]+/[\w./-]+"
)
NAME = re.compile(r"@?[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*")


def quoted(page):
    """The texts in backticks, outside of code blocks."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    return set(re.findall(r"`([^`\n]+)`", text))


def paths_on(page):
    return {one for one in quoted(page) if PATH.fullmatch(one)}


def exists(path, package=PACKAGE):
    found = [home / path for home in (package, PACKAGE, *AROUND, ROOT)]
    return any(one.is_dir() if path.endswith("/") else one.is_file() for one in found)


@pytest.fixture(scope="module")
def words_of_the_code():
    folders = ("retrieval_store", "integrations", "scripts", "tests", "benchmarks")
    files = [one for name in folders for one in (ROOT / name).rglob("*.py")]
    files += [*PACKAGE.rglob("*.[ch]"), ROOT / "pyproject.toml", *(ROOT / "scripts").glob("*")]
    text = "\n".join(one.read_text() for one in files if one.is_file())
    return set(re.findall(r"[A-Za-z_]\w*", text))


def test_the_map_is_short():
    assert len(MAP.read_text().split()) <= MOST_WORDS


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_that_a_page_names_exists(page):
    assert {path for path in paths_on(page) if not exists(path)} == set()


@pytest.mark.parametrize("page", MAPS, ids=lambda page: page.parent.name)
def test_a_package_has_a_map_of_all_its_rooms(page):
    package = page.parent / f"retrieval_store_{page.parent.name}"
    named = paths_on(page)
    assert {path for path in named if not exists(path, package)} == set()
    rooms = {f"{one.name}/" for one in package.iterdir() if (one / "__init__.py").exists()}
    assert rooms - named == set()


@pytest.mark.parametrize("page", [*PAGES, *MAPS], ids=lambda page: "-".join(page.parts[-2:]))
def test_every_name_that_a_page_quotes_is_in_the_code(page, words_of_the_code):
    names = {one for one in quoted(page) - paths_on(page) if NAME.fullmatch(one)}
    parts = {part for name in names for part in re.findall(r"\w+", name)}
    assert parts - words_of_the_code == set()


def test_the_map_names_every_room_and_every_module_at_the_top():
    named = paths_on(MAP)
    rooms = [path.parent.relative_to(PACKAGE).as_posix() for path in PACKAGE.rglob("__init__.py")]
    rooms = [f"{room}/" for room in rooms if room != "."]
    wanted = {room for room in rooms if room in OF_CHROMA or not room.startswith(OF_CHROMA)}
    modules = {path.name for path in PACKAGE.glob("[!_]*.py")}
    assert (wanted | modules) - named == set()


def test_the_map_links_to_every_page_of_the_design():
    links = set(re.findall(r"\]\(docs/design/([\w-]+\.md)", MAP.read_text()))
    assert {page.name for page in PAGES[1:]} <= links
    maps = re.findall(r"\]\((integrations/[\w-]+/ARCHITECTURE.md)", MAP.read_text())
    assert {ROOT / one for one in maps} == {*MAPS}


def test_missing_names_would_be_detected():
    assert PATH.fullmatch("engine/gone.py")
    assert PATH.fullmatch("gone.py")
    assert PATH.fullmatch("engine/gone/")
    assert not exists("engine/gone.py")
    assert not exists("engine/gone/")
    assert not PATH.fullmatch("points.sqlite")
    assert NAME.fullmatch("Access.read")
