"""Builds one candidate of a world, stage by stage, and writes the files of a world run.

docs/kernel-contract.md, section 3.
"""

import hashlib
import platform
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import orjson

from bench.testbeds.sandbox.world.caves import CaveParameters, Grid, cave_map
from bench.testbeds.sandbox.world.definition import Values, World
from bench.testbeds.sandbox.world.measures import GateResult, judge, measure

MAP = "world/map.txt"
_Result = TypeVar("_Result")


class Verdict(NamedTuple):
    """What became of a candidate."""

    passed: bool
    overall: float
    duration_ms: int


def build_candidate(run_dir: Path, world: World, values: Values, seed: int) -> Verdict:
    """Draw the candidate's maps, measure them and judge them; the verdict is the last file to be written."""
    started, began = _now(), time.monotonic()
    parameters = world.parameters(values)
    stages: list[dict[str, Any]] = []
    maps: list[Grid] = _stage(stages, "generate", lambda: _maps(parameters, seed))
    output = _write_map(run_dir / MAP, maps[0])
    stages[0]["outputs"] = [output]
    measured = _stage(stages, "measure", lambda: [measure(grid) for grid in maps])
    results: list[GateResult] = _stage(stages, "validate", lambda: judge(world.gates, measured))
    failed = [result.gate.name for result in results if not result.passed]
    stages[-1] |= {
        "status": "failed" if failed else "success",
        "metadata": {"gates": [_gate_document(result) for result in results]},
        "errors": [f"Gate {name!r} failed" for name in failed],
    }
    write_json(run_dir / "manifest.json", _manifest(world, parameters, seed, started, stages, output))
    verdict = Verdict(
        not failed, round(sum(result.score for result in results) / len(results), 4), _ms(time.monotonic() - began)
    )
    write_json(run_dir / "verdict" / "gate_verdict.json", _verdict_document(run_dir, world, verdict, failed, started))
    return verdict


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write an indented JSON document, its directory too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n")


def _maps(parameters: dict[str, Any], seed: int) -> list[Grid]:
    """Several maps, because one good map may be luck."""
    cave = CaveParameters(size=parameters["layout"]["size"], **parameters["cave"])
    return [cave_map(cave, seed + number) for number in range(parameters["layout"]["maps"])]


def _stage(stages: list[dict[str, Any]], name: str, work: Callable[[], _Result]) -> _Result:
    started, began = _now(), time.monotonic()
    result = work()
    stages.append(
        {
            "id": name,
            "status": "success",
            "started_at": started,
            "duration_ms": _ms(time.monotonic() - began),
            "outputs": [],
            "metadata": {},
            "errors": [],
            "optional": False,
        }
    )
    return result


def _write_map(path: Path, grid: Grid) -> dict[str, Any]:
    text = "".join("".join("#" if cell else "." for cell in row) + "\n" for row in grid)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return {"path": MAP, "sha256": hashlib.sha256(text.encode()).hexdigest(), "size_bytes": len(text)}


def _gate_document(result: GateResult) -> dict[str, Any]:
    gate, measure_name, low, high = result.gate
    found = f"{measure_name} {result.value:.3f}, wanted {low:g} to {high:g}"
    return {
        "gate": gate,
        "passed": result.passed,
        "exit_code": 0 if result.passed else 1,
        "verdict": "pass" if result.passed else "fail",
        "verdict_reason": None if result.passed else found,
    }


def _manifest(
    world: World,
    parameters: dict[str, Any],
    seed: int,
    started: str,
    stages: list[dict[str, Any]],
    output: dict[str, Any],
) -> dict[str, Any]:
    document = world.document
    stamp = datetime.fromisoformat(started).strftime("%Y%m%dT%H%M%SZ")
    return {
        "schema_version": "1.0",
        "world_id": world.world_id,
        "world_config_id": document["world_config_id"],
        "world_version": document["version"],
        "run_id": f"world_{world.world_id}_seed{seed}_{stamp}",
        "created_at": started,
        "generator": document["generator"],
        "determinism": {**document["build"]["determinism"], "seed": seed},
        "versions": {"python_version": platform.python_version()},
        "parameters": parameters,
        "stages": stages,
        "final_outputs": [output],
    }


def _verdict_document(run_dir: Path, world: World, verdict: Verdict, failed: list[str], started: str) -> dict[str, Any]:
    return {
        "schema_version": "1.0",
        "run_id": run_dir.name,
        "asset_id": world.world_id,
        "gate_config_id": f"world_validate_{world.world_id}",
        "verdict": "pass" if verdict.passed else "fail",
        "verdict_reason": "All gates passed" if verdict.passed else f"Gate failures: {', '.join(failed)}",
        "scores": {"overall": verdict.overall, "by_critic": {}},
        "failures": {"hard": [], "soft": []},
        "timing": {"started_at": started, "completed_at": _now(), "duration_ms": verdict.duration_ms},
        "artifacts": {"manifest_path": str(run_dir / "manifest.json"), "render_dir": str(run_dir / "world")},
        "next_actions": [],
    }


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _ms(seconds: float) -> int:
    return round(1000 * seconds)
