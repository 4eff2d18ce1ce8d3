"""Pairs of a kernel config and an issue, drawn at random: what kernel 0.1.0 reads without choking on it.

python -m tests.rule.pairs 2400    asks the kernel (its path in CYNTRA, or cyntra on PATH), writes the fixture
"""

import gzip
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import orjson

FIXTURE = Path(__file__).parents[1] / "fixtures" / "kernel_rule.json.gz"
KERNEL = shutil.which(os.environ.get("CYNTRA", "cyntra"))
TOOLS = ("codex", "claude", "opencode", "crush")
TAGS = ("ui", "api", "db", "asset:world", "asset:car", " ", "escalation")
WORDS = ("a", "zebra", "crosses", "the", "(road)", "twice", "Zebra")
WORLD = {"world_id": "w", "world_kind": "codebase", "path": "."}
PATTERNS = ("zebra", "^a", r"\(road\)", "(?i)ZEBRA", "twice$", ".", "lion")


class Draw(random.Random):
    """Random values in the forms in which people write them."""

    def maybe(self, share: float = 0.5) -> bool:
        """True in that share of draws."""
        return self.random() < share

    def some(self, values: Any, most: int = 4) -> list[Any]:
        """Up to ``most`` of the values, in any order."""
        values = list(values)
        return self.sample(values, self.randint(0, min(most, len(values))))

    def filled(self, **makers: Any) -> dict[str, Any]:
        """Each key in half of the draws, with what its maker makes."""
        return {key: make() for key, make in makers.items() if self.maybe()}


def draw_pair(draw: Draw) -> dict[str, Any]:
    """One pair: the files of a repo, the tools on PATH, and the id of the issue that is asked for."""
    issues = [draw_issue(draw, str(number)) for number in range(draw.choice((1, 1, 2, 3, 4)))]
    target = draw.choice(issues)["id"]
    edges = [tuple(draw.sample([issue["id"] for issue in issues], 2)) for _ in issues[1:]]
    # What the issue waits for is done: otherwise the kernel runs that instead.
    blockers = {a for a, b in edges if b == target}
    issues = [{**issue, "status": "done"} if issue["id"] in blockers - {target} else issue for issue in issues]
    return {
        "configs": split_config(draw, draw_config(draw)),
        "policies": draw_policies(draw) if draw.maybe(0.3) else None,
        "dynamics": draw_dynamics(draw) if draw.maybe(0.3) else None,
        "issues": issues,
        "deps": [
            {"from": a, "to": b, **({"type": draw.choice(("blocks", "discovered"))} if draw.maybe(0.3) else {})}
            for a, b in edges
        ],
        "tools": [tool for tool in TOOLS if draw.maybe(0.75)],
        "target": target,
    }


def draw_issue(draw: Draw, issue_id: str) -> dict[str, Any]:
    """An open issue, most of the time; every property under ``dk_x``, under ``x``, under both or not at all."""
    values = {
        "priority": ("P0", "P1", "P2", "P3", "urgent"),
        "risk": ("low", "medium", "high", "critical", "HIGH", ""),
        "size": ("XS", "S", "M", "L", "XL", "huge"),
        "tool_hint": (*TOOLS, "other", None),
    }
    issue: dict[str, Any] = {
        "id": issue_id,
        "title": draw_text(draw),
        "status": draw.choice(("open",) * 8 + ("ready", "running")),
    }
    for key, choices in values.items():
        for name in (f"dk_{key}", key):
            if draw.maybe(0.4 if key != "tool_hint" else 0.2):
                issue[name] = draw.choice(choices)
    return issue | draw.filled(
        description=lambda: draw.choice((draw_text(draw), draw_text(draw), None)),
        tags=lambda: draw.choice((draw.some(TAGS[:5], 2), draw.some(TAGS[:5], 2), draw.some(TAGS, 2), None)),
        dk_speculate=lambda: draw.choice((False, False, True, "yes", 0)),
        dk_attempts=lambda: draw.choice((0, 1, "1", 2, "3")),
        dk_max_attempts=lambda: draw.choice((3, 4, 5)),
        dk_estimated_tokens=lambda: draw.choice((1000, "2000", 50_000, 0, 300_000)),
    )


def draw_text(draw: Draw) -> str:
    """A few words."""
    return " ".join(draw.choices(WORDS, k=draw.randint(1, 4)))


