"""The tables of an exported bench: every column with its type and its meaning, which the files themselves say too."""

from dataclasses import dataclass

import pyarrow as pa

TEXT, NUMBER, WHOLE, YES_NO = pa.string(), pa.float64(), pa.int64(), pa.bool_()
TEXTS, MOMENT = pa.list_(pa.string()), pa.timestamp("ms", tz="UTC")


@dataclass(frozen=True)
class Column:
    """One column."""

    name: str
    kind: pa.DataType
    meaning: str

    @property
    def field(self) -> pa.Field:
        """As Parquet has it: the meaning is in the field's metadata."""
        return pa.field(self.name, self.kind, metadata={"meaning": self.meaning})


@dataclass(frozen=True)
class Table:
    """One file."""

    file: str
    about: str
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        """As Parquet has it."""
        return pa.schema([column.field for column in self.columns])


PROBLEMS = Table(
    "issues.parquet",
    "What cases are about: one row for each issue, or for each problem that several agents tried.",
    (
        Column("issue_id", TEXT, "the issue, or the problem"),
        Column("issue_group", TEXT, "its first tag"),
        Column("text", TEXT, "its title and words"),
        Column("human_minutes", NUMBER, "how long a person would need, where that is known"),
    ),
)
TRIALS = Table(
    "outcomes.parquet",
    "Single runs of an agent: one row for each launch whose end is known.",
    (
        Column("issue_id", TEXT, "as in issues.parquet"),
        Column("action_id", TEXT, "the agent's tool"),
        Column("trial", WHOLE, "numbered from 0 for an issue and an agent, in order of their starts"),
        Column("passed", YES_NO, "whether its result passed the gates"),
        Column("duration_s", NUMBER, "seconds from its start to its end"),
        Column("cost_usd", NUMBER, "US dollars, where the tool reported them"),
        Column("run_started_at", MOMENT, "when it started, UTC"),
        Column("execution_id", TEXT, "which execution launched it; null: it was recorded before the bench"),
    ),
)
CASES = Table(
    "cases.parquet",
    "Issues as they were put on the bench: one row for each context.",
    (
        Column("case_id", TEXT, "names the case"),
        Column("issue_id", TEXT, "the issue; of recorded trials problem@agent"),
        Column("problem_id", TEXT, "as in issues.parquet"),
        Column("base_commit", TEXT, "what executions started from"),
        Column("universe_id", TEXT, "the universe"),
        Column("job_type", TEXT, "code, fab-world, ..."),
        Column("decided_at", MOMENT, "when the context was made, UTC"),
        Column("priority", TEXT, "dk_priority"),
        Column("risk", TEXT, "dk_risk"),
        Column("size", TEXT, "dk_size"),
        Column("tool_hint", TEXT, "dk_tool_hint"),
        Column("tags", TEXTS, "the issue's tags"),
        Column("default_plan", TEXT, "what today's rule would run, as the actions of a report are written"),
        Column("recorded_trials", WHOLE, "trials that outcomes were looked up in; 0: executions were run"),
        Column("document", TEXT, "the whole case as JSON, cyntra.bench_case.v1"),
    ),
)
EXECUTIONS = Table(
    "executions.parquet",
    "What was tried: one row for each action, case and repeat, in whatever state.",
    (
        Column("execution_id", TEXT, "names the execution"),
        Column("case_id", TEXT, "as in cases.parquet"),
        Column("issue_id", TEXT, "as in cases.parquet"),
        Column("action", TEXT, "the action as JSON: a name for each dimension"),
        Column("plan", TEXT, "the same as the actions of a report are written"),
        Column("repeat", WHOLE, "from 0, of one action on one case"),
        Column("state", TEXT, "planned, started or finished"),
        Column("attempts", WHOLE, "how often it was started"),
        Column("started_at", MOMENT, "start of its last attempt, UTC"),
        Column("finished_at", MOMENT, "end of its last attempt, UTC"),
        Column("passed", YES_NO, "whether its result passed the gates"),
        Column("status", TEXT, "success, failed, timeout, stopped_early (it could not win any more) or fault"),
        Column("stopped_by", TEXT, "why we ended it: walltime, memory, processes, disk, capped or cancelled"),
        Column("duration_s", NUMBER, "wall seconds"),
        Column("agent_s", NUMBER, "seconds of all its agents together"),
        Column("cost_usd", NUMBER, "US dollars, as far as tools reported them"),
        Column("cpu_s", NUMBER, "CPU seconds, where they were measured"),
        Column("score", NUMBER, "a world's overall score"),
        Column("derived_from", TEXT, "the execution under more minutes that gave this outcome: nothing was run for it"),
        Column("failed_gates", TEXTS, "gates that did not pass"),
        Column("fail_codes", TEXTS, "why it failed"),
        Column("launches", WHOLE, "how many agents it started"),
        Column("document", TEXT, "the whole outcome as JSON: that of a cyntra.bench_execution.v1"),
    ),
)
TABLES = (CASES, EXECUTIONS, PROBLEMS, TRIALS)
