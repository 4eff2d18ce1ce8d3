"""A stand-in for Cyntra's kernel that reads and writes the same files, for machines without Cyntra.

cyntra-sandbox [--config .cyntra/config.yaml] run --once --issue 7 [--speculate] [--universe sandbox] [--dry-run]
cyntra-sandbox run --once --issue 7 --planner-enabled --planner-checkpoint BUNDLE
cyntra-sandbox evolve --universe sandbox --world cave_1 [--swarm speculate_vote] [--population 3] [--generations 2]
"""

import argparse
import os
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from bench.testbeds.sandbox import documents, workcells
from bench.testbeds.sandbox.beads import read_issues, record_failure, timestamp, update_issue
from bench.testbeds.sandbox.documents import Cell, Patch, ToolRun
from bench.testbeds.sandbox.evolve import add_evolve_options, evolve
from bench.testbeds.sandbox.plan import (
    SPECULATE,
    Candidate,
    Plan,
    available_toolchains,
    decide,
    load_config,
    seconds_per_minute,
    universe_minutes_cap,
)
from bench.testbeds.sandbox.processes import (
    Interrupted,
    child_environment,
    nothing_left_running,
    run_gate,
    start,
    wait_all,
)
from bench.testbeds.sandbox.world.definition import WORLD_JOB_TAG
from planner.errors import PlannerError
from planner.gc_pause import collector_paused


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; 0 whatever became of the issue, 1 on an error or a signal, 2 on wrong arguments."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "run" and options.planner_enabled and options.planner_checkpoint is None:
        parser.error("--planner-enabled needs --planner-checkpoint, a directory written by `planner export`")
    config_path = Path(options.config).absolute()
    # Two fifths of a quick run are the imports that a context needs. A sixth of that is the search of the whole
    # environment for plugins of pydantic's, and the collector, which finds next to nothing in what they make.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    try:
        with collector_paused(), nothing_left_running():
            if options.command == "run":
                return Kernel(config_path, options).run()
            print(f"world evolution complete: {evolve(config_path.parent, options)}")
            return 0
    except Interrupted as signal_name:
        print(f"interrupted by {signal_name}", file=sys.stderr)
    except (PlannerError, OSError, ImportError) as error:
        print(f"cyntra-sandbox: {error}", file=sys.stderr)
    except subprocess.CalledProcessError as error:
        print(f"cyntra-sandbox: {' '.join(error.cmd)} failed: {error.stderr}", file=sys.stderr)
    return 1


