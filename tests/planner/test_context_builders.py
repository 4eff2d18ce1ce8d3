"""One context builder for each way of serving: the kernel's, rebuilt from artifacts, and the planner's own."""

import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from planner.artifacts.beads import words_of
from planner.artifacts.record_decision import record
from planner.artifacts.repo import Repo
from planner.context import ContextBuilder, system_state
from planner.contracts.document import ms_to_timestamp, timestamp_to_ms
from planner.contracts.kernel import ContextBuilderName, context_builder
from planner.dataset.examples import Example, ExampleSet, make_examples
from planner.dataset.logged_trials import drafts_of, logged_trials
from planner.dataset.trials import Trial
from planner.encoding.kernel_tokens import kernel_segments
from planner.encoding.profiles import token_segments
from planner.encoding.subject import subject_of
from planner.errors import ArtifactError
from planner.past_runs import Runs
from tests.conftest import FIXTURES

BUNDLE = FIXTURES / "frozen" / "bundle-v1" / "bundle"
Section = dict[str, Any]


def manifests(root: Path) -> Iterator[tuple[Path, Section]]:
    """Every manifest whose run recorded a context."""
    for path in sorted(root.glob(".cyntra/archives/*/manifest.json")):
        document = orjson.loads(path.read_bytes())
        if "planner_input" in document.get("planner", {}):
            yield path, document


def examples_of(root: Path, builder: ContextBuilderName) -> ExampleSet:
    """What a dataset of the repo would hold."""
    repo = Repo(root)
    return make_examples(repo.runs, repo.issues, repo.universes, builder, repo.start_failures)


def example_of(root: Path, builder: ContextBuilderName, run_id: str) -> Example:
    return next(example for example in examples_of(root, builder).examples if example.example_id == run_id)


def forget_history(root: Path) -> dict[str, Section]:
    """Take keywords and history out of every recorded context and sign it as the planner's; returns what it was."""
    recorded = {}
    for path, document in manifests(root):
        context = document["planner"]["planner_input"]
        recorded[path.parent.name] = orjson.loads(orjson.dumps(context))
        context["history"]["last_n_similar_runs"] = []
        context["issue"] |= {"keywords": [], "context_builder": "planner"}
        for file in (path, path.with_name("rollout.json")):
            if file.exists():
                file.write_bytes(orjson.dumps(orjson.loads(file.read_bytes()) | {"planner": document["planner"]}))
    return recorded


# --- the kernel's contexts -------------------------------------------------------------------------------------------


def test_the_kernels_contexts_are_rebuilt_from_its_artifacts_with_the_same_tokens(first_runs: Path) -> None:
    recorded = forget_history(first_runs)
    found = examples_of(first_runs, "kernel")
    assert found.contexts["recorded"] == 0
    same = [kernel_segments(e.context) == kernel_segments(recorded[e.example_id]) for e in found.examples]
    assert len(same) == 38 and sum(same) >= 0.98 * len(same)
    assert sum(len(recorded[e.example_id]["history"]["last_n_similar_runs"]) == 8 for e in found.examples) > 20


def test_a_dataset_counts_how_many_recorded_contexts_are_rebuilt_with_the_same_tokens(first_runs: Path) -> None:
    for builder in ("planner", "kernel"):
        contexts = examples_of(first_runs, builder).contexts
        assert (contexts["checked"], contexts["same_tokens"]) == (48, 48)
    (path, document), *_ = [item for item in manifests(first_runs) if item[0].parent.name.startswith("wc-20-")]
    document["planner"]["planner_input"]["issue"]["keywords"] = ["of", "another", "kernel"]
    path.write_bytes(orjson.dumps(document))
    assert examples_of(first_runs, "planner").contexts["same_tokens"] == 47


def test_the_summaries_of_past_runs_are_the_kernels_to_the_letter(first_runs: Path) -> None:
    made = {run.run_id: run.kernel_summary for run in Repo(first_runs).runs}
    compared = 0
    for _, document in manifests(first_runs):
        for past in document["planner"]["planner_input"]["history"]["last_n_similar_runs"]:
            summary = made[past["run_id"]]
            # The kernel reads its start off the directory's modification time.
            assert summary is not None and summary | {"started_ms": 0} == past | {"started_ms": 0}
            assert abs(summary["started_ms"] - past["started_ms"]) < 1000
            compared += 1
    assert compared > 200


