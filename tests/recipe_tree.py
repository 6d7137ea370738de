"""A copy of the product in which a recipe of CONTRIBUTING is followed, and commands are run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
_PRODUCT: Final = ("schemas", "streams", "sinks", "deploy")
_PATIENCE_S: Final = 120.0


class Tree:
    """The copied product; ``touched`` are the files that a recipe changed or added."""

    def __init__(self, root: Path) -> None:
        self.root, self.touched = root, set[str]()
        for package in _PRODUCT:
            unwanted = shutil.ignore_patterns("__pycache__", "node_modules")
            shutil.copytree(ROOT / package, root / package, ignore=unwanted)

    def add(self, name: str, text: str) -> None:
        path = self.root / name
        assert not path.exists(), f"{name} is there already"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
        self.touched.add(name)

    def insert(self, name: str, after: str, text: str) -> None:
        """Put text behind the one place of a file that reads ``after``."""
        path = self.root / name
        before = path.read_text("utf-8")
        assert before.count(after) == 1, f"{name} has not one {after!r}: mend the recipe"
        path.write_text(before.replace(after, after + text), "utf-8")
        self.touched.add(name)

    def take(self, name: str) -> None:
        """Copy a test, so that it runs on this tree."""
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, self.root / name)

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the tree to its end: its modules are this tree's."""
        set_outside = {name: text for name, text in os.environ.items() if name[:5] != "SIYU_"}
        env = {
            **set_outside,
            "PYTHONPATH": str(self.root),
            "SIYU_HOME": str(self.root / "home"),
            "SIYU_COMPILED": "0",
        }
        return subprocess.run(
            [sys.executable, *words],
            cwd=self.root,
            env=env,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_S,
            check=False,
        )
