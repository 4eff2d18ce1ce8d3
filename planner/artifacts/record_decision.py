"""Writing a decision into a run's documents: ``planner`` in manifest.json and rollout.json.

docs/kernel-contract.md, section 3, has these documents.

A kernel calls :func:`record` once the manifest is there, and again when the rollout is.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson

from planner.contracts.document import validate
from planner.contracts.kernel import ExecutedPlan, PlannerAction, PlannerInput
from planner.errors import ArtifactError
from planner.files import write_atomically


def record(
    manifest: Path,
    *,
    planner_input: Mapping[str, Any],
    planner_action: Mapping[str, Any],
    executed_plan: Mapping[str, Any],
) -> None:
    """Put the three documents into ``manifest["planner"]``, and ``rollout["planner"]`` if a rollout lies beside it.

    Each file is replaced in one step and keeps everything else that it holds. Nothing is written when a document
    breaks its contract (ContractError) or a file cannot be read as a JSON object (ArtifactError).
    """
    section: dict[str, Any] = {}
    for name, model, document in (
        ("planner_input", PlannerInput, planner_input),
        ("planner_action", PlannerAction, planner_action),
        ("executed_plan", ExecutedPlan, executed_plan),
    ):
        validate(model, document, name)
        section[name] = document
    rollout = manifest.with_name("rollout.json")
    paths = [manifest, *([rollout] if rollout.exists() else [])]
    contents = [_with_section(path, section) for path in paths]
    for path, content in zip(paths, contents, strict=True):
        write_atomically(path, content)


def _with_section(path: Path, section: dict[str, Any]) -> bytes:
    try:
        document = orjson.loads(path.read_bytes())
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read: {error.strerror}; record a decision after its manifest") from None
    except orjson.JSONDecodeError as error:
        raise ArtifactError(f"{path}: not JSON: {error}; nothing was recorded") from None
    if not isinstance(document, dict):
        raise ArtifactError(f"{path}: expected an object, found {type(document).__name__}; nothing was recorded")
    known = document.get("planner")
    document["planner"] = {**(known if isinstance(known, dict) else {}), **section}
    return orjson.dumps(document, option=orjson.OPT_INDENT_2)
