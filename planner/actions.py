"""The finite action space as data: enums, bins, validity rules, masks, and joint decoding over the valid tuples."""

from __future__ import annotations

import itertools
import math
from collections import namedtuple
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from planner.contracts.document import Bin, accept
from planner.contracts.kernel import ActionSpaceDocument
from planner.dimensions import DIMENSIONS
from planner.errors import ActionError, ContractError
from planner.lazy_numpy import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    class _Values(NamedTuple):
        swarm_id: str
        max_candidates_bin: Bin
        max_minutes_bin: Bin
        max_iterations_bin: Bin

else:
    # The same, with the table's further dimensions, which have defaults.
    _Values = namedtuple(
        "_Values",
        [dimension.name for dimension in DIMENSIONS],
        defaults=[dimension.default for dimension in DIMENSIONS if dimension.default is not None],
    )


class Action(_Values):
    """One decision. Its fields are the heads, one for each dimension, in the order used everywhere."""

    __slots__ = ()

    def __str__(self) -> str:
        budgets = [f"{d.short}={value}" for d, value in zip(DIMENSIONS[1:], self[1:], strict=True)]
        return " ".join([self.swarm_id, *budgets])


HEADS: tuple[str, ...] = Action._fields
FALLBACK = Action(*(dimension.fallback for dimension in DIMENSIONS))
"""What is run when nothing at all is known."""

MAX_WORK = 20_000_000
"""Tuples of bins times the length of the space's JSON: a second of work at most; Cyntra's own space takes 0.2."""

DEFAULT_RULES: tuple[dict[str, Any], ...] = (
    {
        "description": "If swarm_id=serial_handoff, then max_candidates_bin=1.",
        "if": {"swarm_id": "serial_handoff"},
        "then": {"max_candidates_bin": 1},
    },
    {
        "description": 'If job_type="code", then max_iterations_bin="NA".',
        "if": {"job_type": "code"},
        "then": {"max_iterations_bin": "NA"},
    },
    {
        "description": 'If job_type="fab-world", then max_candidates_bin!="NA".',
        "if": {"job_type": "fab-world"},
        "then": {"max_candidates_bin_not": "NA"},
    },
)