def test_a_context_for_now_is_the_one_that_the_kernel_built_at_that_moment(first_runs: Path) -> None:
    repo, compared = Repo(first_runs), 0
    builder = ContextBuilder(repo, "kernel")
    recorded = [document["planner"]["planner_input"] for _, document in manifests(first_runs)]
    for context in sorted(recorded, key=lambda context: context["created_at"]):
        issue_id = context["issue"]["issue_id"]
        if context["universe_id"] == "medica" and issue_id in repo.issues:
            now_ms = timestamp_to_ms(context["created_at"])
            state = system_state(context["system_state"]["available_toolchains"], now_ms)
            built = builder.build(issue_id, created_ms=now_ms, system_state=state)
            assert kernel_segments(built) == kernel_segments(context)
            assert {**built, "history": None, "issue": None} == {**context, "history": None, "issue": None}
            compared += 1
    assert compared > 8


def test_without_a_universe_a_context_says_so_as_the_kernel_does(first_runs: Path) -> None:
    for path in first_runs.glob("universes/*/*.yaml"):
        path.unlink()
    context = ContextBuilder(Repo(first_runs), "kernel").build("2", created_ms=2**41)
    recorded = next(d["planner"]["planner_input"] for _, d in manifests(first_runs))
    keys = ("universe_id", "universe_defaults", "action_space")
    assert recorded["universe_id"] == "unknown"
    assert [context[key] for key in keys] == [recorded[key] for key in keys]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Fix the API of the CI: add an API", ["api"]),
        ("zebra apple apple_pie x1 9lives abc", ["9lives", "abc", "apple", "apple_pie", "zebra"]),
        ("b2b b2b alpha Alpha ALPHA beta", ["alpha", "b2b", "beta"]),
        (" ".join(f"w{n:02}" for n in range(20)), [f"w{n:02}" for n in range(16)]),
    ],
)
def test_keywords_are_the_most_frequent_words_of_three_characters(text: str, words: list[str]) -> None:
    found = words_of({"title": text, "description": None})
    assert found["keywords"] == words == found["words"][:16]


def test_the_kernel_knows_no_run_that_was_archived_after_the_decision(first_runs: Path) -> None:
    repo = Repo(first_runs)
    last = max(repo.runs, key=lambda run: run.archived_ms)
    names = []
    for now_ms in (last.archived_ms, last.archived_ms + 1):
        context = ContextBuilder(repo, "kernel").build(str(last.issue_id), created_ms=now_ms)
        names.append([run["run_id"] for run in context["history"]["last_n_similar_runs"]])
    assert last.run_id not in names[0] and names[1][0] == last.run_id


# --- the planner's contexts ------------------------------------------------------------------------------------------


