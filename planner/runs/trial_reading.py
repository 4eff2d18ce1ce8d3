"""From what a trial head believes to actions: plans by the rule that values all plans, read by utility, with a gate.

The gate is judged on validation, which training learned nothing from but when to stop: where following the network was
not shown to pay there, the plan that fared best on average is taken, or today's rule where only logs are known.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from planner.actions import ActionSpace
from planner.encoding.inputs import Inputs
from planner.encoding.subject import subject_of
from planner.errors import CheckpointError
from planner.files import write_atomically
from planner.models.trial_head import TrialBeliefs
from planner.policies.gains import log_probs_of
from planner.policies.questions import Question, question_of
from planner.policies.readings import Gate, Reference, by_utility, settled
from planner.policies.structural import Mode
from planner.policies.trial_draws import DRAWS, Draws, Latents, Residuals, expected_plans, normal_quantiles
from planner.policies.trial_plans import CODE, plans_of_rule, plans_of_space, scores_of_rule
from planner.scoring.episodes import PlanSequence, runs_of
from planner.scoring.plan_outcome import Plan, PlanOutcomes
from planner.scoring.utility import LIMIT_MINUTES, recorded_metrics

Array: TypeAlias = NDArray[np.float64]
READING_FILE = "trial_reading.json"
STANDARD = Residuals(normal_quantiles(DRAWS), normal_quantiles(DRAWS))
"""Of log times in deviations."""


class GateDocument(BaseModel):
    """Whether the network is followed, as planner.policies.readings.Gate says it; None where nothing could be
    compared."""

    open: bool
    over: Reference
    gain: float | None
    error: float | None
    doubt: float | None
    cases: int

    @classmethod
    def of(cls, gate: Gate) -> "GateDocument":
        """A gate as it is stored."""
        gain, error, doubt = (value if math.isfinite(value) else None for value in (gate.gain, gate.error, gate.doubt))
        return cls(open=bool(gate.open), over=gate.over, gain=gain, error=error, doubt=doubt, cases=gate.cases)

    @property
    def sentence(self) -> str:
        """The same in words."""
        if self.gain is None or self.error is None:
            return f"nothing to compare with {self.over} on validation: gate shut, {self.over} is kept"
        state = "open: the network is followed" if self.open else f"shut: {self.over} is kept"
        doubt = f" and {self.doubt:.4f} by which it may be wrong about what was run" if self.doubt else ""
        return (
            f"{self.gain:+.4f} utility over {self.over} on {self.cases} cases of validation, less an error of "
            f"{self.error:.4f}{doubt}; gate {state}"
        )


class ReadingDocument(BaseModel):
    """trial_reading.json, beside a checkpoint's weights: what besides beliefs decides."""

    model_config = ConfigDict(extra="allow")  # what a later program adds is kept

    schema_version: Literal["cyntra.planner_trial_reading.v1"] = "cyntra.planner_trial_reading.v1"
    metrics: list[tuple[str, str]]
    """Of the objective by which outcomes were judged."""
    gates: dict[Mode, GateDocument]
    keeps_rule: bool
    """Whether a shut gate leaves the choice to today's rule."""
    fixed: list[float]
    """Mean worth of each valid code action, which decides where a gate is shut and today's rule not kept."""
    known_issues: list[str]
    """Issues whose trials were learned from: the others are new."""
    label_shares: dict[str, list[float]]
    """Of job types other than code: how often train's labels chose each valid action."""


def foreseen_plans(
    beliefs: TrialBeliefs, questions: Sequence[Question], tools: Sequence[str], plans: Sequence[Plan | PlanSequence]
) -> PlanOutcomes:
    """Expected outcomes (n, plans) of plans on n questions, one for each row of ``beliefs``; minutes are of budget.

    ``tools`` are those of the beliefs; of any other one is believed what is of an unknown tool.
    """
    place = {tool: at for at, tool in enumerate(tools)}
    logits, means, deviations, issue = (part.detach().cpu().double().numpy() for part in beliefs)
    sequences = [runs_of(plan) for plan in plans]
    most = max(plan.lanes for runs in sequences for plan in runs)
    attempts = max(sum(plan.attempts for plan in runs) for runs in sequences)
    found = PlanOutcomes(*(np.empty((len(questions), len(plans))) for _ in range(3)))
    groups: dict[tuple[int, int], list[int]] = {}
    for row, question in enumerate(questions):
        lanes = question.lanes(most)
        groups.setdefault((lanes, 1 if question.repeats else lanes), []).append(row)
    for (lanes, n_tools), rows in groups.items():
        at = np.array([[place.get(tool, len(tools)) for tool in questions[row].tools[:n_tools]] for row in rows])
        part = np.array(rows)[:, None]
        covariance = np.zeros((3, len(rows), n_tools, n_tools))
        # How hard an issue is beyond what can be seen is the same for all its tools.
        covariance[0] = issue**2
        latents = Latents(
            np.stack([logits[part, at], means[part, at, 0], means[part, at, 1]]),
            covariance,
            np.exp(np.moveaxis(deviations[part, at], -1, 0)),
        )
        allowed = [tuple(plan._replace(lanes=min(plan.lanes, lanes)) for plan in runs) for runs in sequences]
        outcomes = expected_plans(latents, Draws.make(STANDARD, lanes, attempts), allowed)
        for whole, values in zip(found, outcomes, strict=True):
            whole[rows] = values
    return found


