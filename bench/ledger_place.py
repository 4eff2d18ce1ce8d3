"""Where a ledger may lie: on a disk of this machine. SQLite's locks and its write-ahead log need one."""

import os
import re
from pathlib import Path

from planner.errors import BenchError

MOUNTS = Path("/proc/self/mountinfo")
# fmt: off
NETWORK = {
    "9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "gcsfuse", "glusterfs", "goofys", "gpfs", "juicefs",
    "lustre", "mount-s3", "mountpoint-s3", "ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "panfs", "pvfs2",
    "rclone", "s3fs", "smb2", "smb3", "smbfs", "sshfs", "vboxsf", "vmhgfs-fuse", "wekafs",
}
# fmt: on
"""Types of file systems that several machines may write to, as the kernel names them, without their ``fuse.``."""
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+:", re.IGNORECASE)
_ESCAPED = re.compile(r"\\([0-7]{3})")
_CURE = "name a file on a disk of this machine with --ledger, and with --ledger-copy where copies of it shall go"


def require_own_disk(path: Path) -> None:
    """BenchError for a ledger on a network file system, or at a URI. Where mounts cannot be looked up, none is."""
    # A path that was a URI has lost one of its slashes.
    if _SCHEME.fullmatch(path.parts[0]) and not Path(path.parts[0]).exists():
        raise BenchError(f"{path}: a ledger cannot lie at a URI: {_CURE}")
    try:
        mounts = MOUNTS.read_text(errors="surrogateescape")
    except OSError:
        return
    kind, point = mount_of(Path(os.path.realpath(path)), mounts)
    # As the root it is that of a sandbox (gVisor), which is the only one to write to it.
    if kind.removeprefix("fuse.") in NETWORK and not (kind == "9p" and point == Path("/")):
        raise BenchError(f"{path}: a ledger cannot lie on a network file system ({kind} at {point}): {_CURE}")


def mount_of(path: Path, mounts: str) -> tuple[str, Path]:
    """Type and mount point of the file system that holds an absolute path, by the text of proc_pid_mountinfo(5)."""
    kind, point = "", Path("/")
    for line in mounts.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if not separator or len(fields) < 5:
            continue
        # Spaces, tabs, newlines and backslashes stand there in octal.
        at = Path(_ESCAPED.sub(lambda found: chr(int(found[1], 8)), fields[4]))
        # Of two at the same point the later one is on top.
        if path.is_relative_to(at) and len(at.parts) >= len(point.parts):
            kind, point = after.split(" ")[0], at
    return kind, point
