"""The manifests for KubeRay and `ray up`, against the schemas of those who read them."""

import json
import subprocess
import sys
import tomllib
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from jsonschema import Draft202012Validator, ValidationError
from typer.testing import CliRunner

from cluster.manifests import SCHEMA, TORCH, Pods, check_manifest, ray_up, raycluster, rayjob
from planner.cli import app
from planner.errors import ConfigError
from tests.cluster.whole_manifests import COMMAND, WHOLE, whole_manifests

ROOT = Path(__file__).parents[2]
SMALL = Pods(image="planner:0.1.0")


def groups(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The groups of pods, the head's first."""
    spec = manifest["spec"].get("rayClusterSpec", manifest["spec"])
    return [spec["headGroupSpec"], *spec["workerGroupSpecs"]]


def test_the_schema_is_one_and_says_where_it_is_from() -> None:
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    assert set(schema["$defs"]) == {"RayJob", "RayCluster"}
    assert "KubeRay v" in schema["$comment"]


@pytest.mark.parametrize("manifest", whole_manifests(), ids=["RayJob", "RayCluster"])
def test_a_manifest_with_all_it_can_have_is_what_kuberay_takes_and_a_field_more_is_not(
    manifest: dict[str, Any],
) -> None:
    check_manifest(manifest)
    group = groups(manifest)[1]
    group["template"]["spec"]["toleration"] = group["template"]["spec"].pop("tolerations")
    with pytest.raises(ConfigError, match="toleration"):
        check_manifest(manifest)


@pytest.mark.parametrize("made", [rayjob(COMMAND, SMALL), raycluster(SMALL)], ids=["RayJob", "RayCluster"])
def test_a_manifest_with_nothing_but_an_image_is_what_kuberay_takes(made: dict[str, Any]) -> None:
    check_manifest(made)
    assert "volume" not in json.dumps(made)


def test_a_rayjob_runs_the_command_as_typed_on_pods_that_share_the_data() -> None:
    manifest = rayjob(COMMAND, replace(SMALL, claim="cyntra"), deadline_minutes=90)
    assert manifest["spec"]["entrypoint"] == "planner bench '/data/my repo' --k 4"
    assert manifest["spec"]["activeDeadlineSeconds"] == 5400
    assert manifest["spec"]["rayClusterSpec"]["rayVersion"] == version("ray")
    for group in groups(manifest):
        pod = group["template"]["spec"]
        assert pod["containers"][0]["volumeMounts"] == [{"name": "planner-data", "mountPath": "/data"}]
        assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "cyntra"}


