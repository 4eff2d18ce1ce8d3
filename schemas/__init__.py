"""JSON Schemas (2020-12) of every document that enters or leaves the planner, loaded by name.

``python -m planner.contracts.schemas`` writes the files from the models there; a test keeps both equal.
"""

from functools import cache
from importlib.resources import files
from typing import Any

import orjson


@cache
def load_schema(name: str) -> dict[str, Any]:
    """The schema called ``name``, for instance ``planner_input.v1``; raises FileNotFoundError for an unknown name."""
    return orjson.loads((files(__package__) / f"{name}.json").read_bytes())


def schema_names() -> list[str]:
    """Every schema's name, sorted."""
    return sorted(f.name.removesuffix(".json") for f in files(__package__).iterdir() if f.name.endswith(".json"))
