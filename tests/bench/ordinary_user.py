"""A command as a user without rights, for tests that run as root; with the Python of these tests, wherever that is."""

import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.containment.namespaces import find_bubblewrap

ROOT = Path(__file__).parents[2]
NOBODY = "65534"


def as_ordinary_user(command: Sequence[str]) -> list[str]:
    """``command`` as the user nobody. Directories of root's that Python lies in are shown to it, but for their rest."""
    needed = [ROOT, Path(sys.prefix), Path(sys.base_prefix), *(Path(place) for place in sys.path if place)]
    places = {place.resolve() for place in needed if place.is_dir()}
    shut = {place: closed for place in sorted(places) if (closed := _closed(place)) is not None}
    between = {way for place, closed in shut.items() for way in place.parents if way.is_relative_to(closed)}
    return [
        str(find_bubblewrap()),
        *("--dev-bind", "/", "/"),
        *(word for closed in sorted(set(shut.values())) for word in ("--tmpfs", str(closed))),
        *(word for place in sorted(between) for word in ("--perms", "0755", "--dir", str(place))),
        *(word for place in shut for word in ("--ro-bind", str(place), str(place))),
        *("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"),
        "--",
        *("setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"),
        *command,
    ]


def _closed(place: Path) -> Path | None:
    """The topmost directory on the way to a place that others may not enter."""
    way = reversed((place, *place.parents))
    return next((directory for directory in way if not directory.stat().st_mode & stat.S_IXOTH), None)


def is_root() -> bool:
    """Whether this process may become another user."""
    return os.getuid() == 0
