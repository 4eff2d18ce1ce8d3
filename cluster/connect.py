"""The one place that connects to Ray: embedded and quiet by default, a running cluster when an address is given."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

EMBEDDED_OBJECT_STORE_BYTES = 512 * 1024 * 1024
"""Room for the largest intermediate blocks of a laptop's dataset; Ray's own default takes 30 % of the memory."""

_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_DEDUP_LOGS": "1",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.2",
    "RAY_worker_niceness": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}
"""Ray's settings that make short local work quick and its output ours; a user's own values win."""


@contextmanager
def connect(address: str | None = None, num_cpus: int | None = None) -> Iterator[Any]:
    """Ray for the length of a ``with`` block; yields the ray module.

    ``address`` or RAY_ADDRESS names a running head ("auto" finds a local one); otherwise Ray starts inside this
    process with ``num_cpus`` CPUs (default: the cores this process may use) and is shut down at the end.
    A connection that is open already is used and left open. Raises ConnectionError when nothing answers at the address.
    """
    address = address or os.environ.get("RAY_ADDRESS") or None
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if address is None:
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    import ray

    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is not None:
        ray.init(address=address, **quiet)
    else:
        ray.init(
            num_cpus=num_cpus or usable_cpus(),
            include_dashboard=False,
            object_store_memory=EMBEDDED_OBJECT_STORE_BYTES,
            **quiet,
        )
    try:
        yield ray
    finally:
        ray.shutdown()


def usable_cpus() -> int:
    """The cores this process may run on: fewer than the machine has, in a container or under taskset."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
