"""The core as machine code, where it is there: built by deploy/compile.py of these very sources.

Without it, or after a source has changed, the core runs as Python: the same effects, about
half as fast (docs/decisions/compiled-core.md). ``SIYU_COMPILED=0`` asks for that.
"""

import hashlib
import os
import sys
import sysconfig
from pathlib import Path
from typing import Final

_ROOT: Final = Path(__file__).resolve().parent.parent
# What the code was compiled against: types of the contracts are checked where they come in.
_SOURCES: Final = ("streams/core", "schemas")


def folder() -> Path:
    """Return where the compiled modules of these sources, for this Python, are or would be."""
    digest = hashlib.blake2b(str(sysconfig.get_config_var("EXT_SUFFIX")).encode(), digest_size=8)
    for source in _SOURCES:
        for path in sorted((_ROOT / source).glob("*.py")):
            if path.name == "settings.py":
                continue  # the core has none
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return Path(sys.prefix) / "siyu-core" / digest.hexdigest()


def use(path: list[str]) -> bool:
    """Let a package's compiled modules stand before its Python ones; say whether there are any."""
    # Not in the settings: this is read when the first module of the core is.
    if os.environ.get("SIYU_COMPILED") == "0" or not (built := folder()).is_dir():
        return False
    # The modules are shims of one library, which they import by its name.
    sys.path.append(str(built))
    path.insert(0, str(built / "streams/core"))
    return True
