"""The driver's disk, as workers reach it that do not see it: by way of an actor on the driver's node.

Apart from the courier, so that the actor's process need not import torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from planner.errors import PathError


def start_disk(ray: Any) -> Any:
    """The actor."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(num_cpus=0)(_Disk).options(scheduling_strategy=here).remote()


class _Disk:
    """The actor on the driver's node."""

    def files(self, run: Path) -> dict[str, tuple[int, int]]:
        """Name of every file of a run -> size and time of its last change (ns)."""
        paths = [path for path in run.rglob("*") if path.is_file()] if run.exists() else []
        return {path.relative_to(run).as_posix(): (path.stat().st_size, path.stat().st_mtime_ns) for path in paths}

    def read(self, path: Path) -> bytes:
        """What a file holds."""
        return path.read_bytes()

    def write(self, path: Path, data: bytes) -> None:
        """Write a file in one step."""
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}.part")
        part.write_bytes(data)
        part.replace(path)

    def remove(self, paths: Sequence[Path]) -> None:
        """Remove files, and the directories that they leave empty."""
        for path in paths:
            path.unlink(missing_ok=True)
            if not any(path.parent.iterdir()):
                path.parent.rmdir()


class DriversDisk:
    """A run's directory as a Remote, by way of the actor."""

    def __init__(self, disk: Any, run: Path) -> None:
        self._disk, self._run = disk, run
        self.name = run.name

    def files(self) -> Mapping[str, tuple[int, int]]:
        found: dict[str, tuple[int, int]] = self._do(self._disk.files, self._run)
        return found

    def download(self, names: Iterable[str], target: Path) -> None:
        for name in names:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            (target / name).write_bytes(self._do(self._disk.read, self._run / name))

    def upload(self, source: Path, names: Iterable[str]) -> None:
        for name in sorted(names):
            self.put(name, (source / name).read_bytes())

    def put(self, name: str, data: bytes) -> None:
        self._do(self._disk.write, self._run / name, data)

    def remove(self, names: Iterable[str]) -> None:
        self._do(self._disk.remove, [self._run / name for name in names])

    def _do(self, method: Any, *arguments: Any) -> Any:
        import ray

        try:
            return ray.get(method.remote(*arguments))
        except (ray.exceptions.RayError, OSError) as error:
            raise PathError(f"{self._run} on the driver's disk: {str(error).splitlines()[0]}") from None