@dataclass(frozen=True)
class ActionSpace:
    """Enums and bins of the heads, and the rules that make a tuple valid for a job type."""

    values: tuple[tuple[Any, ...], ...]
    """The values of each head, in the order of HEADS."""
    rules_json: str
    """The validity rules as JSON text, so that a space can be a key."""

    @classmethod
    def default(cls, swarm_ids: Iterable[str]) -> ActionSpace:
        """Cyntra's bins and rules with the swarms of a universe's catalogue (sorted, as the kernel does)."""
        return cls.from_document(
            {
                **{dimension.names: list(dimension.bins) for dimension in DIMENSIONS},
                "swarm_ids": sorted(swarm_ids),
                "validity_rules": list(DEFAULT_RULES),
            }
        )

    @classmethod
    def from_document(cls, document: Mapping[str, Any], source: str = "action_space") -> ActionSpace:
        """The space inside a planner_input; ContractError or ActionError when it is malformed."""
        try:
            return _space_from_json(_dumps(document))
        except ContractError as error:
            raise ContractError(source, error.path, error.reason) from None
        except ActionError as error:
            raise ActionError(f"{source}: {error}") from None

    @classmethod
    def union(cls, spaces: Sequence[ActionSpace]) -> ActionSpace:
        """The smallest space that holds all ``spaces``; rules are joined in order of appearance."""
        if not spaces:
            raise ActionError("no action space to join: pass at least one context")
        rules = {_dumps(rule): rule for space in spaces for rule in space.validity_rules}
        return cls.from_document(
            {
                **{
                    dimension.names: sorted(
                        {value for space in spaces for value in space.bins(dimension.name)},
                        key=_bin_order if dimension.kind == "budget" else str,
                    )
                    for dimension in DIMENSIONS
                },
                "validity_rules": list(rules.values()),
            }
        )

    @cached_property
    def validity_rules(self) -> list[dict[str, Any]]:
        """The rules, each ``{description, if, then}``."""
        return orjson.loads(self.rules_json)

    def to_document(self) -> dict[str, Any]:
        """The space as a planner_input holds it."""
        bins = {dimension.names: list(self.bins(dimension.name)) for dimension in DIMENSIONS}
        return {**bins, "validity_rules": self.validity_rules}

    @property
    def swarm_ids(self) -> tuple[str, ...]:
        """The swarms."""
        return self.bins("swarm_id")

    def bins(self, head: str) -> tuple[Any, ...]:
        """The values of ``head``, in order."""
        return self.values[HEADS.index(head)]

    @property
    def widths(self) -> tuple[int, ...]:
        """How many values each head has, in the order of HEADS."""
        return tuple(len(self.bins(head)) for head in HEADS)

    def index(self, action: Action) -> tuple[int, ...]:
        """The position of each of the action's values in its head; ActionError when one is not in the space."""
        positions = []
        for head, value in zip(HEADS, action, strict=True):
            try:
                positions.append(self.bins(head).index(value))
            except ValueError:
                raise ActionError(
                    f"{head} {value!r} is not in the action space {list(self.bins(head))}: "
                    "choose one of these, or add it to the universe's catalogue"
                ) from None
        return tuple(positions)

    def action(self, positions: Sequence[int]) -> Action:
        """The action at these positions in the heads."""
        return Action(*(self.bins(head)[at] for head, at in zip(HEADS, positions, strict=True)))

    def is_valid(self, action: Action, job_type: str) -> bool:
        """Whether every value is in the space and every rule holds for a job of this type."""
        return action in self._valid_set(job_type)

    def valid_actions(self, job_type: str) -> tuple[Action, ...]:
        """Every valid tuple for ``job_type``, in a fixed order (heads' order, first head slowest)."""
        return _valid_actions(self, job_type)

    def valid_indices(self, job_type: str) -> NDArray[np.int64]:
        """The valid tuples as positions in their heads, shape (n_valid, heads)."""
        return _valid_indices(self, job_type)

    def masks(self, job_type: str) -> tuple[NDArray[np.bool_], ...]:
        """Per head, the values that occur in at least one valid tuple, each of shape (width,)."""
        return _masks(self, job_type)

    @property
    def tuples(self) -> NDArray[np.int64]:
        """What a joint head chooses from: every tuple that is valid for some job type, as positions in the heads.

        Shape (n_tuples, heads), in the order of valid_actions, which for any job type is a part of it.
        """
        return _tuples(self)

    def tuple_rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The row in ``tuples`` of each action (..., heads), shape (...); -1 where it is valid for no job type."""
        return _tuple_table(self)[tuple(np.moveaxis(positions, -1, 0))]

    def marginals(self, tuple_log_probs: NDArray[np.floating]) -> list[NDArray[np.float64]]:
        """Log-probabilities (..., n_tuples) over ``tuples`` as four arrays (..., width), one per head."""
        probs = np.exp(np.asarray(tuple_log_probs, dtype=np.float64))
        with np.errstate(divide="ignore"):
            return [np.log(probs @ np.eye(width)[self.tuples[:, i]]) for i, width in enumerate(self.widths)]

    def joint_log_probs(self, log_probs: Sequence[NDArray[np.floating]], job_type: str) -> NDArray[np.float64]:
        """Log-probability of every valid tuple, normalised over them.

        ``log_probs`` are those of the four heads, each of shape (..., width), or the one array (..., n_tuples) of a
        joint head; the result has shape (..., n_valid). Where they give no valid tuple any probability, all are -inf.
        """
        indices = self.valid_indices(job_type)
        if len(log_probs) == 1:
            scores = np.asarray(log_probs[0], dtype=np.float64)[..., self.tuple_rows(indices)]
        else:
            scores = sum(np.asarray(head, dtype=np.float64)[..., indices[:, i]] for i, head in enumerate(log_probs))
        top = np.max(scores, axis=-1, keepdims=True)
        top = np.where(np.isfinite(top), top, 0.0)
        total = np.sum(np.exp(scores - top), axis=-1, keepdims=True)
        return scores - top - np.log(np.where(total > 0, total, 1.0))

    def decode(self, log_probs: Sequence[NDArray[np.floating]], job_type: str) -> Action:
        """The valid tuple with the largest joint log-probability; of equals, the first in the fixed order."""
        return self.valid_actions(job_type)[int(np.argmax(self.joint_log_probs(log_probs, job_type)))]

    def _valid_set(self, job_type: str) -> frozenset[Action]:
        return _valid_set(self, job_type)


def action_from_document(document: Mapping[str, Any]) -> Action:
    """The action in a planner_action (budgets nested) or in a bench record (flat)."""
    budgets = document.get("budgets", document)
    return Action(
        *(
            (document if d.kind == "choice" else budgets)[d.name]
            if d.default is None
            else (document if d.kind == "choice" else budgets).get(d.name, d.default)
            for d in DIMENSIONS
        )
    )


def action_document(action: Action) -> dict[str, Any]:
    """The action as a planner_action holds it: choices by themselves, budgets nested."""
    values = list(zip(DIMENSIONS, action, strict=True))
    return {
        **{dimension.name: value for dimension, value in values if dimension.kind == "choice"},
        "budgets": {dimension.name: value for dimension, value in values if dimension.kind == "budget"},
    }


def executed_plan(action: Action, fallback_reason: str | None = None) -> dict[str, Any]:
    """The executed_plan.v1 of an action that ran as it stands, as a fallback when there is a reason for one."""
    return {
        "schema_version": "cyntra.executed_plan.v1",
        **{d.executed_field: d.to_executed(value) for d, value in zip(DIMENSIONS, action, strict=True)},
        "fallback_applied": fallback_reason is not None,
        "fallback_reason": fallback_reason,
    }


def executed_label(plan: Mapping[str, Any], space: ActionSpace, job_type: str) -> tuple[Action | None, str]:
    """The action that an executed plan amounts to, or None and the reason why it has no place in the space.

    A timeout that is no bin (for instance 3 seconds) gives no label: rounding it to one would invent a decision.
    """
    values = []
    for dimension in DIMENSIONS:
        found = plan[dimension.executed_field] if dimension.default is None else plan.get(dimension.executed_field)
        value = dimension.to_bin(found)
        if value is None:
            return None, "executed timeout is no whole number of minutes"
        values.append(value)
    action = Action(*values)
    if space.is_valid(action, job_type):
        return action, ""
    for head, value in zip(HEADS, action, strict=True):
        if value not in space.bins(head):
            return None, f"executed {head.removesuffix('_bin')} is not among the bins"
    return None, "executed plan breaks a validity rule"


def _bin_order(value: Bin) -> tuple[bool, int]:
    return (value == "NA", 0 if value == "NA" else int(value))


def _dumps(document: Any) -> str:
    return orjson.dumps(document, option=orjson.OPT_SORT_KEYS).decode()


@lru_cache(maxsize=1024)
def _space_from_json(text: str) -> ActionSpace:
    document = orjson.loads(text)
    known, _ = accept(ActionSpaceDocument, document, "action_space")
    values = [tuple(document[d.names] if d.default is None else document.get(d.names, [d.default])) for d in DIMENSIONS]
    space = ActionSpace(tuple(values), _dumps(known.validity_rules))
    n_tuples = math.prod(space.widths)
    if n_tuples * len(text) > MAX_WORK:
        raise ActionError(
            f"{n_tuples} tuples of bins under {len(space.validity_rules)} rules are more than can be looked through: "
            "offer fewer bins, swarms or rules"
        )
    for head in HEADS:
        if len(set(space.bins(head))) != len(space.bins(head)):
            raise ActionError(f"{head} holds a value twice: {list(space.bins(head))}")
    for rule in space.validity_rules:
        _check_rule(rule)
    return space


def _check_rule(rule: Mapping[str, Any]) -> None:
    if not isinstance(rule.get("if"), dict) or not isinstance(rule.get("then"), dict):
        raise ActionError(f"validity rule {dict(rule)} needs the mappings 'if' and 'then'")
    unknown = [key for key in rule["if"] if key not in (*HEADS, "job_type")]
    unknown += [key for key in rule["then"] if key.removesuffix("_not") not in HEADS]
    if unknown:
        raise ActionError(f"validity rule names unknown fields {unknown}; known are {[*HEADS, 'job_type']}")
    for wanted in (*rule["if"].values(), *rule["then"].values()):
        if any(isinstance(value, dict | list) for value in (wanted if isinstance(wanted, list) else [wanted])):
            raise ActionError(f"validity rule {str(dict(rule))[:200]}: a value is text, a number, or a list of these")


def _holds(value: Any, wanted: Any) -> bool:
    return value in wanted if isinstance(wanted, list) else value == wanted


def _obeys(action: Action, job_type: str, rule: Mapping[str, Any]) -> bool:
    facts = {**action._asdict(), "job_type": job_type}
    if not all(_holds(facts[key], wanted) for key, wanted in rule["if"].items()):
        return True
    return all(
        not _holds(facts[key.removesuffix("_not")], wanted) if key.endswith("_not") else _holds(facts[key], wanted)
        for key, wanted in rule["then"].items()
    )


def _valid(space: ActionSpace, job_types: Iterable[str]) -> tuple[Action, ...]:
    """The tuples that obey every rule for at least one of ``job_types``."""
    return tuple(
        action
        for action in itertools.starmap(Action, itertools.product(*(space.bins(head) for head in HEADS)))
        if any(all(_obeys(action, job_type, rule) for rule in space.validity_rules) for job_type in job_types)
    )


@lru_cache(maxsize=1024)
def _valid_actions(space: ActionSpace, job_type: str) -> tuple[Action, ...]:
    actions = _valid(space, [job_type])
    if not actions:
        raise ActionError(f"the validity rules leave no valid action for job type {job_type!r}")
    return actions


@lru_cache(maxsize=1024)
def _valid_set(space: ActionSpace, job_type: str) -> frozenset[Action]:
    return frozenset(_valid_actions(space, job_type))


@lru_cache(maxsize=1024)
def _valid_indices(space: ActionSpace, job_type: str) -> NDArray[np.int64]:
    indices = np.array([space.index(action) for action in _valid_actions(space, job_type)], dtype=np.int64)
    indices.setflags(write=False)
    return indices


@lru_cache(maxsize=1024)
def _masks(space: ActionSpace, job_type: str) -> tuple[NDArray[np.bool_], ...]:
    indices = _valid_indices(space, job_type)
    masks = tuple(np.isin(np.arange(width), indices[:, head]) for head, width in enumerate(space.widths))
    for mask in masks:
        mask.setflags(write=False)
    return masks


@lru_cache(maxsize=1024)
def _tuples(space: ActionSpace) -> NDArray[np.int64]:
    # Rules tell apart the job types they name; all others obey the same rules, and "" stands for them.
    named = [rule["if"].get("job_type", []) for rule in space.validity_rules]
    job_types = {"", *(name for value in named for name in (value if isinstance(value, list) else [value]))}
    indices = np.array([space.index(action) for action in _valid(space, job_types)], dtype=np.int64)
    indices.setflags(write=False)
    return indices.reshape(-1, len(HEADS))


@lru_cache(maxsize=1024)
def _tuple_table(space: ActionSpace) -> NDArray[np.int64]:
    """The row in ``space.tuples`` of every tuple of the product, -1 for those without one; shape ``space.widths``."""
    table: NDArray[np.int64] = np.full(space.widths, -1, dtype=np.int64)
    table[tuple(space.tuples.T)] = np.arange(len(space.tuples))
    return table
