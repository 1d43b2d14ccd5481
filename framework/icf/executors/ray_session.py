"""A Ray session for one run: embedded and on loopback, or the cluster that RAY_ADDRESS names."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from icf.errors import IcfError
from icf.executors.ray_access import is_loopback, require_loopback_or_token, require_protection

QUIET = {
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
}
EMBEDDED = {
    # The only switch that binds everything to loopback.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # It would count the whole machine's memory, other programs included.
    "RAY_memory_monitor_refresh_ms": "0",
}
CLUSTER = {
    # A task is started elsewhere only when its connection ends; to a node that was cut off, it lasts for minutes.
    "RAY_grpc_client_keepalive_time_ms": "20000",
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
}


@contextlib.contextmanager
def ray_session(*, num_cpus: int, num_gpus: int = 0) -> Iterator[Any]:
    """Yield the ray module, connected; an embedded session ends with the block.

    ``num_cpus`` and ``num_gpus`` are the embedded session's; a cluster has its own.

    Raises:
        IcfError: the cluster takes orders from everybody on its network.
    """
    set_quiet()
    address = os.environ.get("RAY_ADDRESS")
    for name, value in (EMBEDDED if address is None else CLUSTER).items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        yield ray
        return
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address:
        connect(ray, address, common)
    else:
        require_early_import(ray)
        # "local": never a cluster of somebody else that happens to run on this machine.
        ray.init(address="local", include_dashboard=False, num_cpus=num_cpus, num_gpus=num_gpus, **common)
    _protect_token()
    try:
        yield ray
    finally:
        ray.shutdown()


def set_quiet() -> None:
    """Set what Ray reads when it is imported: no usage statistics, less noise."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def connect(ray: Any, address: str, options: dict[str, Any]) -> None:
    """Connect to a cluster, unless everybody could; where "auto" leads is known only afterwards."""
    if address != "auto":
        require_loopback_or_token(address)
    context = ray.init(address=address, **options)
    try:
        require_loopback_or_token(context.address_info["gcs_address"])
        if context.dashboard_url:
            require_protection(f"http://{context.dashboard_url}")
    except IcfError:
        ray.shutdown()
        raise


def require_early_import(ray: Any) -> None:
    """Refuse to start Ray where it would listen on the network: it reads EMBEDDED only when it is imported."""
    if not is_loopback(ray.util.get_node_ip_address()):
        raise IcfError(
            "Ray was imported before icf could bind it to this machine alone; set RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER=0"
            " before `import ray`, or call ray.init() yourself with the addresses that you want"
        )


def _protect_token() -> None:
    """Ray writes its authentication token readable for everyone."""
    with contextlib.suppress(OSError):
        (Path.home() / ".ray" / "auth_token").chmod(0o600)
