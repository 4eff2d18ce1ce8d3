"""The model card of a bundle: what it was trained on, how it was judged, its calibration and limits, how to load it."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import yaml

from planner.contracts.dataset import DatasetInfo
from planner.provenance import own_commit

MODEL_CARD = "MODEL_CARD.md"
_LABELS = {
    "executed_plans": "what was executed: it imitates, and was not shown what other actions would have come to",
    "bench_winners": "the winners of a bench",
    "teacher": "what its teacher says of every action",
}
_RULE = "today's rule"
_SET_BESIDE = ("heuristic", "single best", "best per case")


def write_model_card(
    directory: Path, run: Path, metadata: Mapping[str, Any], calibration: Mapping[str, Any], info: DatasetInfo
) -> None:
    """Put the card beside a bundle's other files. ``info`` is of the dataset that the bundle was checked on."""
    text = "\n".join([*_front_matter(metadata, info), *_body(run, metadata, calibration, info), ""])
    (directory / MODEL_CARD).write_text(text, "utf-8")


def _front_matter(metadata: Mapping[str, Any], info: DatasetInfo) -> Iterator[str]:
    """YAML that programs read."""
    facts = {
        "name": metadata["checkpoint_id"],
        "library_name": "cyntra-planner",
        "format": metadata["schema_version"],
        "policy": metadata["class_path"],
        "token_profile": metadata["token_profile"],
        "dataset_hash": metadata["dataset_hash"],
        "label_source": info.label_source if _is_own(metadata, info) else None,
        "git_commit": own_commit(),
        "exported_with": dict(metadata["exported_with"]),
    }
    yield from ("---", yaml.safe_dump(facts, sort_keys=False, allow_unicode=True).rstrip(), "---")


def _body(run: Path, metadata: Mapping[str, Any], calibration: Mapping[str, Any], info: DatasetInfo) -> Iterator[str]:
    yield from ("", f"# {_plain(metadata['checkpoint_id'])}", "")
    yield "Chooses swarm, candidates, minutes and iterations for each software issue of a Cyntra repo."
    yield from ("", "## Trained on", "", *_training(metadata, info))
    yield from ("", "## Judged", "", *_judged(run))
    yield from ("", "## Calibration", "", *_calibration(calibration))
    yield from ("", "## Limits", "", *_limits(metadata, info))
    yield from ("", "## How to load it", "", *_loading(metadata))


def _is_own(metadata: Mapping[str, Any], info: DatasetInfo) -> bool:
    return bool(metadata["dataset_hash"] == info.dataset_hash)


def _training(metadata: Mapping[str, Any], info: DatasetInfo) -> Iterator[str]:
    yield f"Dataset `{metadata['dataset_hash']}`, token profile {metadata['token_profile']}."
    if not _is_own(metadata, info):
        yield f"What it held is not known here: the bundle was checked on another one, `{info.dataset_hash}`."
        return
    yield f"Its labels are {_LABELS[info.label_source]}."
    counts = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in info.counts.items())
    yield f"Counts: {counts or 'none'}; {len(info.quarantine)} files set aside or repaired."
    yield ""
    yield from _table(
        ("split", "examples", "of issues that train has too", "from", "to"),
        [
            (name, str(split.examples), str(split.of_seen_issues), _day(split.first_ms), _day(split.last_ms))
            for name, split in info.splits.items()
        ],
    )


def _judged(run: Path) -> Iterator[str]:
    """What `planner evaluate` left in the run's directory."""
    regret, imitation = _read(run / "regret.json"), _read(run / "evaluation.json")
    rows = _regret_rows(regret, run.resolve().name)
    if rows:
        yield (
            f"By regret on {regret['held_out_cases']} unseen cases of {regret['held_out_problems']} problems, held out "
            f"by {regret['held_out_by']}: utility lost against the best executed action, with 95 % intervals. Utility "
            f"is {regret['utility']}."
        )
        yield ""
        yield from _table(("policy", "regret", "interval", "passes"), rows)
    groups = (imitation.get("splits") or {}).get("test") or {}
    found = [
        (_RULE if name == "heuristic" else name, _number(numbers.get("exact_match")), str(group["examples"]))
        for group in [groups.get("all") or {}]
        for name, numbers in (group.get("policies") or {}).items()
    ]
    if found:
        yield ""
        yield "By how often it decides as was executed, on the test split:"
        yield ""
        yield from _table(("policy", "exact match", "examples"), found)
    if not rows and not found:
        yield "Not yet: `planner evaluate RUN --bench LEDGER` says what it loses on a bench's unseen cases."


def _regret_rows(regret: Mapping[str, Any], name: str) -> list[tuple[str, ...]]:
    return [
        (
            _RULE if row["policy"] == "heuristic" else row["policy"],
            _number(row["regret"]),
            f"[{_number(row['regret_low'])}, {_number(row['regret_high'])}]",
            _number(row["pass_rate"]),
        )
        for row in regret.get("policies", ())
        if row["policy"] in (name, *_SET_BESIDE)
    ]


def _calibration(calibration: Mapping[str, Any]) -> Iterator[str]:
    if not calibration.get("calibrated"):
        yield "Not calibrated: it never leaves a decision to today's rule."
        return
    error = f"{_number(calibration.get('ece_before'))} before, {_number(calibration.get('ece_after'))} after"
    yield f"Expected calibration error on {calibration['examples']} validation examples: {error}."
    if calibration["guaranteed"]:
        yield (
            f"It abstains below a confidence of {_number(calibration['threshold'])}: what it decides loses at most "
            f"{calibration['max_risk']:g} on average, with confidence {calibration['confidence']:g}."
        )
    else:
        yield f"It always abstains: that it loses at most {calibration['max_risk']:g} could not be shown."


def _limits(metadata: Mapping[str, Any], info: DatasetInfo) -> Iterator[str]:
    yield "* It decides only where the context offers its own action space (`action_space.json`)."
    yield "* It knows the repo, tools and issues that it was trained on; of others nothing is promised."
    yield f"* A minute of budget lasted {metadata['minute_seconds']:g} s where it was trained."
    train = info.splits.get("train")
    if _is_own(metadata, info) and train is not None and train.examples < 200:
        yield f"* {train.examples} examples are few: judge it on a bench before it replaces today's rule."
    check = metadata.get("check")
    if check:
        yield (
            f"* Checked on {check['contexts']} contexts: its numbers differ from the trained policy's by at most "
            f"{check['max_difference']:.1e}, its decisions in {check['disagreements']}."
        )


def _loading(metadata: Mapping[str, Any]) -> Iterator[str]:
    yield from (
        "```sh",
        "planner decide BUNDLE --repo REPO --issue ISSUE",
        "planner run --planner-enabled --planner-checkpoint BUNDLE",
        "```",
        "",
        "```python",
        "import planner",
        "",
        'decision = planner.decide(planner_input, planner.load_bundle("BUNDLE"))',
        "```",
    )
    if metadata["token_profile"] == "kernel":
        yield from ("", "Cyntra's kernel loads it by itself; `planner bundle check BUNDLE` says whether it can.")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first of each row is a name."""
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join([_plain(row[0]), *row[1:]])} |"


def _plain(text: str) -> str:
    """Text that is no Markdown, whatever a directory is called."""
    return "".join(f"\\{one}" if one in "\\`*_{}[]<>|#" else one for one in " ".join(text.split()))


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _day(ms: int | None) -> str:
    return "" if ms is None else datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d")


def _read(path: Path) -> dict[str, Any]:
    """A command's results; nothing where there are none, or none that can be read."""
    try:
        found = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
