"""Faults in a form that explains itself: their distinct reasons, how many each spoiled, and what cures it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

RETRY = "`planner bench --doctor` tries a run; mend what spoils them, then give the same command with --retry-faults"
_TAIL = "; its output ends: "
_LAST_ATTEMPT = re.compile(r" \(the last of \d+ attempts\)")
_PARTICULARS = (
    # What differs from execution to execution, though the reason is one.
    (re.compile(r"/\S*planner-(?:bench|doctor)[^\s:,;'\"]*"), "<work directory>"),
    (re.compile(r"issue '[^']*'"), "an issue"),
    (re.compile(r"case case-[0-9a-f]{16}"), "a case"),
    (re.compile(r"\b[0-9a-f]{40,}\b"), "<id>"),
)
_CURES = (
    (r"no agent tool was started", "the kernel refused the issue or found no tool: its output says which"),
    (r"Cyntra ended with exit code", "its output says why: run the kernel by hand in a clone of the repo"),
    (r"Cyntra archived no", "this command archives no run where Cyntra does: name Cyntra's with --cyntra"),
    (r"runs were archived where one|evolutions were archived where one", "let nothing else run Cyntra in the clone"),
    (r"no artifact records which plan|\bforced ", "use kernel 0.1.0: this one runs or records plans in another way"),
    (r"candidates need as many toolchains", "install the config's tools, or bench on a machine that has them"),
    (r"no longer in .*issues\.jsonl", "bring the issue back, or name another --ledger"),
    (r"partial clone that lacks", "get the missing files as it says"),
    (r"cannot clone", "mend what git says, for instance with `git fsck`"),
    (r"no space was left|No space left", "free space, or choose another --work-dir"),
    (r"could not be killed", "look at these processes with `ps -o pid,stat,wchan,args`"),
    (r"its worker died", "use fewer --workers or a lower --max-memory"),
    (r"supervisor of .* was lost", "look for what kills processes here, for instance in `dmesg`"),
    (r"cannot start|fork server", "check that the program can be run by this user"),
    (r"more artifacts than are read|has replaced its", "look at what the agent did: it wrote where Cyntra writes"),
    (r"log of launches", "look at what the agent did: it wrote into the bench's own log"),
    (r"the executor failed", "report it, with the whole line"),
    (r"needs more trials|not in these tables", "replay the tables that the ledger was made from"),
    (r"world job without a world", "give the issue a tag world:<world id>"),
    (r"cannot be forced on Cyntra", "take the swarm out of the universe's catalogue"),
)
_OTHERWISE = "look at what it names"


@dataclass(frozen=True)
class FaultGroup:
    """Faults of one reason."""

    reason: str
    """Without what differs from execution to execution."""
    count: int
    cure: str
    last_output: str
    """How the output of one of them ends; empty when it printed nothing."""

    @property
    def line(self) -> str:
        """All of it in one line."""
        output = f" (its output ends: {self.last_output})" if self.last_output else ""
        return f"{self.count} executions: {self.reason}{output} -> {self.cure}"


def fault_groups(reasons: Iterable[tuple[str, int]]) -> list[FaultGroup]:
    """One group for each distinct reason, most faults first; ``reasons`` are (as the outcome has it, how many)."""
    counts: dict[str, int] = {}
    outputs: dict[str, str] = {}
    for text, count in reasons:
        what, _, output = _LAST_ATTEMPT.sub("", text).partition(_TAIL)
        for pattern, instead in _PARTICULARS:
            what = pattern.sub(instead, what)
        counts[what] = counts.get(what, 0) + count
        outputs.setdefault(what, output)
    return [
        FaultGroup(what, count, cure_of(what), outputs[what])
        for what, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    ]


def cure_of(reason: str) -> str:
    """What to do about a fault."""
    return next((cure for pattern, cure in _CURES if re.search(pattern, reason)), _OTHERWISE)
