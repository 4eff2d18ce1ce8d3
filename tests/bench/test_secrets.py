"""Nothing of a config leaves the repo but what decides: no artifact of ours holds a secret that was planted there."""

from pathlib import Path
from typing import Any

import yaml

from bench.ledger import Ledger
from planner.dataset.build import build_dataset
from planner.export.bundle import export_bundle
from tests.bench.benches import cases_of
from tests.bench.conftest import KernelRepo
from tests.conftest import copy_corpus
from tests.trained_runs import trained

SECRET = "hunter2-planted"


def with_secrets(config: dict[str, Any]) -> dict[str, Any]:
    """The config with a secret under every mapping, at keys that people use and at ones that nobody knows."""
    planted = {key: with_secrets(value) if isinstance(value, dict) else value for key, value in config.items()}
    return {**planted, "api_key": SECRET, "env": {"TOKEN": SECRET}, f"{SECRET}-as-key": True, "notes": [SECRET]}


CONFIG: dict[str, Any] = {
    "toolchain_priority": ["codex", "claude"],
    "toolchains": {"codex": {"path": f"/opt/{SECRET}/codex", "timeout_minutes": 45, "config": {}}, "claude": {}},
    "routing": {"rules": [{"match": {"dk_risk": ["high"], "token": SECRET}, "use": ["codex"], "note": SECRET}]},
    "speculation": {"auto_trigger": {"on_critical_path": True}},
    "control": {"enabled": False},
    "scheduling": {"max_concurrent_workcells": 2},
    "gates": {"test_command": f"curl -H 'Authorization: {SECRET}' example.org"},
    "sandbox": {"seconds_per_minute": 60.0},
}


def holding(directory: Path) -> list[Path]:
    """The files below a directory that hold the secret."""
    return [path for path in directory.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]


def planted_config() -> str:
    config = with_secrets(CONFIG)
    # Names of toolchains are needed, and are no secrets.
    config["toolchains"] = {name: with_secrets(tool) for name, tool in CONFIG["toolchains"].items()}
    return yaml.safe_dump(config)


def test_no_dataset_run_or_bundle_holds_a_secret_of_the_config(tmp_path: Path, ray_cluster: Any) -> None:
    repo = copy_corpus(tmp_path / "repo")
    (repo / ".cyntra" / "config.yaml").write_text(planted_config())
    out = tmp_path / "out"
    out.mkdir()
    info = build_dataset(repo, out / "dataset")
    assert info.kernel_config["toolchains"]["codex"] == {"timeout_minutes": 45}
    trained(out / "dataset", out / "run", "n_similar=2")
    export_bundle(out / "run", out / "bundle")
    assert (out / "bundle" / "metadata.json").exists() and holding(out) == []


def test_no_ledger_holds_a_secret_of_the_config_or_of_a_remote(kernel_repo: KernelRepo, tmp_path: Path) -> None:
    (kernel_repo.root / ".cyntra" / "config.yaml").write_text(planted_config().replace(f"/opt/{SECRET}/codex", "codex"))
    kernel_repo.git("remote", "add", "origin", f"https://user:{SECRET}@example.org/repo.git")
    with Ledger.open(tmp_path / "ledger" / "ledger.sqlite") as ledger:
        ledger.add_cases(cases_of(kernel_repo.root, n_actions=4))
        assert ledger.planned()
    assert holding(tmp_path / "ledger") == []
