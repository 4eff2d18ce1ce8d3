"""Manifests that bring a planner command to a cluster: a RayJob for KubeRay, a cluster file for `ray up`."""

import json
import shlex
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator

from planner.errors import ConfigError

RAY_PORT = 6379
VOLUME = "planner-data"
RAYJOB_SCHEMA = Path(__file__).with_name("rayjob.schema.json")


def rayjob(
    command: Sequence[str],
    *,
    image: str,
    name: str,
    workers: int,
    cpus: int,
    memory: str,
    claim: str | None,
    mount: str,
) -> dict[str, Any]:
    """A KubeRay RayJob (ray.io/v1) that starts a cluster, runs ``command`` on its head, and removes the cluster.

    ``image`` holds Ray and the planner. ``workers`` pods and the head have ``cpus`` cores and ``memory`` (Kubernetes
    notation, for instance 8Gi) each; ``claim`` is the PersistentVolumeClaim mounted at ``mount`` in all of them, where
    datasets and results live. ConfigError when a value is none that Kubernetes takes.
    """
    manifest = {
        "apiVersion": "ray.io/v1",
        "kind": "RayJob",
        "metadata": {"name": name},
        "spec": {
            "entrypoint": shlex.join(command),
            "submissionMode": "K8sJobMode",
            # A command that is killed goes on with --resume; starting it over is for the user to decide.
            "backoffLimit": 0,
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": 600,
            "rayClusterSpec": {
                "rayVersion": version("ray"),
                "headGroupSpec": {
                    "rayStartParams": {"dashboard-host": "0.0.0.0"},
                    "template": _pod("ray-head", image, cpus, memory, claim, mount),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": "workers",
                        "replicas": workers,
                        "minReplicas": workers,
                        "maxReplicas": workers,
                        "rayStartParams": {},
                        "template": _pod("ray-worker", image, cpus, memory, claim, mount),
                    }
                ],
            },
        },
    }
    schema = json.loads(RAYJOB_SCHEMA.read_text("utf-8"))
    error = next(Draft202012Validator(schema).iter_errors(manifest), None)
    if error is not None:
        raise ConfigError(f"RayJob {error.json_path}: {error.message}")
    return manifest


def ray_up(*, name: str, head: str, workers: Sequence[str], user: str, setup: Sequence[str]) -> dict[str, Any]:
    """A cluster file for `ray up` over machines that are reached by ssh.

    ``head`` and ``workers`` are host names or addresses; ``setup`` are shell commands that install the planner on each.
    """
    activate = "ulimit -n 65536 || true; "
    return {
        "cluster_name": name,
        "provider": {"type": "local", "head_ip": head, "worker_ips": list(workers)},
        "auth": {"ssh_user": user},
        "setup_commands": list(setup),
        "head_start_ray_commands": [
            "ray stop",
            f"{activate}ray start --head --port={RAY_PORT} --autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": ["ray stop", f"{activate}ray start --address=$RAY_HEAD_IP:{RAY_PORT}"],
    }


def _pod(container: str, image: str, cpus: int, memory: str, claim: str | None, mount: str) -> dict[str, Any]:
    resources = {"cpu": str(cpus), "memory": memory}
    description: dict[str, Any] = {
        "name": container,
        "image": image,
        "resources": {"requests": resources, "limits": dict(resources)},
    }
    if claim is None:
        return {"spec": {"containers": [description]}}
    description["volumeMounts"] = [{"name": VOLUME, "mountPath": mount}]
    volume = {"name": VOLUME, "persistentVolumeClaim": {"claimName": claim}}
    return {"spec": {"containers": [description], "volumes": [volume]}}
