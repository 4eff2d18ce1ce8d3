"""The JSON Schemas in ``schemas/``, made from the models.

python -m planner.contracts.schemas    writes them
"""

from pathlib import Path
from typing import Any

import orjson

from planner.contracts.bench import BenchCase, BenchExecution
from planner.contracts.dataset import DatasetInfo
from planner.contracts.document import Document
from planner.contracts.kernel import ExecutedPlan, PlannerAction, PlannerInput, RunSummary

SCHEMAS: dict[str, type[Document]] = {
    "planner_input.v1": PlannerInput,
    "planner_action.v1": PlannerAction,
    "executed_plan.v1": ExecutedPlan,
    "run_summary.v1": RunSummary,
    "bench_case.v1": BenchCase,
    "bench_execution.v1": BenchExecution,
    "dataset.v1": DatasetInfo,
}


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema (2020-12) of the document called ``name``, made from its model."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"cyntra:{name}",
        **SCHEMAS[name].model_json_schema(),
    }


def write_schemas(directory: Path) -> None:
    """Write every schema as ``directory/NAME.json``."""
    for name in SCHEMAS:
        text = orjson.dumps(schema_of(name), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
        (directory / f"{name}.json").write_bytes(text)


if __name__ == "__main__":
    write_schemas(Path(__file__).parents[2] / "schemas")