def decided(root: Path, issue_id: str, *options: str) -> Section:
    """What `planner decide --repo --issue` answers."""
    command = [str(Path(sys.executable).with_name("planner")), "decide", str(BUNDLE), "--repo", str(root)]
    done = subprocess.run([*command, "--issue", issue_id, *options], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return orjson.loads(done.stdout)


def kernels_own(root: Path, issue_id: str, now_ms: int, tools: list[str]) -> Section:
    context = ContextBuilder(Repo(root), "kernel").build(
        issue_id, created_ms=now_ms, system_state=system_state(tools, now_ms)
    )
    # The kernel has the tracker's count, which people set back.
    return context | {"issue": context["issue"] | {"dk_attempts": 7}}


def archive(root: Path, issue_id: str, answer: Section, context: Section) -> str:
    """A run of that decision, whose manifest holds ``context``; returns its name."""
    start_ms = timestamp_to_ms(answer["planner_input"]["created_at"]) + 300
    directory = root / ".cyntra" / "archives" / f"wc-{issue_id}-later"
    directory.mkdir()
    issue = Repo(root).issues[issue_id]
    manifest = {"workcell_id": directory.name, "job_type": "code", "toolchain": "codex"}
    manifest["issue"] = {key: issue.get(key) for key in ("id", "title", "description", "tags")}  # type: ignore[assignment]
    (directory / "manifest.json").write_bytes(orjson.dumps(manifest))
    times = {"started_at": ms_to_timestamp(start_ms), "completed_at": ms_to_timestamp(start_ms + 5000)}
    proof = {"status": "success", "metadata": times, "verification": {"all_passed": True, "gates": {}}}
    (directory / "proof.json").write_bytes(orjson.dumps(proof))
    plan = answer["executed_plan"] | {"timeout_seconds_executed": 1800}
    record(
        directory / "manifest.json",
        planner_input=context,
        planner_action=answer["planner_action"],
        executed_plan=plan,
    )
    return directory.name


Recorded = Callable[[Path, Section], Section]
RECORDED: dict[str, Recorded] = {
    "the planner's": lambda root, served: served,
    "the kernel's": lambda root, served: kernels_own(
        root,
        served["issue"]["issue_id"],
        timestamp_to_ms(served["created_at"]),
        served["system_state"]["available_toolchains"],
    ),
}


@pytest.mark.parametrize("whose", RECORDED)
@pytest.mark.parametrize("issue_id", ["2", "20", "6"])
def test_a_served_context_has_the_tokens_of_the_one_that_a_later_build_makes_for_its_run(
    first_runs: Path, whose: str, issue_id: str
) -> None:
    answer = decided(first_runs, issue_id)
    served = answer["planner_input"]
    assert context_builder(served) == "planner" and len(served["history"]["last_n_similar_runs"]) == 16
    run_id = archive(first_runs, issue_id, answer, RECORDED[whose](first_runs, served))
    # What comes later must not matter: another run of the issue, and a title that somebody changes.
    later = ContextBuilder(Repo(first_runs)).build(issue_id, created_ms=timestamp_to_ms(served["created_at"]) + 10_000)
    assert later["history"] != served["history"]
    tracker = first_runs / ".beads" / "issues.jsonl"
    tracker.write_bytes(tracker.read_bytes().replace(b'"title": "', b'"title": "Renamed '))
    built = example_of(first_runs, "planner", run_id).context
    assert token_segments(built, "planner") == token_segments(served, "planner")


def test_a_context_that_the_kernel_recorded_is_no_training_input_of_the_planner(first_runs: Path) -> None:
    found = examples_of(first_runs, "planner")
    assert (found.contexts["recorded"], found.contexts["rebuilt"]) == (0, 38)
    assert max(len(document["history"]["last_n_similar_runs"]) for document in found.documents) == 16
    gates = [
        gate
        for example in found.examples
        for run in example.context["history"]["last_n_similar_runs"]
        for gate in run["outcome"]["gates"]
    ]
    assert gates, "the kernel's summaries have none"


def test_hints_that_a_failure_left_in_the_tracker_are_not_known_to_the_runs_before(first_runs: Path) -> None:
    for path in first_runs.glob(".cyntra/archives/*/*.json"):
        document = orjson.loads(path.read_bytes())
        if "planner_input" in document.get("planner", {}):
            del document["planner"]["planner_input"]  # as a kernel before the planner's integration leaves it
            path.write_bytes(orjson.dumps(document))
    before = {example.example_id: example.context for example in examples_of(first_runs, "planner").examples}
    subjects = [trial.subject for trial in trials_of(first_runs)]
    tracker = first_runs / ".beads" / "issues.jsonl"
    tracker.write_bytes(
        tracker.read_bytes()
        .replace(b'"description": "', b'"description": "Repair hints: tighten tighten tighten. ')
        .replace(b'"tags": ["', b'"tags": ["failed-before", "')
    )
    after = {example.example_id: example.context for example in examples_of(first_runs, "planner").examples}
    assert after == before and len(after) > 30
    assert [trial.subject for trial in trials_of(first_runs)] == subjects
    assert "tighten" in Repo(first_runs).issues["2"]["description"]


def trials_of(root: Path) -> list[Trial]:
    """What a dataset of the repo would hold of single launches."""
    repo = Repo(root)
    archived = [run for run in repo.runs if run.kind == "archive"]
    runs = Runs.of(archived)
    return logged_trials(runs, drafts_of(runs), repo.events, repo.issues, {"train": 0, "val": None, "test": None})


def test_a_command_for_an_issue_that_is_not_there_says_so(first_runs: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no issue 'nobody' in \.beads/issues\.jsonl"):
        ContextBuilder(Repo(first_runs)).build("nobody", created_ms=round(1000 * time.time()))
    planner = str(Path(sys.executable).with_name("planner"))
    for words in (["--repo", str(first_runs), "--issue", "nobody"], ["--issue", "2"]):
        done = subprocess.run([planner, "decide", str(BUNDLE), *words], capture_output=True, check=False)
        assert done.returncode in (1, 2) and b"Traceback" not in done.stderr
        assert b"nobody" in done.stderr or b"go together" in done.stderr


def test_a_run_keeps_the_universe_that_it_recorded_though_its_directory_is_gone(corpus: Path) -> None:
    before = {builder: examples_of(corpus, builder).examples for builder in ("planner", "kernel")}
    for path in corpus.glob("universes/*/*.yaml"):
        path.unlink()
    for builder, old in before.items():
        new = examples_of(corpus, builder).examples  # type: ignore[arg-type]
        for one, other in zip(old, new, strict=True):
            if one.job_type == "code" and Repo(corpus).issues.get(one.issue_id):
                assert one.context["universe_id"] == other.context["universe_id"]
        assert {e.context["universe_id"] for e in new if e.job_type == "fab-world"} == {"medica"}
    assert {e.context["universe_id"] for e in new} == {"medica", "unknown"}


def test_a_workcell_that_could_not_be_made_is_an_attempt_and_no_broken_line(first_runs: Path) -> None:
    log, at_ms = first_runs / ".cyntra/logs/events.jsonl", 2**41
    before = ContextBuilder(Repo(first_runs)).build("2", created_ms=at_ms)["issue"]["dk_attempts"]
    event = {"type": "workcell.create_failed", "timestamp": "2026-11-23T00:00:00Z", "issue_id": "2"}
    events = [
        event | {"data": {"toolchain": None, "error": "no space left", "attempt": 1}},
        # Of one candidate of several: the issue goes on with the others.
        event | {"data": {"toolchain": "codex", "speculate_tag": "spec-codex", "error": "no space left"}},
    ]
    log.write_bytes(log.read_bytes() + b"".join(orjson.dumps(e) + b"\n" for e in events))
    repo = Repo(first_runs).read_all()
    assert [entry for entry in repo.quarantine.entries if "event" in entry["reason"]] == []
    after = [
        ContextBuilder(repo).build("2", created_ms=ms)["issue"]["dk_attempts"]
        for ms in (timestamp_to_ms("2026-11-22T23:59:59Z"), at_ms)
    ]
    assert after == [before, before + 1]
    log.write_bytes(log.read_bytes() + orjson.dumps({"type": "workcell.create_failed", "data": {}}) + b"\n")
    broken = [entry["reason"] for entry in Repo(first_runs).read_all().quarantine.entries]
    assert broken.count("broken event line") == 1


# --- evolutions ------------------------------------------------------------------------------------------------------


def evolution(corpus: Path, selected: list[int | None]) -> Section:
    """The summary of an evolution of three generations of one candidate, which selected those of these generations."""
    path = corpus / ".cyntra/runs/evolve_world_outora_library_20261122T200044Z/evolve_world.json"
    document = orjson.loads(path.read_bytes())
    made = [generation["candidates"][0] for generation in document["history"]]
    for number, (generation, chosen) in enumerate(zip(document["history"], selected, strict=True)):
        made[number]["passed"] = number in selected
        generation["selected_run_id"] = None if chosen is None else made[chosen]["run_id"]
    path.write_bytes(orjson.dumps(document))
    return next(run.summary for run in Repo(corpus).runs if run.run_id == path.parent.name)


@pytest.mark.parametrize(
    ("selected", "generation"),
    [
        ([0, None, 2], 3),
        ([0, None, None], 1),  # the kernel forgets what it had
        ([0, 0, 0], 1),  # the sandbox carries it on
        ([None, 1, None], 2),
        ([None, None, None], None),
    ],
)
def test_an_evolution_that_selected_what_passed_in_any_generation_has_passed(
    corpus: Path, selected: list[int | None], generation: int | None
) -> None:
    summary = evolution(corpus, selected)
    assert summary["outcome"]["status"] == ("failed" if generation is None else "success")
    assert summary.get("generation") == generation


def test_a_selected_candidate_that_did_not_pass_is_no_success(corpus: Path) -> None:
    path = corpus / ".cyntra/runs/evolve_world_outora_library_20261122T200044Z/evolve_world.json"
    document = orjson.loads(path.read_bytes())
    for candidate in itertools.chain(*(generation["candidates"] for generation in document["history"])):
        candidate["passed"] = False
    path.write_bytes(orjson.dumps(document))
    (summary,) = [run.summary for run in Repo(corpus).runs if run.run_id == path.parent.name]
    assert summary["outcome"]["status"] == "failed" and "generation" not in summary


def test_the_planners_contexts_have_more_words_of_an_issue_and_the_kernels_have_not(first_runs: Path) -> None:
    text = " ".join(f"word{n:03}" for n in range(300))
    lines = (first_runs / ".beads/issues.jsonl").read_text().splitlines()
    issue = {**orjson.loads(lines[0]), "description": text}
    (first_runs / ".beads/issues.jsonl").write_bytes(b"\n".join([orjson.dumps(issue), *map(str.encode, lines[1:])]))
    repo = Repo(first_runs)
    ours = ContextBuilder(repo).now(issue["id"])
    assert len(ours["issue"]["words"]) == 256 and ours["issue"]["keywords"] == ours["issue"]["words"][:16]
    assert "word200" in subject_of(ours).text
    assert "words" not in ContextBuilder(repo, "kernel").now(issue["id"])["issue"]
