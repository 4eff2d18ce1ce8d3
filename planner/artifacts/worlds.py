"""World runs and evolutions (``<kernel dir>/runs/*``): an evolution is one run, its candidates are parts of it."""

from pathlib import Path
from typing import Any

from planner.artifacts.archives import recorded_input, recorded_plan
from planner.artifacts.lenient import mappings, moment, number, section, string, strings
from planner.artifacts.recorded_context import KnownRuns, PackedContext
from planner.artifacts.records import Quarantine, RunRecord, list_entries, load_json_object
from planner.artifacts.summaries import run_summary
from planner.contracts.document import canonical_json
from planner.errors import ContractError

EVOLUTION = "evolve_world.json"
# NAME_MAX of every common file system: nothing there can have a longer name.
MAX_NAME_BYTES = 255


def read_world_runs(directory: Path, quarantine: Quarantine, world_tags: dict[str, list[str]]) -> list[RunRecord]:
    """Every evolution, and every world run that belongs to none, in name order."""
    if not directory.is_dir():
        return []
    paths = list_entries(directory, quarantine)
    evolutions: list[Path] = []
    records: list[RunRecord] = []
    members: set[str] = set()
    for path in paths:
        try:
            document = load_json_object(path / EVOLUTION)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except (OSError, ContractError) as error:
            quarantine.dropped(path / EVOLUTION, getattr(error, "reason", str(error)))
            evolutions.append(path)
            continue
        evolutions.append(path)
        members.update(candidate["run_id"] for candidate in _candidates(document))
        if (record := _evolution(path, document, quarantine, world_tags)) is not None:
            records.append(record)
    for path in paths:
        if path in evolutions or path.name in members:
            continue
        if (record := _single_run(path, quarantine, world_tags)) is not None:
            records.append(record)
    return records


def _candidates(evolution: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        candidate
        for generation in mappings(evolution.get("history"))
        for candidate in mappings(generation.get("candidates"))
        if _is_name(candidate.get("run_id"))
    ]


def _overall(candidate: dict[str, Any]) -> float | None:
    return number(section(candidate, "metrics"), "overall")


def _is_name(value: Any) -> bool:
    """Whether ``value`` can only name an entry of the runs directory, and nothing outside it."""
    if not isinstance(value, str) or value in ("", ".", "..") or "/" in value or "\0" in value:
        return False
    return len(value.encode()) <= MAX_NAME_BYTES


def _read_within(directory: Path, name: str, quarantine: Quarantine) -> dict[str, Any] | None:
    """The JSON object in ``directory``, unless that is a link, which may lead to any file of the user."""
    if directory.is_symlink():
        quarantine.repaired(directory, "a symbolic link: what it leads to is not read")
        return None
    return quarantine.read_json(directory / name)


def _evolution(
    path: Path, document: dict[str, Any], quarantine: Quarantine, world_tags: dict[str, list[str]]
) -> RunRecord | None:
    ran = [candidate for candidate in _candidates(document) if not candidate.get("reused")]
    manifests = {c["run_id"]: _read_within(path.parent / c["run_id"], "manifest.json", quarantine) for c in ran}
    starts = [start for manifest in manifests.values() if (start := moment(manifest or {}, "created_at")) is not None]
    ended_ms = moment(document, "generated_at")
    population, generations = number(document, "population_size"), number(document, "generations")
    if not starts or ended_ms is None or population is None or generations is None:
        quarantine.dropped(
            path, "an evolution needs population_size, generations, generated_at and a candidate's start"
        )
        return None
    generation, selected = _last_success(document)
    passed = generation is not None
    # Without a selected candidate that passed, the best one shows what was missing.
    judged = selected or max(ran, key=lambda candidate: _overall(candidate) or 0, default={})
    gates = _gates(_read_within(path.parent / judged["run_id"], "manifest.json", quarantine) if judged else None)
    world_id = string(document, "world_id")
    decided = section(document, "planner")
    plan = recorded_plan(decided.get("executed_plan"), path / EVOLUTION, quarantine) or evolution_plan(document)
    recorded, packed = recorded_input(
        section(decided, "planner_input") or None, KnownRuns(), path / EVOLUTION, quarantine
    )
    context = quarantine.read_json(path / "context.json") or {}
    return _record(
        path,
        quarantine,
        kind="evolution",
        world_id=world_id,
        context={**context, "objective_id": document.get("objective_id"), "universe_id": document.get("universe_id")},
        tags=world_tags.get(str(world_id), []),
        plan=plan,
        passed=passed,
        gates=gates,
        fail_codes=[] if passed else [gate["name"] for gate in gates if not gate["passed"]] or ["no_candidate_passed"],
        started_ms=min(starts),
        ended_ms=max(ended_ms, min(starts)),
        duration_ms=int(sum(_stage_time(manifests[c["run_id"]], section(c, "metrics")) for c in ran)),
        score=_overall(selected),
        generation=generation,
        planner_input=packed,
        decided_ms=None if recorded is None else moment(recorded, "created_at"),
    )


