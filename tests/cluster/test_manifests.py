"""The manifests for KubeRay and `ray up`, against the schemas of those who read them."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from jsonschema import Draft202012Validator, ValidationError
from typer.testing import CliRunner

from cluster.manifests import RAYJOB_SCHEMA, ray_up, rayjob
from planner.cli import app
from planner.errors import ConfigError

COMMAND = ["planner", "bench", "/data/my repo", "--k", "4"]
OPTIONS: dict[str, Any] = {
    "image": "planner:0.1.0",
    "name": "planner-bench",
    "workers": 2,
    "cpus": 4,
    "memory": "8Gi",
    "claim": "cyntra",
    "mount": "/data",
}


def test_the_rayjob_schema_is_one_and_refuses_unknown_fields() -> None:
    schema = json.loads(RAYJOB_SCHEMA.read_text())
    Draft202012Validator.check_schema(schema)
    manifest = rayjob(COMMAND, **OPTIONS)
    manifest["spec"]["shutdownAfterJobFinish"] = True
    with pytest.raises(ValidationError, match="shutdownAfterJobFinish"):
        Draft202012Validator(schema).validate(manifest)


def test_a_rayjob_runs_the_command_as_typed_on_pods_that_share_the_data() -> None:
    spec = rayjob(COMMAND, **OPTIONS)["spec"]
    assert spec["entrypoint"] == "planner bench '/data/my repo' --k 4"
    assert spec["rayClusterSpec"]["rayVersion"] == version("ray")
    groups = [spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]]
    assert groups[1]["replicas"] == 2
    for group in groups:
        pod = group["template"]["spec"]
        assert pod["containers"][0]["volumeMounts"] == [{"name": "planner-data", "mountPath": "/data"}]
        assert pod["volumes"][0]["persistentVolumeClaim"] == {"claimName": "cyntra"}


def test_a_rayjob_without_a_claim_has_no_volumes() -> None:
    manifest = rayjob(COMMAND, **{**OPTIONS, "claim": None})
    assert "volume" not in json.dumps(manifest)


@pytest.mark.parametrize(
    ("option", "value"), [("name", "Planner_1"), ("memory", "8 GB"), ("image", "a b"), ("mount", "data"), ("claim", "")]
)
def test_a_value_that_kubernetes_would_refuse_is_named(option: str, value: str) -> None:
    with pytest.raises(ConfigError, match=r"RayJob \$\..*does not match"):
        rayjob(COMMAND, **{**OPTIONS, option: value})


def test_the_machines_file_follows_the_schema_that_ray_ships() -> None:
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    document = ray_up(name="planner", head="10.0.0.1", workers=["10.0.0.2"], user="me", setup=["true"])
    Draft202012Validator(schema).validate(document)
    with pytest.raises(ValidationError):
        Draft202012Validator(schema).validate({**document, "setup": ["true"]})


def test_the_commands_print_yaml_and_nothing_else() -> None:
    runner = CliRunner()
    job = runner.invoke(
        app, ["cluster", "rayjob", "--image", "planner:0.1.0", "--", "planner", "tune", "/data/dataset"]
    )
    assert yaml.safe_load(job.stdout)["spec"]["entrypoint"] == "planner tune /data/dataset"
    machines = runner.invoke(app, ["cluster", "machines", "--head", "10.0.0.1", "--worker", "10.0.0.2"])
    assert yaml.safe_load(machines.stdout)["provider"]["worker_ips"] == ["10.0.0.2"]
