"""Brings the jars that a pom needs: `jars_child.py JGO_LIBRARY POM REPOSITORY [MIRROR]`.

A process of its own, as jgo comes with its own releases of what the virtual environment has too.
They land under REPOSITORY, laid out as Maven does; no MIRROR means Maven Central.
"""

import os
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

_AT_ONCE: Final = 8
_TRIES: Final = 3
_TIMEOUT_S: Final = 60


def main(library: str, pom: str, repository: str, mirror: str) -> str:
    """Fetch all; return what went wrong, if anything did."""
    # What OpenSSL is told by the environment counts for jgo too, which asks another variable.
    if (trusted := ssl.get_default_verify_paths().cafile) is not None:
        os.environ.setdefault("REQUESTS_CA_BUNDLE", trusted)
    sys.path.insert(0, library)
    from jgo.maven import POM, MavenContext

    remotes = {"central": mirror} if mirror else None
    context = MavenContext(
        repo_cache=Path(repository), remote_repos=remotes, local_repos=[], timeout=_TIMEOUT_S
    )
    try:
        _, needed = context.pom_dependency_list(POM(Path(pom)))
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(lambda node: bring(node.dep.artifact), needed))
    except (OSError, RuntimeError) as error:
        return str(error)
    return ""


def bring(artifact: Any) -> None:  # noqa: ANN401 - jgo's Artifact, which ships no types
    """Fetch one jar; raise what the last try did."""
    for left in reversed(range(_TRIES)):
        try:
            artifact.resolve()
        except (OSError, RuntimeError):
            # What there is of it would count as whole from now on.
            artifact.cached_path.unlink(missing_ok=True)
            if not left:
                raise
        else:
            return


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]) or 0)
