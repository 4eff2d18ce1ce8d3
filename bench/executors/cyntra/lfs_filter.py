"""Git's filter for LFS files in a clone where git-lfs is not installed: contents come from the user's own LFS store.

Run by git as a long-running process (gitattributes(5)); standard library alone, for it starts often.
"""

import hashlib
import re
import sys
from pathlib import Path

LONGEST_PACKET = 65_516
_VERSION = b"version https://git-lfs.github.com/spec/v1\n"
_POINTER = re.compile(re.escape(_VERSION) + rb"(?:.*\n)*?oid sha256:([0-9a-f]{64})\nsize \d+\n")


def main(store: Path) -> None:
    """Serve git until it hangs up: pointers become contents of the store, and these become pointers again."""
    _read_list()
    _write_list(b"git-filter-server", b"version=2")
    _read_list()
    _write_list(b"capability=clean", b"capability=smudge")
    while request := _read_list():
        data = b"".join(_packets())
        answer = _content(data, store) if b"command=smudge" in request else _pointer(data, store)
        if answer is None:
            _write_list(b"status=error")
            continue
        _write_list(b"status=success")
        for at in range(0, len(answer), LONGEST_PACKET):
            _write(answer[at : at + LONGEST_PACKET])
        _write_list()
        _write_list()


def _content(data: bytes, store: Path) -> bytes | None:
    """What a pointer stands for, None when the store lacks it; what is no pointer stays."""
    found = _POINTER.match(data)
    if found is None:
        return data
    path = _place(store, found[1].decode())
    if path.is_file():
        return path.read_bytes()
    print(f"{path}: not in the repo's own LFS store: get it with `git lfs pull`, then bench again", file=sys.stderr)
    return None


def _pointer(data: bytes, store: Path) -> bytes:
    """The pointer of a content that is in the store; any other content stays, for nothing is written there."""
    oid = hashlib.sha256(data).hexdigest()
    if not _place(store, oid).is_file():
        return data
    return _VERSION + f"oid sha256:{oid}\nsize {len(data)}\n".encode()


def _place(store: Path, oid: str) -> Path:
    return store / "objects" / oid[:2] / oid[2:4] / oid


def _packets() -> list[bytes]:
    """Git's packets up to a flush packet, or to the end."""
    packets = []
    while (length := int(sys.stdin.buffer.read(4) or b"0", 16)) > 0:
        packets.append(sys.stdin.buffer.read(length - 4))
    return packets


def _read_list() -> list[bytes]:
    return [packet.rstrip(b"\n") for packet in _packets()]


def _write(packet: bytes) -> None:
    sys.stdout.buffer.write(b"%04x" % (len(packet) + 4) + packet)


def _write_list(*lines: bytes) -> None:
    for line in lines:
        _write(line + b"\n")
    sys.stdout.buffer.write(b"0000")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
