"""What help says besides the options: the commands in the order of the work, a sentence for each, and examples."""

SECTIONS: dict[str, dict[str, str]] = {
    "Begin": {
        "quickstart": "Run the whole loop once, on a sandbox repo.",
        "status": "Say what this repo has, and which command comes next.",
        "advise": "Say what a repo's own logs advise, in one screen.",
    },
    "Learn from runs": {
        "dataset": "Make a dataset of a repo's runs, and check it.",
        "train": "Train a policy on a dataset.",
        "tune": "Search for better training settings.",
        "calibrate": "Fit temperatures, and the threshold for abstaining.",
        "evaluate": "Judge a trained policy beside today's rule.",
        "compare": "Set every policy side by side on one dataset.",
        "ablate": "Vary one setting at a time.",
    },
    "Learn from trying": {
        "bench": "Run open issues under several actions each.",
        "relabel": "Turn a bench's winners into a dataset for training.",
        "report": "Write one page of a bench, its policies and training.",
        "view": "Serve the newest report, and refresh it.",
        "export-table": "Write a bench's ledger as tables.",
    },
    "Decide": {
        "export": "Export a trained policy as a bundle without torch.",
        "bundle": "Check a bundle where it is to be loaded.",
        "decide": "Decide for an issue, or for a planner_input.",
        "run": "Run ready issues with a bundle's decisions.",
        "evolve": "Evolve the worlds of issues with a bundle's decisions.",
    },
    "Look and tidy up": {
        "ls": "List what commands have written in a repo.",
        "show": "Show a case, an execution, an issue or a run.",
        "explain": "Explain a column or a word.",
        "clean": "Delete what is old and not needed.",
        "config": "Show the options that commands take here.",
    },
    "On a cluster": {
        "submit": "Run a command as a job of a Ray cluster.",
        "cluster": "Print manifests for kubectl and ray up.",
    },
    "Test beds": {
        "simulate": "Write a repo whose runs are drawn from a model.",
        "sandbox": "Write a small real repo with bugs and scripted agents.",
    },
}
"""Section -> command -> its sentence in the list, which has to fit in 80 columns."""
BELOW = {
    "dataset build": "Read a repo's artifacts into a time-split dataset.",
    "dataset check": "Say whether there is enough in it to learn from.",
    "bundle check": "Load a bundle in the environment that will use it.",
    "config show": "Print every option that a project file can set.",
    "cluster rayjob": "Print a KubeRay RayJob that runs one command.",
    "cluster raycluster": "Print a KubeRay RayCluster that stays.",
    "cluster machines": "Print a cluster file for ray up, over ssh.",
    "sandbox create": "Write the repo: issues, a config, a universe.",
    "sandbox tools": "Print the directory of the scripted tools.",
}
"""The same of commands below a command."""
EXAMPLES: dict[str, tuple[str, ...]] = {
    "quickstart": ("planner quickstart", "planner quickstart /tmp/loop --issues 20 --k 3"),
    "status": ("planner status", "planner status ~/my-repo --json"),
    "advise": ("planner advise", "planner advise ~/my-repo"),
    "dataset build": ("planner dataset build", "planner dataset build ~/my-repo --out s3://team/dataset"),
    "dataset check": ("planner dataset check", "planner dataset check --run .cyntra/planner/runs/mlp_planner-1"),
    "train": (
        "planner train --arch structural",
        "planner train --arch mlp_planner --workers 1 --set lr=1e-3 --set epochs=20",
        "planner train .cyntra/planner/winners --init-from .cyntra/planner/runs/mlp_planner-1",
    ),
    "tune": ("planner tune --trials 20", "planner tune --arch urm_planner --epochs 10 --workers 2"),
    "calibrate": ("planner calibrate", "planner calibrate .cyntra/planner/runs/mlp_planner-1 --max-risk 0.05"),
    "evaluate": (
        "planner evaluate",
        "planner evaluate --bench .cyntra/planner/bench/ledger.sqlite",
        "planner evaluate --json | python -m json.tool",
    ),
    "compare": ("planner compare", "planner compare --policies heuristic,structural,mlp_planner --seeds 1"),
    "ablate": ("planner ablate --axes loops", "planner ablate --arch mlp_planner --axes action_head --set epochs=10"),
    "bench": (
        "planner bench --doctor",
        "planner bench --dry-run",
        "planner bench --k 4 --limit 12 --max-hours 8",
        "planner bench TABLES --executor replay",
    ),
    "relabel": ("planner relabel", "planner relabel LEDGER --out winners --by problem"),
    "report": ("planner report", "planner report LEDGER --runs RUN --out report.html"),
    "view": ("planner view", "planner view --port 8000"),
    "export-table": ("planner export-table", "planner export-table LEDGER --out tables --hash-identifiers"),
    "export": ("planner export", "planner export RUN --out bundle"),
    "bundle check": (
        "planner bundle check .cyntra/planner/bundle",
        "planner bundle check BUNDLE --python ~/cyntra/.venv",
    ),
    "decide": (
        "planner decide .cyntra/planner/bundle --repo . --issue 16",
        "planner show 16 --input | planner decide .cyntra/planner/bundle",
        "planner decide .cyntra/planner/bundle --serve < questions.jsonl",
    ),
    "run": (
        "planner run --once --planner-enabled --planner-checkpoint .cyntra/planner/bundle",
        "planner run --watch --max-hours-per-day 6",
    ),
    "evolve": ("planner evolve --issue 7 --planner-enabled --planner-checkpoint .cyntra/planner/bundle",),
    "ls": ("planner ls",),
    "show": ("planner show 16", "planner show 16 --input | planner decide .cyntra/planner/bundle"),
    "explain": ("planner explain regret", "planner explain"),
    "clean": ("planner clean --older-than 30d", "planner clean --older-than 2w --yes"),
    "config show": ("planner config show",),
    "submit": ("planner submit -- planner tune /data/dataset --trials 50", "planner submit --attach JOB"),
    "cluster rayjob": ("planner cluster rayjob --image IMAGE --claim CLAIM -- planner tune /data/dataset",),
    "cluster raycluster": ("planner cluster raycluster --image IMAGE --claim CLAIM | kubectl apply -f -",),
    "cluster machines": ("planner cluster machines --head 10.0.0.1 --worker 10.0.0.2 > cluster.yaml",),
    "simulate": ("planner simulate sim", "planner simulate sim --runs 300 --issues 60 --open 40"),
    "sandbox create": ("planner sandbox create my-repo --issues 60 --runs 40",),
    "sandbox tools": ('PATH="$(planner sandbox tools):$PATH" cyntra-sandbox run --once',),
}
"""Command -> command lines at the end of its help."""


def order() -> list[str]:
    """Every command of the first level, in the order of the work."""
    return [name for commands in SECTIONS.values() for name in commands]
