"""The schemas of what `--json` prints, ``schemas/command_NAME.v1.json``, made from the results' types.

python -m planner.commands.result_schemas    writes them
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import orjson
from pydantic import TypeAdapter

from bench.dispatch.report import Report
from bench.doctor.check import Check
from bench.engine.price import Price
from bench.engine.run import BenchReport
from bench.testbeds.simulation.repo import SimulatedRepo
from planner.bundle_check import BundleCheck
from planner.commands.own_records import OwnRecord
from planner.commands.repo_state import RepoState
from planner.contracts.dataset import DatasetInfo
from planner.contracts.kernel import ExecutedPlan, PlannerAction, PlannerInput
from planner.evaluation.advise import Advice
from planner.evaluation.compare import Comparison
from planner.evaluation.dataset_check import DatasetCheck
from planner.evaluation.evaluate import Evaluation
from planner.evaluation.regret_report import RegretReport
from planner.failed_command import Failure
from planner.options import Setting
from planner.runs.checkpoint import CalibrationDocument, RunState
from tune.ablate import Ablation
from tune.search import SearchResult


@dataclass
class WrittenDataset:
    """`dataset build` and `relabel`."""

    path: str
    dataset: DatasetInfo


@dataclass
class TrainedRun:
    """`train`."""

    run: str
    state: RunState


@dataclass
class CalibratedRun:
    """`calibrate`."""

    run: str
    calibration: CalibrationDocument


@dataclass
class WrittenBundle:
    """`export`; the metadata are those of the bundle."""

    bundle: str
    metadata: dict[str, Any]


@dataclass
class BundleChecks:
    """`bundle check`."""

    checks: list[BundleCheck]


@dataclass
class MachineChecks:
    """`bench --doctor`."""

    checks: list[Check]


@dataclass
class Decided:
    """`decide`; the context where it was built from a repo's issue."""

    planner_action: PlannerAction
    executed_plan: ExecutedPlan
    planner_input: PlannerInput | None = None


@dataclass
class Settings:
    """`config show`: command -> option -> its value here, and where that comes from."""

    settings: dict[str, dict[str, Setting]]


@dataclass
class Dispatched(Report):
    """`run` and `evolve`."""

    runs: int = 0
    is_complete: bool = False


@dataclass(frozen=True)
class WrittenSimulation(SimulatedRepo):
    """`simulate`."""

    repo: str = ""


@dataclass
class WrittenSandbox:
    """`sandbox create`."""

    repo: str
    issues: int
    worlds: int
    runs: int


@dataclass
class Directory:
    """`sandbox tools`."""

    directory: str


@dataclass
class SetAside:
    """A record that a report could not read."""

    path: str
    reason: str


@dataclass
class WrittenReport:
    """`report`."""

    report: str
    bytes: int
    answer: str
    next_steps: list[str]
    set_aside: list[SetAside]


@dataclass
class Quickstarted:
    """`quickstart`; the results are those of `evaluate --bench`."""

    directory: str
    answer: str
    results: RegretReport


@dataclass
class Listed:
    """`ls`."""

    records: list[OwnRecord]


@dataclass
class Left:
    """What `clean` leaves though it is old, and why."""

    path: str
    reason: str


@dataclass
class Cleaned:
    """`clean`."""

    deleted: bool
    records: list[OwnRecord]
    left: list[Left]


@dataclass
class Shown:
    """`show`; the record is what stands there."""

    kind: Literal["trained run", "case", "execution", "example", "run", "issue"]
    id: str
    where: str
    planner_input: PlannerInput | None
    record: dict[str, Any]


@dataclass
class Explained:
    """`explain`: word -> its meaning."""

    terms: dict[str, str]


@dataclass
class WrittenTables:
    """`export-table`: file -> its rows, and why launches are no trials -> how many."""

    directory: str
    rows: dict[str, int]
    left_out: dict[str, int]


