"""Files for people: whatever they point at is there, and what they list is what there is."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas import topics
from sinks.clickhouse import tables

ROOT = Path(__file__).parents[2]
INDEX = ROOT / "docs/README.md"
PAGES = sorted((ROOT / "docs").rglob("*.md"))
DECISIONS = sorted((ROOT / "docs/decisions").glob("*.md"))
OTHERS = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
READ = [*OTHERS, *PAGES, ROOT / "benchmarks/README.md"]
PACKAGES = ("schemas", "streams", "sinks", "deploy")
LINK = re.compile(r"\]\(([^()\s]+)\)")
FENCED = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
# A whole path of the repository, as `sinks/clickhouse/land.py`; without a folder it is an example.
PATH = re.compile(r"`((?:schemas|streams|sinks|deploy|tests|benchmarks|docs|\.ci)/[\w./-]+)`")
STATUS = re.compile(r"proposed|accepted|superseded by \[.+\]\(.+\.md\)")
PICTURE_WIDTH = 100


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def text_of(page: Path) -> str:
    return page.read_text("utf-8")


def prose_of(page: Path) -> str:
    """Return a page without its blocks of code."""
    return FENCED.sub("", text_of(page))


def anchors_of(page: Path) -> set[str]:
    """Return the anchors of a page's headings, spelled as GitHub does."""
    headings = re.findall(r"^#+ (.+)$", prose_of(page), re.MULTILINE)
    plain = [re.sub(r"\[(.+?)\]\(.+?\)", r"\1", heading).lower() for heading in headings]
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


def blocks_of(page: Path) -> list[str]:
    return [block.partition("\n")[2] for block in FENCED.findall(text_of(page))]


def settings_of_tools() -> dict[str, Any]:
    tools: dict[str, Any] = tomllib.loads(text_of(ROOT / "pyproject.toml"))["tool"]
    return tools


@pytest.mark.parametrize("page", READ, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in LINK.findall(prose_of(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.parametrize("page", READ, ids=name_of)
def test_every_path_that_prose_names_is_there(page: Path) -> None:
    named = [path for path in PATH.findall(prose_of(page)) if "NAME" not in path]
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_the_index_links_every_page() -> None:
    linked = {
        (INDEX.parent / link.partition("#")[0]).resolve() for link in LINK.findall(text_of(INDEX))
    }
    assert [name_of(page) for page in PAGES if page not in {INDEX, *linked}] == []


@pytest.mark.parametrize("page", DECISIONS, ids=name_of)
def test_a_decision_begins_with_status_and_date_as_the_index_has_them(page: Path) -> None:
    title, blank, status, date, after, *_ = text_of(page).splitlines()
    assert title.startswith("# ")
    assert (blank, after) == ("", "")
    assert STATUS.fullmatch(status.removeprefix("Status: "))
    assert re.fullmatch(r"Date: \d{4}-\d{2}(-\d{2})?", date)
    row = f"| [{title[2:]}](decisions/{page.name}) | {status[8:]} | {date[6:]} |"
    assert row in text_of(INDEX).splitlines()


def test_the_map_of_rooms_lists_every_package() -> None:
    (rooms,) = (
        block for block in blocks_of(ROOT / "docs/architecture.md") if block.startswith("schemas/")
    )
    listed = [line.split()[0].rstrip("/") for line in rooms.splitlines() if line[:1] not in " `"]
    packages = [
        name_of(path.parent)
        for package in PACKAGES
        for path in (ROOT / package).rglob("__init__.py")
    ]
    assert sorted(listed) == sorted(packages)
    assert len(listed) == len(set(listed))


def test_the_direction_of_imports_is_the_one_that_is_enforced() -> None:
    (drawn,) = (
        block for block in blocks_of(ROOT / "docs/architecture.md") if block.startswith("between")
    )
    lines = [
        re.split(r"\s{3,}", line.strip()) for line in drawn.splitlines()[1:] if "`" not in line
    ]
    contracts = settings_of_tools()["importlinter"]["contracts"]
    layers = {
        tuple(contract.get("containers", ())): contract["layers"]
        for contract in contracts
        if contract["type"] == "layers"
    }
    between, inside = layers[()], layers["streams.core",]
    assert [line[0] for line in lines] == between
    assert [line[1] for line in lines if len(line) > 1] == inside


def test_the_picture_shows_every_topic_and_table_and_fits_a_terminal() -> None:
    picture = next(block for block in blocks_of(ROOT / "docs/architecture.md") if "┌" in block)
    words = set(re.findall(r"[\w.]+", picture))
    assert {topic.name for topic in topics.ALL} | {table.name for table in tables.ALL} <= words
    assert max(map(len, picture.splitlines())) <= PICTURE_WIDTH


def test_no_word_stands_twice_in_the_glossary() -> None:
    words = (
        text_of(ROOT / "docs/architecture.md")
        .partition("## Words")[2]
        .partition("### We do not say")[0]
    )
    rows = re.findall(r"^\| ([^|]+?) \|", words, re.MULTILINE)
    terms = [term for row in rows if row not in {"word", "---"} for term in row.split(", ")]
    assert len(terms) == len(set(terms))


def test_each_check_has_its_hook() -> None:
    (checks,) = re.findall(r"^checks=\((.+)\)$", text_of(ROOT / ".ci/run"), re.MULTILINE)
    config = yaml.safe_load(text_of(ROOT / ".pre-commit-config.yaml"))
    (local,) = config["repos"]
    assert local["repo"] == "local"
    assert [hook["entry"] for hook in local["hooks"]] == [
        f".ci/run {name}" for name in checks.split()
    ]
    assert all(f"| `{name}` |" in text_of(ROOT / "CONTRIBUTING.md") for name in checks.split())


def test_contributing_tells_of_every_folder_and_marker_of_tests() -> None:
    text = text_of(ROOT / "CONTRIBUTING.md")
    folders = {name_of(path) for path in (ROOT / "tests").iterdir() if list(path.glob("test_*.py"))}
    markers = [
        marker.partition(":")[0]
        for marker in settings_of_tools()["pytest"]["ini_options"]["markers"]
    ]
    assert [name for name in (*folders, *markers) if f"`{name}`" not in text] == []


def test_the_changelog_has_what_is_unreleased_and_this_version() -> None:
    headings = re.findall(
        r"^## \[(.+?)\](?: - (\S+))?$", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE
    )
    version = tomllib.loads(text_of(ROOT / "pyproject.toml"))["project"]["version"]
    assert headings[0] == ("Unreleased", "")
    assert version in {heading for heading, _ in headings}
    assert all(re.fullmatch(r"\d{4}-\d{2}-\d{2}", date) for _, date in headings[1:])