def draw_config(draw: Draw) -> dict[str, Any]:
    """A config with each section and key in half of the draws."""
    limits = draw.filled(
        max_concurrent_workcells=lambda: draw.choice((1, 3, 3, 3, 0)),
        max_concurrent_tokens=lambda: draw.choice((200_000, 200_000, 40_000)),
    )
    return draw.filled(
        toolchain_priority=lambda: draw.some((*TOOLS, "other")) or ["claude"],
        toolchains=lambda: {name: draw_tool(draw) for name in draw.some((*TOOLS, "other"))},
        speculation=lambda: draw_speculation(draw),
        control=lambda: draw.filled(
            enabled=lambda: draw.choice((True, True, False, None)),
            action_low=lambda: draw.choice((0.1, 0.3)),
            action_high=lambda: draw.choice((0.5, 1)),
            parallelism_step=lambda: draw.randint(1, 2),
        ),
        routing=lambda: {
            "rules": [draw_rule(draw) for _ in range(draw.randint(0, 4))],
            "fallbacks": {name: draw.some(TOOLS, 2) for name in draw.some(TOOLS, 2)},
        },
        planner=lambda: {"mode": "off"},
        gates=lambda: {"test_command": "true", "build_command": None},
    ) | ({"scheduling": limits} if draw.maybe() else limits)


def draw_tool(draw: Draw) -> dict[str, Any] | None:
    """One toolchain's settings."""
    if draw.maybe(0.1):
        return None
    return draw.filled(
        enabled=lambda: draw.choice((True, True, True, False, None)),
        timeout_seconds=lambda: draw.choice((0, 900, "1200", 2700, None)),
        timeout_minutes=lambda: draw.choice((10, 45, 60, "90", 1.5, None)),
        env=lambda: {"KEY": "secret"},
    )


def draw_speculation(draw: Draw) -> dict[str, Any]:
    """The section in its flat form, its nested form, or both."""
    levels = ("low", "medium", "high", "critical", "HIGH")
    return draw.filled(
        enabled=lambda: draw.choice((True, True, True, False, None)),
        default_parallelism=lambda: draw.randint(0, 4),
        max_parallelism=lambda: draw.randint(1, 4),
        auto_trigger=lambda: draw.filled(
            on_critical_path=lambda: draw.maybe(0.8), risk_levels=lambda: draw.some(levels)
        ),
    ) | (
        {
            f"auto_trigger_{key}": value
            for key, value in (("on_critical_path", draw.maybe()), ("risk_levels", draw.some(levels)))
        }
        if draw.maybe(0.2)
        else {}
    )


def draw_rule(draw: Draw) -> dict[str, Any]:
    """One routing rule, its conditions known and unknown."""

    def one_or_more(values: Any) -> Any:
        return draw.choice((draw.choice(values), draw.some(values), None))

    match: Any = {}
    for key, make in (
        ("dk_risk", lambda: one_or_more(("low", "medium", "high", "HIGH"))),
        ("dk_size", lambda: one_or_more(("S", "M", "L", "huge"))),
        ("dk_tool_hint", lambda: one_or_more(TOOLS)),
        ("tags_any", lambda: draw.choice((draw.some(TAGS, 2), None))),
        ("tags_all", lambda: draw.choice((draw.some(TAGS, 1), None))),
        ("title_pattern", lambda: draw.choice(PATTERNS)),
        ("description_pattern", lambda: draw.choice(PATTERNS)),
        ("dk_priority", lambda: "P0"),
        ("unknown", lambda: [1, {"a": 2}]),
    ):
        if draw.maybe(0.2):
            match[key] = make()
    return {"match": match or draw.choice(({}, None))} | draw.filled(
        use=lambda: draw.choice((draw.some((*TOOLS, "other")), draw.choice(TOOLS))),
        speculate=lambda: draw.choice((True, True, False, None)),
        parallelism=lambda: draw.choice((1, 2, 3, 4, "2", 0, None)),
    )


def draw_policies(draw: Draw) -> dict[str, Any]:
    """A universe's policies."""
    return draw.filled(
        budgets=lambda: draw.filled(max_run_minutes=lambda: draw.choice((10, 20, 50, 100))),
        routing_overrides=lambda: [draw_rule(draw) for _ in range(draw.randint(0, 2))],
    )