def evolution_plan(evolution: dict[str, Any]) -> dict[str, Any] | None:
    """The executed_plan.v1 that an evolve_world.json has; None where it is incomplete. It knows no minutes."""
    swarm_id = string(evolution, "swarm_id")
    population, generations = number(evolution, "population_size"), number(evolution, "generations")
    if not swarm_id or population is None or generations is None:
        return None
    return {
        "schema_version": "cyntra.executed_plan.v1",
        "swarm_id_executed": swarm_id,
        "max_candidates_executed": int(population),
        "timeout_seconds_executed": None,
        "max_iterations_executed": int(generations),
        "fallback_applied": False,
        "fallback_reason": None,
    }


def _last_success(evolution: dict[str, Any]) -> tuple[int | None, dict[str, Any]]:
    """The last candidate that passed and was selected, and the generation, counted from 1, that made it; else None, {}.

    A later generation in which nothing passes does not undo it: what passed is there. The sandbox carries its best
    candidate on from generation to generation, the kernel does not.
    """
    made: dict[str, tuple[int, dict[str, Any]]] = {}
    found: tuple[int | None, dict[str, Any]] = None, {}
    for count, generation in enumerate(mappings(evolution.get("history")), start=1):
        for candidate in _candidates({"history": [generation]}):
            made.setdefault(candidate["run_id"], (count, candidate))
        selected = made.get(str(generation.get("selected_run_id")))
        if selected is not None and selected[1].get("passed") is True:
            found = selected
    return found


def _single_run(path: Path, quarantine: Quarantine, world_tags: dict[str, list[str]]) -> RunRecord | None:
    """A world run outside any evolution: history without an action, because nothing records its budgets."""
    manifest = quarantine.read_json(path / "manifest.json") if path.is_dir() else None
    if manifest is None or not isinstance(manifest.get("world_id"), str):
        quarantine.dropped(path, "neither an evolution nor a world run with a manifest")
        return None
    verdict = _read_within(path / "verdict", "gate_verdict.json", quarantine)
    started_ms, duration = moment(manifest, "created_at"), int(_stage_time(manifest, {}))
    if verdict is None or started_ms is None:
        quarantine.dropped(path, "interrupted: the world run has no verdict or no start")
        return None
    passed = verdict.get("verdict") == "pass"
    gates = _gates(manifest)
    codes = strings(section(verdict, "failures").get("hard")) + [g["name"] for g in gates if not g["passed"]]
    return _record(
        path,
        quarantine,
        kind="world_run",
        world_id=manifest["world_id"],
        context=quarantine.read_json(path / "context.json") or {},
        tags=world_tags.get(manifest["world_id"], []),
        plan=None,
        passed=passed,
        gates=gates,
        fail_codes=[] if passed else codes or ["verdict:fail"],
        started_ms=started_ms,
        ended_ms=max(started_ms + duration, moment(section(verdict, "timing"), "completed_at") or 0),
        duration_ms=duration,
    )


def _record(
    path: Path,
    quarantine: Quarantine,
    *,
    kind: Any,
    world_id: Any,
    context: dict[str, Any],
    tags: list[str],
    plan: dict[str, Any] | None,
    passed: bool,
    gates: list[dict[str, Any]],
    fail_codes: list[str],
    started_ms: int,
    ended_ms: int,
    duration_ms: int,
    score: float | None = None,
    generation: int | None = None,
    planner_input: PackedContext | None = None,
    decided_ms: int | None = None,
) -> RunRecord:
    issue_id = string(context, "issue_id") or (planner_input and planner_input.issue_id) or None
    status = "success" if passed else "failed"
    return RunRecord(
        run_id=path.name,
        kind=kind,
        summary_text=canonical_json(
            run_summary(
                run_id=path.name,
                started_ms=started_ms,
                job_type="fab-world",
                domain="fab_world",
                plan=plan,
                status=status,
                fail_codes=fail_codes,
                gates=gates,
                duration_ms=duration_ms,
                tags=tags,
                issue_id=issue_id,
                generation=generation,
            )
        ),
        status=status,
        issue_id=issue_id,
        started_ms=started_ms,
        ended_ms=ended_ms,
        decided_ms=started_ms if decided_ms is None else decided_ms,
        executed_plan=plan,
        planner_input=planner_input,
        world_id=str(world_id),
        objective_id=string(context, "objective_id"),
        universe_id=string(context, "universe_id"),
        score=score,
    )


def _stages(manifest: dict[str, Any] | None) -> list[dict[str, Any]]:
    return mappings((manifest or {}).get("stages"))


def _stage_time(manifest: dict[str, Any] | None, metrics: dict[str, Any]) -> float:
    """ms spent in a candidate: the sum over its stages, else what the evolution noted."""
    times = [number(stage, "duration_ms") or 0 for stage in _stages(manifest)]
    return sum(times) if times else number(metrics, "duration_ms") or 0


def _gates(manifest: dict[str, Any] | None) -> list[dict[str, Any]]:
    gates = []
    for stage in _stages(manifest):
        for gate in mappings(section(stage, "metadata").get("gates")):
            if isinstance(gate.get("gate"), str) and gate["gate"] and isinstance(gate.get("passed"), bool):
                gates.append({"name": gate["gate"], "passed": gate["passed"]})
    return gates