def test_the_head_has_its_own_size_and_takes_no_tasks_and_only_workers_have_gpus() -> None:
    head, workers = groups(raycluster(replace(WHOLE, head_cpus=3, head_memory="5Gi", cpus=16)))
    assert head["rayStartParams"]["num-cpus"] == "0"
    assert head["template"]["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "3", "memory": "5Gi"}
    limits = workers["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits == {"cpu": "16", "memory": "8Gi", "nvidia.com/gpu": "1"}


def test_every_pod_has_the_environment_secrets_account_and_tolerations() -> None:
    for group in groups(raycluster(WHOLE)):
        pod = group["template"]["spec"]
        (container,) = pod["containers"]
        assert container["env"] == [{"name": "RAY_LOG_TO_STDERR", "value": "1"}]
        assert container["envFrom"] == [{"secretRef": {"name": "bucket-keys"}}]
        assert pod["imagePullSecrets"] == [{"name": "registry"}]
        assert pod["serviceAccountName"] == "planner"
        assert pod["tolerations"] == [
            {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},
            {"key": "pool", "operator": "Equal", "value": "bench"},
        ]


def test_a_cluster_asks_for_a_token_and_grows_only_where_that_was_said() -> None:
    plain, whole = raycluster(SMALL)["spec"], raycluster(WHOLE)["spec"]
    assert plain["authOptions"] == {"mode": "token"}
    assert "authOptions" not in raycluster(replace(SMALL, token=False))["spec"]
    assert "enableInTreeAutoscaling" not in plain
    assert whole["enableInTreeAutoscaling"] is True
    assert [whole["workerGroupSpecs"][0][key] for key in ("minReplicas", "maxReplicas")] == [1, 4]
    with pytest.raises(ConfigError, match="the head takes no tasks"):
        raycluster(replace(SMALL, workers=0))


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("name", "Planner_1", "--name 'Planner_1'.*for instance planner-1"),
        ("name", "x" * 48, "at most 47"),
        ("namespace", "Team A", "--namespace.*for instance team-a"),
        ("claim", "", "--claim"),
        ("secrets", ["My.Secret"], "--secret.*for instance my-secret"),
        ("pull_secrets", ["-"], "--pull-secret.*for instance planner"),
        ("service_account", "me@team", "--service-account.*for instance me-team"),
        ("tolerations", ["pool:Never"], "--toleration.*NoSchedule"),
        ("env", ["KEY"], "--env.*NAME=VALUE"),
        ("image", "a b", "--image"),
        ("mount", "data", "--mount"),
        ("memory", "8 GB", r"RayJob \$\..*does not match"),
        ("head_memory", "much", r"RayJob \$\..*does not match"),
    ],
)
def test_a_value_that_kubernetes_would_refuse_is_named(field: str, value: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        check_manifest(rayjob(COMMAND, replace(SMALL, **{field: value})))


def machines(**options: Any) -> dict[str, Any]:
    return ray_up(name="planner", head="10.0.0.1", workers=["10.0.0.2"], user="me", checkout=ROOT, **options)


def test_the_machines_file_follows_the_schema_that_ray_ships() -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    for document in (machines(), machines(setup=["true"], token=False)):
        Draft202012Validator(schema).validate(document)
    with pytest.raises(ValidationError):
        Draft202012Validator(schema).validate({**machines(), "setup": ["true"]})


def test_machines_get_the_checkout_and_the_token_and_torch_before_all_else() -> None:
    document = machines()
    assert document["file_mounts"] == {"~/cyntra-planner": str(ROOT), "~/.ray/auth_token": "~/.ray/auth_token"}
    torch, rest = document["setup_commands"][1:]
    assert torch.endswith(f"-c constraints.txt {TORCH}") and "'.[train,bench]'" in rest
    for name in ("constraints.txt", "pyproject.toml"):
        assert (ROOT / name).is_file()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert TORCH in project["optional-dependencies"]["train"]
    assert "bench" in project["optional-dependencies"]
    for command in (*document["head_start_ray_commands"], *document["worker_start_ray_commands"]):
        assert "RAY_AUTH_MODE=token;" in command and "PATH=~/cyntra-planner/.venv/bin:$PATH;" in command


def test_the_commands_print_yaml_and_nothing_else() -> None:
    runner = CliRunner()
    words = ["--image", "planner:0.1.0", "--toleration", "pool=bench", "--max-workers", "3"]
    job = runner.invoke(app, ["cluster", "rayjob", *words, "--", "planner", "tune", "/data/dataset"])
    assert yaml.safe_load(job.stdout)["spec"]["entrypoint"] == "planner tune /data/dataset"
    cluster = yaml.safe_load(runner.invoke(app, ["cluster", "raycluster", *words]).stdout)
    assert groups(cluster)[1]["template"]["spec"]["tolerations"][0]["value"] == "bench"
    assert groups(cluster)[1]["maxReplicas"] == 3
    listed = runner.invoke(app, ["cluster", "machines", "--head", "10.0.0.1", "--worker", "10.0.0.2"])
    assert yaml.safe_load(listed.stdout)["provider"]["worker_ips"] == ["10.0.0.2"]


def test_the_excerpt_is_written_from_a_definition_and_a_field_that_it_lacks_is_named(tmp_path: Path) -> None:
    """Of the definition only what the writer reads: KubeRay's own are 1.4 MB and not part of this project."""
    for kind in ("RayJob", "RayCluster"):
        schema = {"type": "object", "properties": {"apiVersion": {}, "kind": {}, "metadata": {"type": "object"}}}
        names = {"kind": kind}
        versions = [{"name": "v1", "schema": {"openAPIV3Schema": schema}}]
        (tmp_path / f"{kind}.yaml").write_text(
            yaml.safe_dump({"spec": {"group": "ray.io", "names": names, "versions": versions}})
        )
    done = subprocess.run(
        [
            sys.executable,
            ROOT / ".ci/write_kuberay_schema.py",
            "v0",
            tmp_path / "RayJob.yaml",
            tmp_path / "RayCluster.yaml",
        ],
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    assert (done.returncode, done.stderr) == (1, "RayJob.spec: KubeRay has no such field\n")
