"""Distilling: what a teacher says every action is worth, as a dataset that a pupil is trained on; and how it does.

RUN/lessons/    a dataset like any other: train holds the contexts of the base's train and perturbed ones, val and test
                those of the base; the outcomes are the teacher's, so that regret is what the pupil loses against it
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from planner.actions import ActionSpace
from planner.contracts.document import timestamp_to_ms
from planner.dataset.examples import Example
from planner.dataset.outcomes import ActionOutcome
from planner.dataset.storage import MANIFEST, Dataset, Split, inputs_of_split, label_of, load_dataset
from planner.dataset.write import write_dataset
from planner.encoding.profiles import encode
from planner.encoding.subject import subject_of
from planner.errors import CheckpointError, DatasetError
from planner.places import Place, place_of
from planner.policies.trial_plans import CODE
from planner.runs.checkpoint import LESSONS, PupilReport, read_run, write_run
from planner.runs.learned import LearnedPolicy
from planner.runs.teacher import Teacher
from planner.scoring.preferences import policy_preference
from planner.scoring.regret import MOSTLY, chosen_rows, lost_utility
from planner.training.perturbed_contexts import asked, perturbed_contexts

LEAST_NEW = 0.5
ALIKE = 0.001
"""Utility by which actions may differ that a teacher values alike: a thousandth of a pass."""


def write_lessons(run: Path, teacher_run: Path, dataset_path: Place, *, perturbed: int, seed: int = 0) -> Path:
    """Write the lessons of the run-to-be ``run``, unless it has them already; returns their directory.

    CheckpointError when ``teacher_run`` is no run, values no actions, or has another action space than the dataset.
    """
    out = run / LESSONS
    if (out / MANIFEST).exists():
        return out
    teacher, dataset = Teacher.load(teacher_run), load_dataset(dataset_path)
    if teacher.space != dataset.space:
        raise CheckpointError(
            f"{teacher_run}: its action space is not that of {dataset_path} (swarms {list(teacher.space.swarm_ids)} "
            f"against {list(dataset.space.swarm_ids)}, or other bins): teach on a dataset with the teacher's own"
        )
    if not _code(dataset.splits["train"].contexts()):
        raise DatasetError(f"{dataset_path}: train holds no context of a code job to teach on")
    parts = {name: _examples(split, dataset, teacher) for name, split in dataset.splits.items()}
    made = perturbed_contexts(
        _code(dataset.splits["train"].contexts()),
        perturbed,
        new_share=_new_share(dataset),
        seed=seed,
    )
    taught = _taught(made, teacher, dataset.info.minute_seconds)
    parts["train"] += [_perturbed(number, *pair) for number, pair in enumerate(zip(made, taught, strict=True))]
    _write(out, parts, dataset)
    return out


def report_pupil(run: Path, teacher_run: Path) -> PupilReport:
    """How a trained pupil does on contexts that were not among its lessons; kept in its run.json.

    Those are of test, or where that is empty, of validation, by which training was stopped. A perturbed context may
    have asked of the same issue and tool: how the pupil does where none did is said as well.
    """
    state = read_run(run)
    lessons = load_dataset(place_of(state.dataset))
    name = next((name for name in ("test", "val") if lessons.splits[name].outcomes.comparable.any()), None)
    report = PupilReport(teacher=str(teacher_run.resolve()), split=name, contexts=0)
    if name is not None:
        taught = {asked(context) for context in lessons.splits["train"].contexts()}
        report = _judged(report, LearnedPolicy(run), lessons.space, lessons.splits[name], taught)
    state.pupil = report
    write_run(run, state)
    return report


def _judged(
    report: PupilReport,
    pupil: LearnedPolicy,
    space: ActionSpace,
    split: Split,
    taught: Collection[tuple[str, str | None]],
) -> PupilReport:
    outcomes, heads = split.outcomes, pupil.head_log_probs(inputs_of_split(split))
    preference = policy_preference(
        lambda rows, job_type: space.joint_log_probs([head[rows] for head in heads], job_type),
        space,
        split.table["job_type"],
        outcomes,
        space,
    )
    rows = chosen_rows(preference.of_action, outcomes)
    lost = lost_utility(outcomes)[rows]
    contexts = split.contexts()
    untaught = np.array([asked(contexts[at]) not in taught for at in np.flatnonzero(outcomes.comparable)], dtype=bool)
    return report.model_copy(
        update={
            "contexts": len(rows),
            "untaught": int(untaught.sum()),
            "utility_lost_untaught": float(lost[untaught].mean()) if untaught.any() else None,
            "agreement": float((lost < ALIKE).mean()),
            "utility": float(outcomes.utility[rows].mean()),
            "utility_lost": float(lost.mean()),
            "utility_lost_at_most": float(lost.max()),
        }
    )


def _new_share(dataset: Dataset) -> float:
    """How many of the lessons are about unknown issues: as of the later contexts, but no fewer than half.

    What is known is little and learned quickly; an unknown issue may be any.
    """
    seen = np.concatenate([np.asarray(dataset.splits[name].seen) for name in ("val", "test")])
    return max(LEAST_NEW, 1.0 - float(seen.mean())) if len(seen) else 1.0


def _code(contexts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [context for context in contexts if context["job_type"] == CODE]


def _examples(split: Split, dataset: Dataset, teacher: Teacher) -> list[Example]:
    """Those of a split, code ones with the teacher's outcomes and its choice as their label."""
    contexts, table = split.contexts(), split.table
    taught = iter(_taught(_code(contexts), teacher, dataset.info.minute_seconds))
    found = []
    for row, context in enumerate(contexts):
        cells: dict[str, Any] = {name: column[row] for name, column in table.items()}
        example = Example.of(
            context,
            label=label_of(cells),
            **{key: cells[key] for key in ("example_id", "decided_ms", "issue_id", "job_type", "domain")},
            **{key: cells[key] for key in ("status", "duration_ms", "cost_usd")},
        )
        if context["job_type"] == CODE:
            _teach(example, next(taught))
        found.append(example)
    return found


