"""What sets the four repair tools apart: which mistakes each looks for, how fast it thinks, how long, at what price.

Like an agent that waits for a remote model, a tool thinks longer than it computes, so that how far it gets within its
limit depends little on what else the machine does.
"""

from typing import NamedTuple


class Profile(NamedTuple):
    """One tool's way to search."""

    families: tuple[str, ...]
    """Families of single edits, in the order in which they are tried."""
    pair_families: tuple[str, ...]
    """Families from which two edits are combined once no single edit helps; empty for none."""
    candidate_seconds: float
    """How long it thinks about each candidate, the check included."""
    max_candidates: int
    """The tool gives up after so many."""
    base_tokens: int
    """Tokens spent on reading the task."""
    tokens_per_candidate: int
    """Tokens spent on each candidate."""
    dollars_per_million_tokens: float
    """The price of a token."""


PROFILES = {
    # Quick at operators and limits, and the only one that looks for two such mistakes in a whole function.
    "codex": Profile(
        families=("boundary", "off_by_one", "comparison", "arithmetic", "boolean"),
        pair_families=("boundary", "off_by_one", "comparison", "arithmetic", "boolean"),
        candidate_seconds=0.009,
        max_candidates=1000,
        base_tokens=5000,
        tokens_per_candidate=30,
        dollars_per_million_tokens=9.0,
    ),
    # Understands names and calls, and thinks long about every idea.
    "claude": Profile(
        families=(
            "call",
            "arguments",
            "negation",
            "index",
            "comparison",
            "boundary",
            "boolean",
            "variable",
            "off_by_one",
            "arithmetic",
        ),
        pair_families=(),
        candidate_seconds=0.06,
        max_candidates=300,
        base_tokens=6000,
        tokens_per_candidate=120,
        dollars_per_million_tokens=14.0,
    ),
    # Cheap and fast, good at values: constants, defaults, positions.
    "opencode": Profile(
        families=("default", "constant", "off_by_one", "index"),
        pair_families=("default", "constant", "index", "call", "arguments"),
        candidate_seconds=0.001,
        max_candidates=1200,
        base_tokens=4000,
        tokens_per_candidate=15,
        dollars_per_million_tokens=2.0,
    ),
    # A careful generalist that stops early.
    "crush": Profile(
        families=("arguments", "default", "boundary", "boolean", "negation", "comparison", "arithmetic", "variable"),
        pair_families=(),
        candidate_seconds=0.009,
        max_candidates=250,
        base_tokens=4500,
        tokens_per_candidate=60,
        dollars_per_million_tokens=4.0,
    ),
}
