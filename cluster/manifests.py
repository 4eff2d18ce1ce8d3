"""Manifests that bring planner commands to a cluster: a RayJob or RayCluster for KubeRay, a cluster file for `ray up`.

What is made for KubeRay is checked against the part of its own schema that it uses (kuberay.schema.json).
"""

import json
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from planner.errors import ConfigError

RAY_PORT = 6379
VOLUME = "planner-data"
SCHEMA = Path(__file__).with_name("kuberay.schema.json")
LONGEST = {"RayJob": 47, "RayCluster": 53}
"""Characters of a name: KubeRay makes longer ones of it, which Kubernetes takes up to 63."""
EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
TOKEN = "~/.ray/auth_token"
TORCH = "torch==2.13.0"
"""As in pyproject.toml."""
CHECKOUT = "~/cyntra-planner"
_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(rf"{_LABEL.pattern}(\.{_LABEL.pattern})*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Pods:
    """The pods of a cluster on Kubernetes. Memory is in its notation, for instance 8Gi."""

    image: str
    """Holds Ray and the planner."""
    name: str = "planner"
    namespace: str | None = None
    workers: int = 2
    max_workers: int | None = None
    """With it the cluster grows and shrinks between ``workers`` and this; None: it has ``workers``."""
    cpus: int = 4
    gpus: int = 0
    memory: str = "8Gi"
    head_cpus: int = 2
    head_memory: str = "8Gi"
    """The head runs the command itself, but none of its tasks."""
    claim: str | None = None
    """PersistentVolumeClaim with data and results, mounted at ``mount`` in all pods."""
    mount: str = "/data"
    env: Sequence[str] = ()
    """NAME=VALUE."""
    secrets: Sequence[str] = ()
    """Secrets whose keys become variables of the environment."""
    pull_secrets: Sequence[str] = ()
    service_account: str | None = None
    tolerations: Sequence[str] = ()
    """KEY, KEY=VALUE, KEY:EFFECT or KEY=VALUE:EFFECT."""
    token: bool = True
    """Whether the cluster asks for a token, which KubeRay makes and hands to its pods."""


def rayjob(command: Sequence[str], pods: Pods, *, deadline_minutes: int | None = None) -> dict[str, Any]:
    """A KubeRay RayJob (ray.io/v1) that starts a cluster, runs ``command`` on its head, and removes the cluster.

    It is ended after ``deadline_minutes``. ConfigError when a name or a value is none that Kubernetes takes; the whole
    is for :func:`check_manifest`.
    """
    deadline = {} if deadline_minutes is None else {"activeDeadlineSeconds": 60 * deadline_minutes}
    spec = {
        "entrypoint": shlex.join(command),
        "submissionMode": "K8sJobMode",
        # A command that is killed goes on when it is given again; starting it over is for the user to decide.
        "backoffLimit": 0,
        **deadline,
        "shutdownAfterJobFinishes": True,
        "ttlSecondsAfterFinished": 600,
        "rayClusterSpec": _cluster(pods),
    }
    return _manifest("RayJob", pods, spec)


def raycluster(pods: Pods) -> dict[str, Any]:
    """A KubeRay RayCluster (ray.io/v1) that stays, for `planner submit`; ConfigError as :func:`rayjob`."""
    return _manifest("RayCluster", pods, _cluster(pods))


def check_manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest, which KubeRay's schema allows; ConfigError for another."""
    from jsonschema import Draft202012Validator  # here, so that other commands do not wait for it

    schema, kind = json.loads(SCHEMA.read_text("utf-8")), manifest["kind"]
    error = next(Draft202012Validator({**schema, "$ref": f"#/$defs/{kind}"}).iter_errors(manifest), None)
    if error is not None:
        raise ConfigError(f"{kind} {error.json_path}: {error.message}")
    return manifest


def ray_up(
    *,
    name: str,
    head: str,
    workers: Sequence[str],
    user: str,
    checkout: Path | None,
    setup: Sequence[str] = (),
    token: bool = True,
) -> dict[str, Any]:
    """A cluster file for `ray up` over machines that are reached by ssh.

    ``head`` and ``workers`` are host names or addresses. ``checkout``, the planner's own, is copied to each machine and
    installed there; shell commands in ``setup`` replace the installing. With ``token`` this machine's ~/.ray/auth_token
    goes to each of them.
    """
    start = "ulimit -n 65536 || true; "
    if not setup:
        start = f"export PATH={CHECKOUT}/.venv/bin:$PATH; {start}"
    if token:
        start = f"export RAY_AUTH_MODE=token; {start}"
    mounts = {TOKEN: TOKEN} if token else {}
    if checkout is not None:
        mounts[CHECKOUT] = str(checkout)
    return {
        "cluster_name": name,
        "provider": {"type": "local", "head_ip": head, "worker_ips": list(workers)},
        "auth": {"ssh_user": user},
        "file_mounts": mounts,
        "rsync_exclude": ["**/.git", "**/.venv", "**/__pycache__"],
        "setup_commands": list(setup) or installing(),
        "head_start_ray_commands": [
            f"{start}ray stop",
            f"{start}ray start --head --port={RAY_PORT} --autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": [f"{start}ray stop", f"{start}ray start --address=$RAY_HEAD_IP:{RAY_PORT}"],
    }


def installing() -> list[str]:
    """What installs the checkout on a machine; torch first, as in the Makefile: named by another package it may bring
    GB of CUDA."""
    return [
        f"cd {CHECKOUT} && python3 -m venv .venv",
        f"cd {CHECKOUT} && .venv/bin/python -m pip install -c constraints.txt {TORCH}",
        f"cd {CHECKOUT} && .venv/bin/python -m pip install -c constraints.txt '.[train,bench]'",
    ]


def own_checkout() -> Path | None:
    """The checkout that this program runs from; None when it was installed as a wheel."""
    root = Path(__file__).parents[1]
    return root if (root / "pyproject.toml").is_file() and (root / "constraints.txt").is_file() else None


def _cluster(pods: Pods) -> dict[str, Any]:
    most = pods.workers if pods.max_workers is None else pods.max_workers
    if most < max(1, pods.workers):
        raise ConfigError(
            f"--workers {pods.workers}, --max-workers {pods.max_workers}: the head takes no tasks, so there must be a "
            "worker, and never fewer at most than at least"
        )
    scaling = {} if pods.max_workers is None else {"enableInTreeAutoscaling": True}
    auth = {"authOptions": {"mode": "token"}} if pods.token else {}
    gpus = {"nvidia.com/gpu": str(pods.gpus)} if pods.gpus else {}
    return {
        "rayVersion": version("ray"),
        **auth,
        **scaling,
        "headGroupSpec": {
            "rayStartParams": {"dashboard-host": "0.0.0.0", "num-cpus": "0"},
            "template": _pod(pods, "ray-head", {"cpu": str(pods.head_cpus), "memory": pods.head_memory}),
        },
        "workerGroupSpecs": [
            {
                "groupName": "workers",
                "replicas": pods.workers,
                "minReplicas": pods.workers,
                "maxReplicas": most,
                "rayStartParams": {},
                "template": _pod(pods, "ray-worker", {"cpu": str(pods.cpus), "memory": pods.memory, **gpus}),
            }
        ],
    }


def _pod(pods: Pods, name: str, resources: dict[str, str]) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": name,
        "image": pods.image,
        "resources": {"requests": resources, "limits": dict(resources)},
    }
    spec: dict[str, Any] = {"containers": [container]}
    if pods.env:
        container["env"] = [_variable(text) for text in pods.env]
    if pods.secrets:
        container["envFrom"] = [{"secretRef": {"name": _named("--secret", secret)}} for secret in pods.secrets]
    if pods.claim is not None:
        container["volumeMounts"] = [{"name": VOLUME, "mountPath": pods.mount}]
        claim = {"claimName": _named("--claim", pods.claim)}
        spec["volumes"] = [{"name": VOLUME, "persistentVolumeClaim": claim}]
    if pods.pull_secrets:
        spec["imagePullSecrets"] = [{"name": _named("--pull-secret", secret)} for secret in pods.pull_secrets]
    if pods.service_account is not None:
        spec["serviceAccountName"] = _named("--service-account", pods.service_account)
    if pods.tolerations:
        spec["tolerations"] = [_toleration(text) for text in pods.tolerations]
    return {"spec": spec}


def _variable(text: str) -> dict[str, str]:
    name, separator, value = text.partition("=")
    if not separator or not _VARIABLE.fullmatch(name):
        raise ConfigError(
            f"--env {text!r}: write NAME=VALUE; what must not be seen in the manifest belongs into --secret"
        )
    return {"name": name, "value": value}


def _toleration(text: str) -> dict[str, str]:
    rest, _, effect = text.partition(":")
    key, separator, value = rest.partition("=")
    if not key or (effect and effect not in EFFECTS):
        raise ConfigError(f"--toleration {text!r}: write KEY[=VALUE][:EFFECT], EFFECT one of {', '.join(EFFECTS)}")
    found = {"key": key, "operator": "Equal" if separator else "Exists"}
    return {**found, **({"value": value} if separator else {}), **({"effect": effect} if effect else {})}


def _named(option: str, name: str) -> str:
    """The name of an object of Kubernetes: a subdomain of RFC 1123."""
    return _require_name(option, name, 253, _SUBDOMAIN)


def _require_name(option: str, name: str, longest: int, pattern: re.Pattern[str] = _LABEL) -> str:
    """``name``; ConfigError when it is none, with one that would do."""
    if pattern.fullmatch(name) and len(name) <= longest:
        return name
    near = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:longest].strip("-")
    raise ConfigError(
        f"{option} {name!r}: Kubernetes takes lower-case letters, digits and '-', at most {longest}, with a letter or "
        f"digit at both ends: for instance {near or 'planner'}"
    )


def _manifest(kind: str, pods: Pods, spec: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": _require_name("--name", pods.name, LONGEST[kind])}
    if pods.namespace is not None:
        metadata["namespace"] = _require_name("--namespace", pods.namespace, 63)
    if not re.fullmatch(r"\S+", pods.image):
        raise ConfigError(f"--image {pods.image!r}: the name of an image has no spaces, for instance planner:0.1.0")
    if not pods.mount.startswith("/"):
        raise ConfigError(f"--mount {pods.mount!r}: write a path that begins with /")
    return {"apiVersion": "ray.io/v1", "kind": kind, "metadata": metadata, "spec": spec}