class TrialReading:
    """How one policy's beliefs become scores of actions."""

    def __init__(
        self, space: ActionSpace, tools: Sequence[str], kernel_config: Mapping[str, Any], document: ReadingDocument
    ) -> None:
        self.document = document
        self._space, self._tools, self._kernel_config = space, tuple(tools), kernel_config
        self._plans = plans_of_space(space, kernel_config)
        self._worth = by_utility(LIMIT_MINUTES, recorded_metrics(document.metrics))
        self._known = frozenset(document.known_issues)

    def values(self, beliefs: TrialBeliefs, contexts: Sequence[Mapping[str, Any]]) -> PlanOutcomes:
        """What the network expects of every valid plan of code contexts, (n, n_valid)."""
        return foreseen_plans(beliefs, self._questions(contexts), self._tools, self._plans)

    def utilities(self, beliefs: TrialBeliefs, contexts: Sequence[Mapping[str, Any]]) -> Array:
        """The gated utilities of every valid plan of code contexts, (n, n_valid)."""
        found = settled(self._worth(self.values(beliefs, contexts)))
        modes: list[Mode] = ["known" if subject_of(one).issue_id in self._known else "new" for one in contexts]
        shut = np.array([not self.document.gates[mode].open for mode in modes], dtype=bool)
        if self.document.keeps_rule:
            rule = plans_of_rule(contexts, self._space, self._kernel_config)
            kept = scores_of_rule(rule, len(self._plans))
        else:
            kept = np.broadcast_to(np.array(self.document.fixed), found.shape)
        return np.where(shut[:, None], kept, found)

    def log_probs(self, beliefs: TrialBeliefs, inputs: Inputs) -> Array:
        """Log-probabilities over ``space.tuples``, (n, n_tuples): a softmax of utilities, of other jobs by train's
        labels."""
        space = self._space
        found = np.full((len(inputs), len(space.tuples)), -np.inf)
        for job_type in np.unique(inputs.job_types).tolist():
            rows = np.flatnonzero(inputs.job_types == job_type)
            part, n_valid = inputs.take(rows), len(space.valid_actions(job_type))
            if job_type == CODE:
                scores = self.utilities(_of_rows(beliefs, rows), part.contexts())
            else:
                shares = np.array(self.document.label_shares.get(job_type, [0.0] * n_valid))
                scores = np.broadcast_to(shares, (len(rows), n_valid))
            columns = space.tuple_rows(space.valid_indices(job_type))
            found[np.ix_(rows, columns)] = log_probs_of(scores, part, space, job_type)
        return found

    def _questions(self, contexts: Sequence[Mapping[str, Any]]) -> list[Question]:
        return [question_of(context, self._kernel_config) for context in contexts]


def _of_rows(beliefs: TrialBeliefs, rows: NDArray[np.intp]) -> TrialBeliefs:
    return TrialBeliefs(*(part if part.ndim == 0 else part[rows] for part in beliefs))


def read_reading(checkpoint: Path) -> ReadingDocument:
    """trial_reading.json of a checkpoint; CheckpointError when its training has not ended."""
    path = checkpoint / READING_FILE
    try:
        return ReadingDocument.model_validate(orjson.loads(path.read_bytes()))
    except OSError:
        raise CheckpointError(
            f"{checkpoint}: no {READING_FILE}: its training has not ended: the command that began it goes on"
        ) from None
    except (orjson.JSONDecodeError, ValidationError) as error:
        raise CheckpointError(f"{path}: broken: {str(error).splitlines()[0]}") from None


def write_reading(checkpoint: Path, document: ReadingDocument) -> None:
    """Put trial_reading.json beside a checkpoint's weights."""
    write_atomically(checkpoint / READING_FILE, orjson.dumps(document.model_dump(), option=orjson.OPT_INDENT_2))
