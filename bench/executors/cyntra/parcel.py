"""The repo for a node that does not see it: the commits that a bench starts from, and all else that a clone takes over.

A pack of git's and not a bundle: a bundle knows neither shallow histories nor commits without a name.
"""

import hashlib
import io
import subprocess
import tarfile
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bench.executors.cyntra.clone import EXCLUDES, init_options, quoted, require_files, setting, source_of
from bench.planning.git import git, git_bytes
from planner.errors import BenchError
from planner.places import cache_directory, cached


@dataclass(frozen=True)
class RepoParcel:
    """What travels, see pack_repo."""

    commits: tuple[str, ...]
    pack: bytes
    """The commits with their whole history, as `git pack-objects` writes them."""
    init_options: tuple[str, ...]
    settings: str
    """Sections of the repo's config."""
    shallow: bytes | None
    excludes: bytes
    """The repo's own patterns of files that git is to overlook."""
    user_excludes: bytes | None
    """The user's own."""
    universes: bytes
    """The directory of that name as a tar archive, empty where there is none."""

    @property
    def key(self) -> str:
        """By content; the commits say what is in the pack."""
        content = repr((self.commits, *(value for name, value in vars(self).items() if name != "pack")))
        return hashlib.sha256(content.encode()).hexdigest()[:32]


def pack_repo(repo: Path, commits: Collection[str]) -> RepoParcel:
    """What a node needs for executions that start from ``commits``; BenchError when git cannot give it."""
    source, excludes = source_of(repo), setting(repo, EXCLUDES)
    for commit in commits:
        require_files(repo, commit)
        _require_no_lfs(repo, commit)
    wanted = tuple(sorted(set(commits)))
    try:
        pack = git_bytes(
            repo,
            *("pack-objects", "--quiet", "--revs", "--stdout", "--delta-base-offset"),
            given="".join(f"{commit}\n" for commit in wanted).encode(),
        )
    except subprocess.CalledProcessError as error:
        raise BenchError(f"cannot pack {repo} at {', '.join(wanted)}: {error.stderr.strip()}") from None
    return RepoParcel(
        commits=wanted,
        pack=pack,
        init_options=tuple(init_options(source)),
        settings=source.settings,
        shallow=source.shallow,
        excludes=source.excludes,
        user_excludes=path.read_bytes() if excludes and (path := Path(excludes).expanduser()).is_file() else None,
        universes=_archive(repo / "universes"),
    )


def unpacked(parcel: RepoParcel) -> Path:
    """A repo made of the parcel in this node's cache, from which clones are made as from the user's."""
    name = f"repos/{parcel.key}/repo"
    user_excludes = Path(".git", "info", "user-exclude")

    def make(repo: Path) -> None:
        git(repo, "init", "--quiet", "--template=", "--initial-branch=main", *parcel.init_options)
        internals = repo / ".git"
        git_bytes(repo, "index-pack", "--stdin", given=parcel.pack)
        (internals / "info").mkdir(exist_ok=True)
        (internals / "info" / "exclude").write_bytes(parcel.excludes)
        if parcel.shallow is not None:
            (internals / "shallow").write_bytes(parcel.shallow)
        # No name leads to the commits: git would take them for waste.
        settings = f"{parcel.settings}[gc]\n\tauto = 0\n"
        if parcel.user_excludes is not None:
            (repo / user_excludes).write_bytes(parcel.user_excludes)
            section, key = EXCLUDES.split(".")
            place = quoted(str(cache_directory().absolute() / name / user_excludes))
            settings += f"[{section}]\n\t{key} = {place}\n"
        with (internals / "config").open("a", encoding="utf-8") as config:
            config.write(settings)
        if parcel.universes:
            with tarfile.open(fileobj=io.BytesIO(parcel.universes)) as archive:
                archive.extractall(repo, filter="tar")

    try:
        return cached(name, make).absolute()
    except (subprocess.CalledProcessError, OSError) as error:
        said = getattr(error, "stderr", None) or error
        raise BenchError(f"the repo cannot be unpacked in {cache_directory()}: {str(said).strip()}") from None


def _require_no_lfs(repo: Path, commit: str) -> None:
    """BenchError when files of the commit are kept by git-lfs, whose store stays where it is."""
    try:
        git(repo, "grep", "--quiet", "filter=lfs", commit, "--", ":(glob)**/.gitattributes")
    except subprocess.CalledProcessError:
        return
    raise BenchError(f"{repo}: its files in git-lfs do not travel: mount the repo on every node")


def _archive(directory: Path) -> bytes:
    """A directory as a tar archive, the same for the same content."""
    if not directory.is_dir():
        return b""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        archive.add(directory, directory.name, filter=_without_times)
    return target.getvalue()


def _without_times(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname = 0, 0, 0, "", ""
    return entry