class Kernel:
    """One invocation: one issue, run once."""

    def __init__(self, config_path: Path, options: argparse.Namespace) -> None:
        self.config = load_config(config_path)
        self.kernel_dir = config_path.parent
        self.repo_root = self.kernel_dir.parent
        self.options = options
        self.issue_id = str(options.issue)
        self.second_per_nominal_second = seconds_per_minute(self.config) / 60

    def run(self) -> int:
        """Run the issue, unless something is missing; returns the exit code."""
        issue = read_issues(self.repo_root).get(self.issue_id)
        if issue is None:
            print(f"no issue {self.issue_id} in {self.repo_root}/.beads/issues.jsonl: nothing to do")
            return 0
        if WORLD_JOB_TAG in (issue.get("tags") or ()):
            print(
                f"issue {self.issue_id} is a world job, which the stand-in only evolves: cyntra-sandbox evolve --help"
            )
            return 0
        try:
            base_commit = workcells.main_commit(self.repo_root)
        except workcells.MissingMainError as error:
            print(error)
            return 0
        available = available_toolchains(self.config, child_environment({})["PATH"])
        cap = universe_minutes_cap(self.repo_root, self.options.universe)
        ruled = decide(self.config, issue, available, speculate=self.options.speculate, minutes_cap=cap)
        plan, planner = self._plan(issue, ruled, available, cap)
        names = ", ".join(candidate.toolchain for candidate in plan.candidates)
        print(f"issue {self.issue_id}: {plan.swarm_id} with {names}")
        # Cyntra executes a forced one-shot even here.
        if self.options.dry_run and not plan.one_shot:
            return 0
        self._run_plan(issue, plan, base_commit, planner)
        return 0

    def _run_plan(self, issue: dict[str, Any], plan: Plan, base_commit: str, planner: dict[str, Any]) -> None:
        update_issue(self.repo_root, self.issue_id, status="running")
        self._log("issue.started", {"speculate": plan.swarm_id == SPECULATE})
        cells = [self._open_cell(issue, plan, candidate, base_commit, planner) for candidate in plan.candidates]
        runs = self._run_tools(plan, cells)
        proofs = [self._proof(plan, cell, run) for cell, run in zip(cells, runs, strict=True)]
        if plan.swarm_id == SPECULATE:
            self._log("speculate.voting", {"candidates": [cell.toolchain for cell in cells], "count": len(cells)})
        chosen = max(range(len(cells)), key=lambda index: _vote(proofs[index]))
        self._conclude(cells[chosen], runs[chosen], proofs[chosen])
        workcells.archive_workcell(self.kernel_dir, cells[chosen])
        for cell in cells:
            workcells.close_workcell(self.repo_root, cell)

    def _plan(
        self, issue: dict[str, Any], ruled: Plan, available: dict[str, str], minutes_cap: float | None
    ) -> tuple[Plan, dict[str, Any]]:
        """What is run, and the planner section that says so: the rule's plan, or with a bundle the planner's."""
        # Imported here: a world job needs none of it, and only a bundle needs onnxruntime.
        from bench.testbeds.sandbox.planning import build_context, ruled_section

        place = self.repo_root, self.kernel_dir, self.issue_id, self.options.universe, list(available)
        if not self.options.planner_enabled:
            return ruled, ruled_section(build_context(*place, datetime.now(UTC)), ruled)
        from bench.testbeds.sandbox.bundle_plan import builder_of, decided_plan
        from planner.bundle import load_bundle

        bundle = load_bundle(Path(self.options.planner_checkpoint))
        context = build_context(*place, datetime.now(UTC), builder_of(bundle))
        return decided_plan(context, bundle, ruled, self.config, issue, available, minutes_cap)

    def _open_cell(
        self, issue: dict[str, Any], plan: Plan, candidate: Candidate, base_commit: str, planner: dict[str, Any]
    ) -> Cell:
        tool = candidate.toolchain
        tag = f"spec-{tool}" if plan.swarm_id == SPECULATE else None
        workcell_id = workcells.new_workcell_id(self.repo_root, self.kernel_dir, self.issue_id, tag)
        path = self.repo_root / workcells.WORKCELLS / workcell_id
        model = str((self.config.get("toolchains", {}).get(tool) or {}).get("default_model") or "")
        cell = Cell(workcell_id, path, issue, tool, model, base_commit, tag, planner)
        workcells.open_workcell(self.repo_root, cell)
        gates = self._gates(issue)
        documents.write_json(path / "manifest.json", documents.manifest_document(cell, gates))
        (path / "prompt.md").write_text(documents.prompt_text(cell, gates), encoding="utf-8")
        self._log("workcell.created", {"toolchain": tool, "speculate_tag": tag}, workcell_id)
        self._log("workcell.started", {"toolchain": tool, **({"speculate_tag": tag} if tag else {})}, workcell_id)
        return cell

    def _run_tools(self, plan: Plan, cells: list[Cell]) -> list[ToolRun | None]:
        """All tools at once; None for one that is not installed."""
        installed = [(cell, entry) for cell, entry in zip(cells, plan.candidates, strict=True) if entry.executable]
        began = {cell.workcell_id: timestamp() for cell, _ in installed}
        processes = [self._start_tool(cell, str(entry.executable)) for cell, entry in installed]
        limits = [entry.timeout_seconds * self.second_per_nominal_second for _, entry in installed]
        runs: dict[str, ToolRun] = {}
        began_at = time.time()
        exits = wait_all(processes, limits)
        for (cell, _), ended in zip(installed, exits, strict=True):
            completed = datetime.fromtimestamp(began_at + ended.seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            stdout = (cell.path / "logs" / f"{cell.toolchain}-stdout.log").read_text(encoding="utf-8", errors="replace")
            report = documents.last_json_line(stdout)
            run = ToolRun(ended.code, int(1000 * ended.seconds), began[cell.workcell_id], completed, report)
            runs[cell.workcell_id] = run
            if cell.toolchain in documents.TELEMETRY_TOOLS:
                prompt = (cell.path / "prompt.md").read_text(encoding="utf-8")
                (cell.path / "telemetry.jsonl").write_bytes(documents.telemetry_lines(cell, prompt, run, stdout))
        return [runs.get(cell.workcell_id) for cell in cells]

    def _start_tool(self, cell: Cell, executable: str) -> subprocess.Popen[bytes]:
        settings = self.config.get("toolchains", {}).get(cell.toolchain) or {}
        prompt = cell.path / "prompt.md"
        environment = child_environment({key: str(value) for key, value in (settings.get("env") or {}).items()})
        command = [executable, *tool_arguments(cell.toolchain, prompt, cell.model, settings.get("config") or {})]
        stdin = prompt if cell.toolchain in ("codex", "crush") else None
        logs = cell.path / "logs"
        stdout, stderr = logs / f"{cell.toolchain}-stdout.log", logs / f"{cell.toolchain}-stderr.log"
        return start(command, cell.path, environment, stdin, stdout, stderr)

    def _proof(self, plan: Plan, cell: Cell, run: ToolRun | None) -> dict[str, Any]:
        """Write proof.json and, where Cyntra has one, rollout.json; a serial run without a result has neither."""
        speculative = plan.swarm_id == SPECULATE
        if run is None or run.exit_code is None:
            for log in (cell.path / "logs").iterdir():
                log.unlink()
        if run is None:
            proof = documents.missing_tool_proof(cell, timestamp())
        elif run.exit_code is None:
            proof = documents.proof_document(cell, run, Patch("", (), 0, 0))
        else:
            proof = documents.proof_document(cell, run, workcells.read_patch(cell))
        if not speculative and (run is None or run.exit_code is None):
            return proof
        verified = proof["status"] in ("success", "partial") and not proof["patch"]["forbidden_path_violations"]
        if verified:
            self._verify(cell, proof)
        elif speculative and f"status:{proof['status']}" not in proof["verification"]["blocking_failures"]:
            proof["verification"]["blocking_failures"].append(f"status:{proof['status']}")
        documents.write_json(cell.path / "proof.json", proof)
        if verified or speculative:
            documents.write_json(cell.path / "rollout.json", documents.rollout_document(cell, proof, timestamp()))
        return proof

    def _verify(self, cell: Cell, proof: dict[str, Any]) -> None:
        results = {}
        for name, command in self._gates(cell.issue).items():
            gate = run_gate(command, cell.path)
            passed = gate.exit_code == 0
            results[name] = {
                "passed": passed,
                "exit_code": gate.exit_code,
                "duration_ms": gate.milliseconds,
                "output": None if passed else gate.stdout,
                "error": None if passed else gate.stderr,
            }
            text = f"=== STDOUT ===\n{gate.stdout}\n=== STDERR ===\n{gate.stderr}\n"
            (cell.path / "logs" / f"{name}.log").write_text(text, encoding="utf-8")
        failures = [name for name, result in results.items() if not result["passed"]]
        proof["verification"] = {"gates": results, "all_passed": not failures, "blocking_failures": failures}

    def _conclude(self, cell: Cell, run: ToolRun | None, proof: dict[str, Any]) -> None:
        """The issue's new state and the events that say so."""
        tool = cell.toolchain
        if proof["verification"]["all_passed"] and run is not None:
            update_issue(self.repo_root, self.issue_id, status="done")
            data = {"toolchain": tool, "duration_ms": run.milliseconds, "speculate_tag": cell.speculate_tag}
            self._log("workcell.completed", data, cell.workcell_id)
            self._log("issue.completed", data)
            print(f"issue {self.issue_id}: done by {tool}")
            return
        failures = proof["verification"]["blocking_failures"]
        error = f"Gate failures: {', '.join(failures)}" if failures else "Unknown error"
        if run is None and cell.speculate_tag is None:
            error = f"Toolchain not available: {tool}"
        attempts = record_failure(self.repo_root, self.issue_id, error)
        data = {"toolchain": tool, "error": error, "attempt": attempts}
        self._log("workcell.failed", data, cell.workcell_id)
        self._log("issue.failed", data)
        print(f"issue {self.issue_id}: {error}")

    def _gates(self, issue: dict[str, Any]) -> dict[str, str]:
        """An issue's own gates replace the config's."""
        named = issue.get("dk_quality_gates")
        if not named:
            commands = (self.config.get("gates") or {}).items()
            named = {name.removesuffix("_command"): text for name, text in commands if name.endswith("_command")}
        # null and nothing at all are no gate; `true` without quotes is YAML's yes, and a shell's command.
        texts = {name: str(text).lower() if isinstance(text, bool) else text for name, text in named.items()}
        return {name: str(text) for name, text in texts.items() if text not in (None, "")}

    def _log(self, kind: str, data: dict[str, Any], workcell_id: str | None = None) -> None:
        event: dict[str, Any] = {"type": kind, "timestamp": timestamp(), "issue_id": self.issue_id, "data": data}
        if workcell_id is not None:
            event["workcell_id"] = workcell_id
        path = self.kernel_dir / "logs" / "events.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(orjson.dumps(event) + b"\n")


def tool_arguments(tool: str, prompt: Path, model: str, config: dict[str, Any]) -> list[str]:
    """The arguments with which Cyntra starts a tool (docs/kernel-contract.md, section 1)."""
    with_model = ["--model", model] if model else []
    if tool == "codex":
        fixed = ["exec", "-", "--sandbox", str(config.get("sandbox", "workspace-write")), "--full-auto"]
        return [*fixed, "--config", 'model_reasoning_effort="xhigh"', *with_model]
    if tool == "claude":
        output = ["--output-format", str(config["output_format"])] if config.get("output_format") else []
        return ["--print", f"@{prompt}", *with_model, *output, "--dangerously-skip-permissions"]
    if tool == "opencode":
        text = "Execute the task described in prompt.md"
        return ["run", "--format", "json", "--file", str(prompt), text, *with_model]
    return ["-y", "run", "--quiet"]


def _vote(proof: dict[str, Any]) -> tuple[bool, float]:
    """Candidates that pass their gates come first, then the more confident; of equals the earlier."""
    return bool(proof["verification"]["all_passed"]), float(proof["confidence"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cyntra-sandbox", description="Run a sandbox as Cyntra would.")
    parser.add_argument("--config", default=".cyntra/config.yaml", help="YAML file; its folder is the kernel's folder")
    commands = parser.add_subparsers(dest="command", required=True)
    add_evolve_options(commands.add_parser("evolve", help="evolve a world"))
    run = commands.add_parser("run", help="run an issue")
    run.add_argument("--once", action="store_true", required=True, help="run one issue and end")
    run.add_argument("--issue", required=True, help="id in .beads/issues.jsonl")
    run.add_argument("--speculate", action="store_true", help="several tools at once")
    run.add_argument("--universe", help="id of a folder in universes/")
    run.add_argument("--max-concurrent", type=int, help="accepted as Cyntra does; it bounds nothing in a single run")
    run.add_argument("--planner-enabled", action="store_true", help="let a bundle decide swarm, candidates and minutes")
    run.add_argument("--planner-checkpoint", metavar="BUNDLE", help="directory written by `planner export`")
    run.add_argument("--dry-run", action="store_true", help="say what would be run")
    return parser


if __name__ == "__main__":
    sys.exit(main())