def _perturbed(number: int, context: dict[str, Any], outcomes: Sequence[ActionOutcome]) -> Example:
    example = Example.of(
        context,
        example_id=f"perturbed-{number}",
        label=outcomes[0].action,
        decided_ms=timestamp_to_ms(context["created_at"]),
        issue_id=subject_of(context).issue_id,
        job_type=CODE,
        domain="code",
        status="success",
        duration_ms=0,
        cost_usd=None,
    )
    _teach(example, outcomes)
    return example


def _teach(example: Example, outcomes: Sequence[ActionOutcome]) -> None:
    best = max(outcomes, key=lambda outcome: outcome.utility or 0.0)
    example.label, example.compared, example.cost_usd = best.action, tuple(outcomes), None
    example.status = "success" if best.passed > MOSTLY else "failed"
    example.duration_ms = best.duration_ms


def _taught(
    contexts: Sequence[Mapping[str, Any]], teacher: Teacher, minute_seconds: float
) -> list[list[ActionOutcome]]:
    """What the teacher says of every action that each code context admits."""
    if not contexts:
        return []
    utilities, foreseen = teacher.utilities(contexts), teacher.foreseen(contexts)
    valid, minute_ms = teacher.space.valid_actions(CODE), 1000 * minute_seconds
    found = []
    for row, context in enumerate(contexts):
        own = ActionSpace.from_document(context["action_space"])
        admitted = [at for at, action in enumerate(valid) if own.is_valid(action, CODE)]
        found.append(
            [
                ActionOutcome(
                    valid[at],
                    float(np.clip(foreseen.passed[row, at], 0, 1)),
                    max(0, round(foreseen.wall[row, at] * minute_ms)),
                    max(0, round(foreseen.agent[row, at] * minute_ms)),
                    False,
                    float(utilities[row, at]),
                )
                for at in admitted
            ]
        )
    return found


def _write(out: Path, parts: Mapping[str, Sequence[Example]], dataset: Dataset) -> None:
    examples = [example for name in ("train", "val", "test") for example in parts[name]]
    ends = np.cumsum([len(parts[name]) for name in ("train", "val", "test")]).tolist()
    info = dataset.info
    write_dataset(
        out,
        examples=examples,
        encoded=[encode([example.context for example in examples], info.n_similar, info.token_profile)],
        splits={"train": range(ends[0]), "val": range(ends[0], ends[1]), "test": range(ends[1], ends[2])},
        space=dataset.space,
        vocabulary=info.vocabulary,
        seen_issues={example.issue_id for example in parts["train"]},
        n_similar=info.n_similar,
        normalisation_of=info,
        account={
            "label_source": "teacher",
            "objective": info.objective,
            "base_dataset_hash": info.dataset_hash,
            "token_profile": info.token_profile,
            "kernel_config": info.kernel_config,
            "minute_seconds": info.minute_seconds,
            "counts": {"examples": len(examples)},
            "contexts": {"recorded": len(examples)},
            "unlabelled": {},
            "quarantine": [],
        },
    )
