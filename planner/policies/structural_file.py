"""A structural model as two files that a runtime reads with numpy alone: its numbers, and what they are about.

structural.npz    the cases, and of each process its variances, weights and precision
structural.json   vocabulary, kernels, calibration, plans, gates, and the scores where a gate is shut
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray

from planner.actions import ActionSpace
from planner.policies.case_effects import CaseIndex, Columns, EffectPosterior, EffectProcess
from planner.policies.case_kernel import Cases
from planner.policies.case_posterior import CasePosterior, Posterior
from planner.policies.case_vocabulary import CaseVocabulary
from planner.policies.gaussian_processes import Process
from planner.policies.latent_calibration import LatentCalibration
from planner.policies.questions import question_of
from planner.policies.readings import by_utility, settled
from planner.policies.structural import MODES, Mode, StructuralModel
from planner.policies.trial_draws import Residuals
from planner.policies.trial_plans import CODE, plans_of_rule, plans_of_space, scores_of_rule
from planner.scoring.plan_outcome import Plan
from planner.scoring.utility import LIMIT_MINUTES, Metrics, recorded_metrics

Array: TypeAlias = NDArray[np.float64]
NUMBERS, ABOUT = "structural.npz", "structural.json"
_CASES = ("tool", "issue", "group", "size", "text")
_PROCESS = ("variances", "weights", "precision")
_EFFECTS = ("variances", "effects", "spread", "scores", "information")
_COLUMNS = ("n_tools", "of_group", "of_pair", "n_words")


@dataclass(frozen=True)
class StructuralDecider:
    """What a bundle decides with: gated utilities of every valid action of a context."""

    model: StructuralModel
    plans: tuple[Plan, ...]
    kernel_config: dict[str, Any]
    metrics: Metrics
    is_open: dict[Mode, bool]
    keeps_rule: bool
    """Whether a shut gate leaves the choice to today's rule."""
    fixed: Array
    """Scores of the plans where the gate is shut and today's rule not kept, (plans,)."""
    label_shares: dict[str, Array]
    """Of job types other than code, scores of their valid actions."""

    def scores(self, context: Mapping[str, Any], space: ActionSpace) -> Array:
        """Of the valid actions of the context's job type, (n_valid,)."""
        job_type = context["job_type"]
        if job_type != CODE:
            return self.label_shares.get(job_type, np.zeros(len(space.valid_actions(job_type))))
        question = question_of(context, self.kernel_config)
        if not self.is_open[self.model.mode_of(question.subject)]:
            if self.keeps_rule:
                return scores_of_rule(plans_of_rule([context], space, self.kernel_config), len(self.plans))[0]
            return self.fixed
        return settled(by_utility(LIMIT_MINUTES, self.metrics)(self.model.values([question], self.plans)))[0]


def write_decider(directory: Path, decider: StructuralDecider) -> None:
    """Write both files."""
    model = decider.model
    numbers: dict[str, Any] = {f"cases_{name}": getattr(model.cases, name) for name in _CASES}
    posterior = model.posterior
    by_effects = isinstance(posterior, EffectPosterior)
    for at, process in enumerate(posterior.processes):
        numbers |= {f"process{at}_{name}": getattr(process, name) for name in (_EFFECTS if by_effects else _PROCESS)}
    if isinstance(posterior, EffectPosterior):
        numbers |= {f"columns_{name}": getattr(posterior.columns, name) for name in _COLUMNS}
    else:
        numbers |= {f"process{at}_rows": rows for at, rows in enumerate(posterior.rows)}
    numbers |= {"passing": model.residuals.passing, "failing": model.residuals.failing, "fixed": decider.fixed}
    numbers |= {f"labels_{job_type}": shares for job_type, shares in decider.label_shares.items()}
    np.savez_compressed(directory / NUMBERS, **numbers)
    about = {
        "vocabulary": model.vocabulary.to_document(),
        "kernels": list(posterior.names),
        "by_effects": by_effects,
        "levels": [[process.constant, process.offset] for process in posterior.processes],
        "calibration": {mode: [asdict(one) for one in model.calibration[mode]] for mode in MODES},
        "open": decider.is_open,
        "keeps_rule": decider.keeps_rule,
        "metrics": [list(metric) for metric in decider.metrics],
        "label_shares": sorted(decider.label_shares),
    }
    (directory / ABOUT).write_bytes(orjson.dumps(about, option=orjson.OPT_INDENT_2))


def read_decider(directory: Path, space: ActionSpace, kernel_config: dict[str, Any]) -> StructuralDecider:
    """What :func:`write_decider` wrote; OSError, ValueError or KeyError when that is not so."""
    about = orjson.loads((directory / ABOUT).read_bytes())
    with np.load(directory / NUMBERS, allow_pickle=False) as numbers:
        cases = Cases(**{name: numbers[f"cases_{name}"] for name in _CASES})
        posterior = _read_posterior(about, numbers, cases)
        residuals = Residuals(numbers["passing"], numbers["failing"])
        fixed = numbers["fixed"]
        shares = {job_type: numbers[f"labels_{job_type}"] for job_type in about["label_shares"]}
    calibration: dict[Mode, tuple[LatentCalibration, ...]] = {
        mode: tuple(LatentCalibration(**one) for one in about["calibration"][mode]) for mode in MODES
    }
    model = StructuralModel(
        CaseVocabulary.from_document(about["vocabulary"]),
        cases,
        posterior,
        calibration,
        residuals,
    )
    plans = tuple(plans_of_space(space, kernel_config))
    metrics = recorded_metrics(about["metrics"])
    keeps_rule = bool(about.get("keeps_rule", False))  # bundles of an earlier program never did
    return StructuralDecider(model, plans, kernel_config, metrics, about["open"], keeps_rule, fixed, shares)


def _read_posterior(about: Mapping[str, Any], numbers: Mapping[str, Any], cases: Cases) -> Posterior:
    names, levels = tuple(about["kernels"]), about["levels"]
    if not about.get("by_effects", False):
        processes = tuple(
            Process(constant=constant, offset=offset, **{name: numbers[f"process{at}_{name}"] for name in _PROCESS})
            for at, (constant, offset) in enumerate(levels)
        )
        return CasePosterior(names, processes, tuple(numbers[f"process{at}_rows"] for at in range(len(levels))))
    columns = Columns(
        names,
        n_tools=int(numbers["columns_n_tools"]),
        of_group=numbers["columns_of_group"],
        of_pair=numbers["columns_of_pair"],
        n_words=int(numbers["columns_n_words"]),
    )
    effects = tuple(
        EffectProcess(constant=constant, offset=offset, **{name: numbers[f"process{at}_{name}"] for name in _EFFECTS})
        for at, (constant, offset) in enumerate(levels)
    )
    return EffectPosterior(columns, CaseIndex.of(cases, columns.n_tools), effects)
