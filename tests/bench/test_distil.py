"""Distilling: a network that is taught what a structural model decides, and what of that is refused."""

from pathlib import Path

import numpy as np
import pytest

from bench.judging.provenance import provenance
from bench.judging.relabel import relabel
from planner.bundle import load_bundle
from planner.config import PUPIL_SETTINGS, load_config
from planner.contracts.kernel import PlannerInput
from planner.dataset.storage import load_dataset
from planner.decision import decide
from planner.encoding.subject import recorded_problem
from planner.errors import CheckpointError, DatasetError
from planner.evaluation.evaluate import evaluate_run
from planner.export.bundle import export_bundle
from planner.runs.checkpoint import PupilReport, read_run
from planner.runs.fitted import fit_run, load_run_policy
from planner.runs.teacher import Teacher
from planner.training.lessons import report_pupil, write_lessons
from planner.training.loop import start_run, train
from planner.training.perturbed_contexts import perturbed_contexts
from tests.trained_runs import trained

QUICK = ("n_similar=0", "lr=0.003", "epochs=5", "batch_size=16", "select_by=regret")
SMALL = ("model.d_model=32", "model.layers=1", "model.loops=2", "model.heads=2")


@pytest.fixture(scope="session")
def teacher(grouped_winners: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A structural run on the planted trials. Tests must not change it."""
    run = tmp_path_factory.mktemp("teacher") / "teacher"
    fit_run(run, "structural", grouped_winners)
    return run


def taught(teacher: Path, dataset: Path, run: Path, *settings: str, perturbed: int = 200) -> PupilReport:
    """A pupil in ``run``, trained."""
    lessons = write_lessons(run, teacher, dataset, perturbed=perturbed)
    config = load_config("urm_planner", None, [*SMALL, *settings], defaults=PUPIL_SETTINGS)
    start_run(run, config, lessons, init_from=None, workers=1, resume=False, teacher=teacher, judged_on=dataset)
    train(run)
    return report_pupil(run, teacher)


def test_a_pupil_decides_as_its_teacher_does_on_most_contexts_that_it_has_not_seen(
    teacher: Path, grouped_winners: Path, tmp_path: Path
) -> None:
    report = taught(teacher, grouped_winners, tmp_path / "pupil", *QUICK, perturbed=300)
    dataset = load_dataset(grouped_winners)
    assert (report.split, report.contexts) == ("test", len(dataset.splits["test"]))
    assert report.agreement is not None and report.utility_lost is not None and report.utility is not None
    assert report.agreement > 0.5
    # What any one action loses on these contexts, by the teacher's values, is far more.
    utilities = Teacher.load(teacher).utilities(dataset.splits["test"].contexts())
    fixed = (utilities.max(axis=1) - utilities[:, utilities.mean(axis=0).argmax()]).mean()
    assert report.utility_lost < 0.4 * fixed
    assert report.utility + report.utility_lost == pytest.approx(utilities.max(axis=1).mean(), abs=1e-4)
    state = read_run(tmp_path / "pupil")
    assert state.pupil == report and state.teacher == str(teacher.resolve())


def test_a_pupil_in_the_kernels_profile_is_a_bundle_like_any_other(kernel_dataset: Path, tmp_path: Path) -> None:
    fit_run(tmp_path / "teacher", "structural", kernel_dataset)
    report = taught(tmp_path / "teacher", kernel_dataset, tmp_path / "pupil", "n_similar=8", "epochs=2", perturbed=20)
    assert report.contexts > 0
    # Judged like any other run, on what really came of its dataset's contexts.
    evaluation = evaluate_run(tmp_path / "pupil")
    assert evaluation.dataset_hash == load_dataset(kernel_dataset).info.dataset_hash
    assert evaluation.dataset_hash != evaluation.trained_on_dataset_hash
    export_bundle(tmp_path / "pupil", tmp_path / "bundle", profile="kernel")
    bundle = load_bundle(tmp_path / "bundle")
    policy = load_run_policy(tmp_path / "pupil")
    context = next(c for c in load_dataset(kernel_dataset).splits["train"].contexts() if c["job_type"] == "code")
    wanted = policy.space.decode([head[0] for head in policy.log_probs_of([context])], "code")
    assert decide(context, bundle).planner_action["swarm_id"] == wanted.swarm_id


def test_a_wrong_teacher_is_refused_in_a_sentence_and_nothing_is_written(
    teacher: Path, grouped_winners: Path, corpus_dataset: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="this is not a training run"):
        write_lessons(tmp_path / "pupil", grouped_winners, grouped_winners, perturbed=5)
    plain = trained(corpus_dataset, tmp_path / "plain")
    with pytest.raises(CheckpointError, match="does not say what every action is worth"):
        write_lessons(tmp_path / "pupil", plain, corpus_dataset, perturbed=5)
    with pytest.raises(CheckpointError, match="its action space is not that of"):
        write_lessons(tmp_path / "pupil", teacher, corpus_dataset, perturbed=5)
    with pytest.raises(DatasetError, match="planner dataset build"):
        write_lessons(tmp_path / "pupil", teacher, tmp_path, perturbed=5)
    assert not (tmp_path / "pupil").exists()


def test_a_pupil_has_learned_from_what_its_teacher_did(
    grouped_ledger: Path, grouped_winners: Path, tmp_path: Path
) -> None:
    relabel(grouped_ledger, None, tmp_path / "more", by="pair", holdout=0.1)
    fit_run(tmp_path / "teacher", "structural", tmp_path / "more")
    lessons = write_lessons(tmp_path / "pupil", tmp_path / "teacher", grouped_winners, perturbed=5)
    config = load_config("urm_planner", None, SMALL, defaults=PUPIL_SETTINGS)
    start_run(
        tmp_path / "pupil",
        config,
        lessons,
        init_from=None,
        workers=1,
        resume=False,
        teacher=tmp_path / "teacher",
        judged_on=grouped_winners,
    )
    learned = provenance(tmp_path / "pupil").example_ids
    assert learned >= provenance(tmp_path / "teacher").example_ids
    assert learned & set(load_dataset(grouped_winners).splits["test"].table["example_id"])


def test_lessons_hold_what_the_teacher_says_of_every_admitted_action(
    teacher: Path, grouped_winners: Path, tmp_path: Path
) -> None:
    lessons = load_dataset(write_lessons(tmp_path / "pupil", teacher, grouped_winners, perturbed=7))
    base = load_dataset(grouped_winners)
    added = {name: len(split) - len(base.splits[name]) for name, split in lessons.splits.items()}
    assert (added["val"], added["test"]) == (0, 0) and 0 < added["train"] <= 7
    split = lessons.splits["test"]
    utilities = Teacher.load(teacher).utilities(base.splits["test"].contexts())
    found = np.asarray(split.outcomes.utility).reshape(len(split), -1)
    np.testing.assert_allclose(found, utilities, atol=1e-6)
    labels = [base.space.action(row) for row in np.asarray(split.labels).tolist()]
    assert labels == [base.space.valid_actions("code")[at] for at in utilities.argmax(axis=1)]


def test_perturbed_contexts_are_valid_and_mix_what_was_there(corpus_dataset: Path, grouped_winners: Path) -> None:
    for dataset in (corpus_dataset, grouped_winners):
        contexts = [c for c in load_dataset(dataset).splits["train"].contexts() if c["job_type"] == "code"]
        made = perturbed_contexts(contexts, 60, new_share=0.5)
        assert made == perturbed_contexts(contexts, 60, new_share=0.5)
        assert made != perturbed_contexts(contexts, 60, new_share=0.5, seed=1)
        known = {recorded_problem(c["issue"]) or c["issue"]["issue_id"] for c in contexts}
        kept = [(recorded_problem(c["issue"]) or c["issue"]["issue_id"]) in known for c in made]
        # The first half may be those that ask of known issues with other tools.
        assert 8 < sum(kept[30:]) < 22
        for context in made:
            PlannerInput.model_validate(context)
        for part in ("dk_tool_hint", "dk_size"):
            seen = [context["issue"][part] for context in contexts]
            assert all(context["issue"][part] in seen for context in made)
        # Known issues keep their words; of unknown ones the pupil meets words that nobody has.
        words = {word for context in contexts for word in context["issue"]["keywords"]}
        strange = [len(set(context["issue"]["keywords"]) - words) for context in made]
        assert not any(strange[at] for at in range(60) if kept[at])
        assert sum(strange[at] > 0 for at in range(60) if not kept[at]) > 5
    # A case of a recorded problem stays one, with its agent as the only tool.
    for context in made:
        hint = context["issue"]["dk_tool_hint"]
        assert context["issue"]["issue_id"].endswith(f"@{hint}")
        assert context["system_state"]["available_toolchains"] == [hint]


def test_lessons_ask_of_every_known_issue_with_every_tool(grouped_winners: Path) -> None:
    contexts = load_dataset(grouped_winners).splits["train"].contexts()
    made = perturbed_contexts(contexts, 100, new_share=0.0)
    pairs = {(recorded_problem(c["issue"]), c["issue"]["dk_tool_hint"]) for c in [*contexts, *made]}
    before = {(recorded_problem(c["issue"]), c["issue"]["dk_tool_hint"]) for c in contexts}
    everything = {(problem, hint) for problem, _ in before for _, hint in before}
    assert before < everything == pairs
