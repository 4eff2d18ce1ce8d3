"""`planner dataset build`: from a Cyntra repo to a dataset.

Archives are read in chunks, their runs are joined with history in blocks, side by side (planner.dataset.fan_out); what
an earlier build made of the same chunk or block is taken from a cache. The driver orders, splits and writes, in a fixed
order, so that the bytes depend neither on the parallelism nor on what was cached.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cluster.nodes import nodes_that_see
from planner.actions import ActionSpace
from planner.artifacts.records import Quarantine
from planner.artifacts.repo import Repo, list_archives, locate
from planner.artifacts.rule_settings import decisive_part
from planner.artifacts.universe import minute_seconds
from planner.context import N_SIMILAR
from planner.contracts.dataset import DatasetInfo, TokenProfile
from planner.contracts.document import canonical_json
from planner.dataset.examples import Example, Sources
from planner.dataset.fan_out import connected_ray
from planner.dataset.joining import Block, join
from planner.dataset.kept import Kept
from planner.dataset.logged_trials import logged_trials
from planner.dataset.reading import read_runs
from planner.dataset.split import time_split
from planner.dataset.trials import Trial
from planner.dataset.write import check_out, write_dataset
from planner.errors import DatasetError
from planner.gc_pause import collector_paused

RAY_PAYS_FROM = 4096
"""Archives: this process has read so many before an embedded Ray has started."""

Progress = Callable[[str, int, int], None]
"""Called with a stage's name, how much of it is done, and its whole."""


def build_dataset(
    root: Path,
    out: Path,
    *,
    kernel_dir: Path | None = None,
    profile: TokenProfile = "planner",
    cache: Path | None = None,
    progress: Progress = lambda stage, done, total: None,
) -> DatasetInfo:
    """Read the repo at ``root`` and write a dataset to ``out``; returns its dataset.json.

    Ray Data reads and joins if Ray is connected, else this process; the dataset is the same.
    ``profile`` "kernel" is for policies that Cyntra's kernel will run itself; its stream holds less of a context.
    ``cache`` is a directory of the user's, one for each repo and profile, that holds what the last build made: the next
    does again only what has changed. It may be deleted at any time. Without one, that is in a temporary directory
    beside ``out``.
    Archives are read on the nodes that see them, or here where no node with CPUs does. Raises ArtifactError when
    ``root`` is no Cyntra repo, DatasetError when no run can be a label or ``out`` holds something else. Files that
    cannot be read are listed in the dataset's quarantine.
    """
    check_out(out)
    with collector_paused(), _kept(cache, out) as kept:
        return _build(Repo(root, kernel_dir), out, profile, kept, progress)


@contextmanager
def _kept(cache: Path | None, out: Path) -> Iterator[Kept]:
    if cache is not None:
        kept = Kept(cache)
        yield kept
        kept.forget_others()
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as directory:
        yield Kept(Path(directory), durable=False)


def is_worth_ray(root: Path, kernel_dir: Path | None = None) -> bool:
    """Whether the repo has so many archives that starting Ray to read them takes less time than it saves."""
    _, kernel = locate(root, kernel_dir)
    return len(list_archives(kernel, Quarantine(root))) >= RAY_PAYS_FROM


def _build(repo: Repo, out: Path, profile: TokenProfile, kept: Kept, progress: Progress) -> DatasetInfo:
    found = _joined(repo, profile, kept, progress)
    examples, splits = found.examples, found.splits
    progress("write", 0, len(examples))
    info = write_dataset(
        out,
        examples=examples,
        encoded=[block.encoded for block in found.blocks],
        splits=splits,
        space=_joint_space(examples),
        vocabulary=None,
        seen_issues={examples[i].issue_id for i in splits["train"]},
        trials=found.trials,
        n_similar=N_SIMILAR,
        account={
            "label_source": "executed_plans",
            "base_dataset_hash": None,
            "token_profile": profile,
            "context_builder": profile,
            "kernel_config": decisive_part(repo.config),
            "minute_seconds": minute_seconds(repo.config),
            "counts": {
                "runs": found.n_runs,
                "examples": len(examples),
                "history_only": found.n_runs - len(examples),
                "quarantined": len(repo.quarantine.entries),
                "issues": len(repo.issues),
            },
            "contexts": dict(_total(block.contexts for block in found.blocks)),
            "unlabelled": dict(sorted(_total(block.unlabelled for block in found.blocks).items())),
            "unknown_keys": dict(sorted(repo.quarantine.unknown_keys.items())),
            "quarantine": sorted(repo.quarantine.entries, key=lambda entry: (entry["path"], entry["reason"])),
        },
    )
    progress("write", len(examples), len(examples))
    return info


@dataclass(frozen=True)
class _Joined:
    """What is written of a repo, without its runs: they are no longer in memory when it is."""

    n_runs: int
    blocks: list[Block]
    examples: list[Example]
    splits: dict[str, range]
    trials: list[Trial]


def _joined(repo: Repo, profile: TokenProfile, kept: Kept, progress: Progress) -> _Joined:
    ray = connected_ray()
    nodes = None if ray is None else nodes_that_see(ray, repo.kernel / "planner")
    runs, digests, drafts = read_runs(repo, kept, nodes, lambda done, total: progress("read archives", done, total))
    sources = Sources(runs, repo.issues, repo.universes, profile, repo.start_failures)
    blocks = join(sources, digests, kept, None, lambda done, total: progress("join with history", done, total))
    examples = [example for block in blocks for example in block.examples]
    if not examples:
        reasons = sorted(_total(block.unlabelled for block in blocks).items())
        why = [f"{count} with {reason}" for reason, count in reasons]
        raise DatasetError(
            f"no labelled runs: {len(runs)} runs were read{''.join(f', {one}' for one in why)}, and "
            f"{len(repo.quarantine.entries)} files could not be: let Cyntra run some issues first"
        )
    splits = time_split([example.decided_ms for example in examples])
    firsts_ms = {name: examples[span.start].decided_ms if span else None for name, span in splits.items()}
    trials = logged_trials(runs, drafts, repo.events, repo.issues, firsts_ms, repo.start_failures)
    return _Joined(len(runs), blocks, examples, splits, trials)


def _total(counts: Iterable[Counter[str]]) -> Counter[str]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return total


def _joint_space(examples: Sequence[Example]) -> ActionSpace:
    return ActionSpace.union(sorted({e.space for e in examples}, key=lambda space: canonical_json(space.to_document())))
