"""An execution as a page shows it: read from the ledger's text in microseconds, not validated against its contract."""

from typing import NamedTuple

import msgspec

from planner.actions import Action


class LoggedGate(msgspec.Struct, frozen=True):
    """A check of a result."""

    name: str
    passed: bool


class LoggedOutcome(msgspec.Struct, frozen=True):
    """What a page shows of an outcome; see BenchOutcome."""

    passed: bool
    status: str
    duration_ms: int
    agent_ms: int
    cost_usd: float | None = None
    score: float | None = None
    stopped_by: str | None = None
    fault: str | None = None
    derived_from: str | None = None
    gates: tuple[LoggedGate, ...] = ()
    fail_codes: tuple[str, ...] = ()


class LoggedExecution(NamedTuple):
    """One execution as it stands in the ledger; times are ms since the epoch, UTC, of its last attempt."""

    execution_id: str
    case_id: str
    action: Action
    repeat: int
    state: str
    attempts: int
    started_ms: int | None
    finished_ms: int | None
    trouble: str | None
    """Why an earlier attempt yielded nothing."""
    worker: str | None
    """Which worker did it, as "HOST NUMBER"; None where the ledger does not say."""
    outcome: LoggedOutcome | None


_DECODER = msgspec.json.Decoder(LoggedOutcome)


def logged_outcome(text: str | None) -> LoggedOutcome | None:
    """The outcome in a ledger of any version; msgspec.MsgspecError for text that is none."""
    if text is None:
        return None
    outcome = _DECODER.decode(text)
    return msgspec.structs.replace(outcome, status="stopped_early") if outcome.status == "censored" else outcome
