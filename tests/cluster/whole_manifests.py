"""Manifests with all that they can have: tests check these, and .ci/write_kuberay_schema.py keeps their fields."""

from typing import Any

from cluster.manifests import Pods, raycluster, rayjob

WHOLE = Pods(
    image="registry.example/planner:0.1.0",
    name="planner-bench",
    namespace="research",
    workers=1,
    max_workers=4,
    gpus=1,
    claim="cyntra",
    env=["RAY_LOG_TO_STDERR=1"],
    secrets=["bucket-keys"],
    pull_secrets=["registry"],
    service_account="planner",
    tolerations=["nvidia.com/gpu:NoSchedule", "pool=bench"],
)
COMMAND = ["planner", "bench", "/data/my repo", "--k", "4"]


def whole_manifests() -> list[dict[str, Any]]:
    """A RayJob and a RayCluster."""
    return [rayjob(COMMAND, WHOLE, deadline_minutes=90), raycluster(WHOLE)]
