"""Versions of a document: the one that this program knows, and a step towards it from every other that it can read.

Our own formats are listed here; those of Cyntra's documents in planner/artifacts/versions.py; the ledger's, which are
steps in SQL, in bench/ledger_versions.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from planner.errors import ContractError

Step = Callable[[dict[str, Any]], dict[str, Any]]
"""From a document of one version to the same document of the next; the argument is left as it is."""
VERSION_KEY = "schema_version"


@dataclass(frozen=True)
class Format:
    """One kind of document.

    To change a format: raise ``current`` and add the step from the version that was current to ``steps``. Steps may
    also lead back, from a later version to ``current``, where a later writer's documents can be read in part.
    """

    name: str
    current: str
    """What the key ``schema_version`` of the documents that we write says."""
    steps: dict[str, Step] = field(default_factory=dict, compare=False)
    """Version -> the step to the next; each step sets ``schema_version``."""
    unversioned: str | None = None
    """The version of documents that do not say any; None where all do."""

    def upgraded(self, document: Any, source: str) -> Any:
        """``document`` as its current version says it; ContractError for a version from which no step leads there.

        What is no document of any version, for instance no mapping, is returned as it is: validation names its defect.
        """
        if not isinstance(document, Mapping):
            return document
        passed: set[str] = set()
        if self.unversioned is not None and VERSION_KEY not in document:
            document = {VERSION_KEY: self.unversioned, **document}
        while isinstance(version := document.get(VERSION_KEY), str) and version != self.current:
            step = self.steps.get(version)
            if step is None or version in passed:
                raise ContractError(
                    source,
                    f"$.{VERSION_KEY}",
                    f"{version!r} is no version of {self.name} that this program reads (it reads "
                    f"{', '.join([self.current, *sorted(self.steps)])}): take a version of the planner that does",
                )
            passed.add(version)
            document = step(dict(document))
        return document


DATASET = Format("dataset.json", "cyntra.planner_dataset.v1")
RUN = Format("run.json", "cyntra.planner_run.v1", unversioned="cyntra.planner_run.v1")
POLICY = Format("policy.json", "cyntra.planner_policy.v1", unversioned="cyntra.planner_policy.v1")
CALIBRATION = Format("calibration.json", "cyntra.planner_calibration.v1", unversioned="cyntra.planner_calibration.v1")
BUNDLE = Format("a bundle's metadata.json", "cyntra.planner_bundle.v1")
"""The first runs did not say their version: what says none is of version 1."""