def draw_dynamics(draw: Draw) -> dict[str, Any]:
    """A dynamics report."""

    def rate() -> float:
        return draw.choice((0, 0.05, 0.2, 0.4, 0.7, 1))

    domains = {name: rate() for name in draw.some(("code", "fab_asset", "fab_world"))}
    return {"action_summary": draw.filled(by_domain=lambda: domains, global_action_rate=rate)}


def split_config(draw: Draw, config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """File name -> content: the config alone, or spread over files that it includes in order."""
    if draw.maybe(0.7):
        return {"config.yaml": config}
    names = [f"part{number}.yaml" for number in range(draw.randint(1, 3))]
    files: dict[str, dict[str, Any]] = {name: {} for name in ["config.yaml", *names]}
    for key, value in config.items():
        for name in {draw.choice(list(files)), draw.choice(list(files))}:
            files[name][key] = dict(draw.some(value.items(), 99)) if isinstance(value, dict) and draw.maybe() else value
    files["config.yaml"]["include"] = names[0] if len(names) == 1 and draw.maybe() else names
    return files


def write_pair(pair: dict[str, Any], repo: Path) -> None:
    """The pair's files; JSON is YAML as well."""
    (repo / ".beads").mkdir(parents=True)
    (repo / ".cyntra" / "dynamics").mkdir(parents=True)
    for name in ("issues", "deps"):
        (repo / ".beads" / f"{name}.jsonl").write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in pair[name]))
    for name, content in pair["configs"].items():
        (repo / ".cyntra" / name).write_bytes(orjson.dumps(content))
    if pair["dynamics"] is not None:
        (repo / ".cyntra" / "dynamics" / "dynamics_report.json").write_bytes(orjson.dumps(pair["dynamics"]))
    if pair["policies"] is not None:
        (repo / "universes" / "u").mkdir(parents=True)
        universe = {
            "schema_version": "1.0",
            "universe_id": "u",
            "name": "U",
            "worlds": [WORLD],
            "policies": pair["policies"],
        }
        (repo / "universes" / "u" / "universe.yaml").write_bytes(orjson.dumps(universe))


def ask_kernel(pairs: list[dict[str, Any]], kernel: str) -> list[Any]:
    """What the kernel decides for each pair: [swarm, candidates, seconds], "nothing" when it runs nothing, or an error.

    The kernel's own code decides, in its own Python; it is stopped in the moment in which the decision is made. A pair
    may hold a further config with the name in ``config``; where its target is None, the answer is the order of all.
    """
    interpreter = Path(kernel).read_text().splitlines()[0].removeprefix("#!").strip()
    with tempfile.TemporaryDirectory() as directory:
        for number, pair in enumerate(pairs):
            write_pair(pair, Path(directory) / str(number))
            for tool in pair["tools"]:
                path = Path(directory) / str(number) / "tools" / tool
                path.parent.mkdir(exist_ok=True)
                path.write_text("#!/bin/sh\n")
                path.chmod(0o755)
        targets = orjson.dumps(
            [[pair["target"], pair["policies"] is not None, pair.get("config", "config.yaml")] for pair in pairs]
        )
        script = Path(__file__).with_name("ask_kernel.py")
        done = subprocess.run(
            [interpreter, str(script), directory], input=targets, stdout=subprocess.PIPE, check=True, cwd=directory
        )
    return orjson.loads(done.stdout)


def main(n_pairs: int, seed: int = 0) -> None:
    """Draw pairs, ask the kernel, write the fixture without the pairs that it does not decide."""
    if KERNEL is None:
        sys.exit("the real kernel is not installed: put cyntra on PATH, or its path in CYNTRA")
    draw = Draw(seed)
    pairs = [draw_pair(draw) for _ in range(n_pairs)]
    answers = ask_kernel(pairs, KERNEL)
    kept = [{**pair, "answer": answer} for pair, answer in zip(pairs, answers, strict=True) if isinstance(answer, list)]
    FIXTURE.write_bytes(gzip.compress(orjson.dumps(kept), 9, mtime=0))
    others = [answer for answer in answers if not isinstance(answer, list)]
    print(f"{len(kept)} pairs kept, {len(others)} without a decision: {sorted(set(others))[:10]}")


if __name__ == "__main__":
    main(int(sys.argv[1]))
