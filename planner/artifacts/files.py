"""Opening files that may be anything: a pipe, a device, a link out of the repo, or larger than memory."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from planner.errors import ContractError

MAX_LOG_BYTES = 2**30
MAX_LINE_BYTES = 4 * 2**20
"""An issue or event is a thousandth of this."""


def open_regular(path: Path, max_bytes: int, inside: Path | None = None) -> BinaryIO:
    """Open a regular file of at most ``max_bytes``; ContractError with the reason when that cannot be.

    A file that does not exist is a FileNotFoundError.

    With ``inside``, links are followed as long as they stay in that directory; without, wherever they lead.
    """
    if inside is not None and not _is_inside(path, inside):
        raise ContractError(str(path), "$", f"a link that leads out of {inside}, or in circles")
    # A pipe or device in a file's place must not block the reader.
    try:
        file = os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb")
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ContractError(str(path), "$", f"cannot be read: {error.strerror}") from None
    found = os.fstat(file.fileno())
    if stat.S_ISREG(found.st_mode) and found.st_size <= max_bytes:
        return file
    file.close()
    is_large = stat.S_ISREG(found.st_mode)
    raise ContractError(str(path), "$", f"larger than {max_bytes // 2**20} MiB" if is_large else "not a regular file")


def read_lines(file: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Line number from 1 and line, without its end; None instead of a line longer than MAX_LINE_BYTES."""
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) <= MAX_LINE_BYTES or line.endswith(b"\n"):
            yield number, line.rstrip(b"\n")
            continue
        while rest := file.readline(MAX_LINE_BYTES):
            if rest.endswith(b"\n"):
                break
        yield number, None


def _is_inside(path: Path, directory: Path) -> bool:
    try:
        return path.resolve().is_relative_to(directory.resolve())
    except (OSError, RuntimeError):
        return False
