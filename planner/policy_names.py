"""The names of policies that ship with the planner, which a command line can check before any of them is loaded."""

HEURISTIC = "heuristic"
BASELINES = (
    "most frequent",
    "boosted trees",
    "most frequent in group",
    "most frequent nearby",
    "structural",
    "structural and trial forest",
    "structural two steps",
    "trial forest",
    "single best",
    "per group",
    "nearest neighbours",
    "utility forest",
)
"""Those of planner.policies that `planner compare` shows, in its order; a test keeps both equal."""
VALUE_READINGS = {"expected utility": False, "safe values": True}
"""Policies read from one ensemble of MLPs with a value head; name -> whether safe."""
VALUE_ARCH = "mlp_planner"
ENTRY_POINTS = "cyntra_planner.baselines"
"""Where packages of others announce theirs."""
