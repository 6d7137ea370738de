"""The core as machine code, where it is there: built by deploy/compile.py of these very sources.

Without it, or after a source has changed, the core runs as Python: the same effects, about
half as fast (docs/decisions/compiled-core.md). ``SIYU_COMPILED=0`` asks for that.
"""

import hashlib
import os
import sys
import sysconfig
from functools import lru_cache
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parent.parent
CORE: Final = "streams/core"
# What the code was compiled against: types of the contracts are checked where they come in.
_SOURCES: Final = (CORE, "schemas")
# All other modules of the core are compiled. These are patterns of paths in it.
INTERPRETED: Final = {
    "state/user.py": "msgspec makes its structs at run time",
    "tags/kind_spec.py": "is generic in models, and read once, when a rulebook is loaded",
    "tags/kinds/*_spec.py": "a class beside a pydantic model is what mypyc does not build",
}


def sources(root: Path = _ROOT) -> list[Path]:
    """Return the modules of the core that are meant to be compiled."""
    core = root / CORE
    return [
        path
        for path in sorted(core.rglob("*.py"))
        if path.name != "__init__.py" and not any(map(path.relative_to(core).match, INTERPRETED))
    ]


def folder(root: Path = _ROOT) -> Path:
    """Return where the compiled modules of these sources, for this Python, are or would be."""
    digest = hashlib.blake2b(str(sysconfig.get_config_var("EXT_SUFFIX")).encode(), digest_size=8)
    for source in _SOURCES:
        for path in sorted((root / source).rglob("*.py")):
            if path.name == "settings.py":
                continue  # the core has none
            name = path.relative_to(root).as_posix()
            digest.update(name.encode() + b"\0" + path.read_bytes() + b"\0")
    return Path(sys.prefix) / "siyu-core" / digest.hexdigest()


def use(path: list[str], package: str) -> bool:
    """Let a package's compiled modules stand before its Python ones; say whether there are any."""
    built = _built()
    if built is None:
        return False
    path.insert(0, str(built.joinpath(*package.split("."))))
    return True


@lru_cache(maxsize=1)
def _built() -> Path | None:
    # Not in the settings: this is read when the first module of the core is.
    if os.environ.get("SIYU_COMPILED") == "0" or not (built := folder()).is_dir():
        return None
    # The modules are shims of one library, which they import by its name.
    sys.path.append(str(built))
    return built
