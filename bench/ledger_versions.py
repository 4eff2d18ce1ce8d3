"""Ledgers of earlier programs: one step per version, done when the ledger is opened to write."""

import sqlite3
from typing import Any

SCHEMA_VERSION = 4
READABLE_VERSIONS = ("1", "2", "3", "4")


def upgrade(connection: sqlite3.Connection, version: str) -> None:
    """Bring a ledger of ``version`` up to date, within the caller's transaction."""
    for step in _STEPS[READABLE_VERSIONS.index(version) :]:
        step(connection)
    connection.execute("UPDATE meta SET value = ? WHERE key = 'schema_version'", [str(SCHEMA_VERSION)])


def upgraded_outcome(document: dict[str, Any]) -> dict[str, Any]:
    """A stored outcome as a ledger of today holds it, for one that is only read."""
    return {**document, "status": "stopped_early"} if document.get("status") == "censored" else document


def _add_spent_time_and_trouble(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE executions ADD COLUMN spent_ms INTEGER NOT NULL DEFAULT 0")
    connection.execute("ALTER TABLE executions ADD COLUMN trouble TEXT")
    connection.execute(
        "UPDATE executions SET spent_ms = json_extract(outcome, '$.duration_ms') WHERE outcome IS NOT NULL"
    )


def _rename_censored_to_stopped_early(connection: sqlite3.Connection) -> None:
    connection.execute(
        "UPDATE executions SET status = 'stopped_early', outcome = json_set(outcome, '$.status', 'stopped_early')"
        " WHERE status = 'censored'"
    )


def _add_worker(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE executions ADD COLUMN worker TEXT")


_STEPS = (_add_spent_time_and_trouble, _rename_censored_to_stopped_early, _add_worker)
"""From version 1 to 2, from 2 to 3, from 3 to 4."""