COMMANDS: dict[str, type] = {
    "explain": Explained,
    "status": RepoState,
    "ls": Listed,
    "show": Shown,
    "clean": Cleaned,
    "quickstart": Quickstarted,
    "dataset_build": WrittenDataset,
    "dataset_check": DatasetCheck,
    "advise": Advice,
    "train": TrainedRun,
    "tune": SearchResult,
    "calibrate": CalibratedRun,
    "evaluate": Evaluation,
    "evaluate_bench": RegretReport,
    "compare": Comparison,
    "ablate": Ablation,
    "bench": BenchReport,
    "bench_dry_run": Price,
    "bench_doctor": MachineChecks,
    "relabel": WrittenDataset,
    "report": WrittenReport,
    "export_table": WrittenTables,
    "export": WrittenBundle,
    "bundle_check": BundleChecks,
    "decide": Decided,
    "run": Dispatched,
    "evolve": Dispatched,
    "simulate": WrittenSimulation,
    "sandbox_create": WrittenSandbox,
    "sandbox_tools": Directory,
    "config_show": Settings,
    "error": Failure,
}
"""Name of a result -> its type, in the order of the work; at the end what every command prints that fails."""
DECIDE = "decide"
"""Its result is always JSON, as its callers know it; the documents in it have versions of their own."""
BESIDE = {"Row": "numbers", "PolicyScore": "others", "RegretReport": "account"}
"""Type -> its mapping whose entries JSON has beside the type's own fields."""
_BUDGETS = {"type": "object", "additionalProperties": {"type": ["integer", "string"]}}
_ACTION = {
    "type": "object",
    "required": ["swarm_id", "budgets"],
    "properties": {"swarm_id": {"type": "string"}, "budgets": _BUDGETS},
}
ALSO: dict[str, dict[str, Any]] = {
    "Verdict": {"action": _ACTION, "equals": {"type": "array", "items": _ACTION}},
    "DatasetCheck": {"enough": {"type": "boolean"}},
    "Agreement": {"ceiling": {"type": "array", "items": {"type": "number"}}},
}
"""Type -> what its JSON has besides its fields, or in the place of some."""


def command_schema(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of what the command called ``name`` prints with --json.

    A number is null where it cannot be known: JSON has neither infinity nor nan.
    """
    kind = COMMANDS[name]
    schema = TypeAdapter(kind).json_schema(mode="serialization")
    parts: dict[str, Any] = {**schema.get("$defs", {}), kind.__name__: schema}
    for part, mapping in BESIDE.items():
        if part in parts and mapping in parts[part].get("properties", {}):
            del parts[part]["properties"][mapping]
            parts[part]["required"] = [one for one in parts[part]["required"] if one != mapping]
            parts[part]["additionalProperties"] = True
    for part, more in ALSO.items():
        if part in parts:
            parts[part]["properties"] |= more
            parts[part]["required"] = list(dict.fromkeys([*parts[part].get("required", []), *more]))
    if name != DECIDE:
        schema["properties"] = {"schema_version": {"const": f"planner.{name}.v1"}} | schema["properties"]
        schema["required"] = ["schema_version", *schema.get("required", [])]
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": f"cyntra:command_{name}.v1"}
    return _each({**head, **schema}, _or_null)


def write_schemas(directory: Path) -> None:
    """Write every schema as ``directory/command_NAME.v1.json``."""
    for name in COMMANDS:
        text = orjson.dumps(command_schema(name), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        (directory / f"command_{name}.v1.json").write_bytes(text)


def _each(node: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    if isinstance(node, Mapping):
        return change({key: _each(value, change) for key, value in node.items()})
    return [_each(value, change) for value in node] if isinstance(node, list) else node


def _or_null(node: dict[str, Any]) -> dict[str, Any]:
    return {**node, "type": ["number", "null"]} if node.get("type") == "number" else node


if __name__ == "__main__":
    write_schemas(Path(__file__).parents[2] / "schemas")
