"""Jobs of a Ray cluster, seen from a machine that is not part of it: through the HTTP address of its dashboard.

Only JSON and text come back; nothing is unpickled. Every error is one for people.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from icf.errors import IcfError, UsageError, one_line
from icf.executors.ray_access import MODE, has_token, probe, require_protection
from icf.executors.ray_session import set_quiet

PORT = 8265
SILENCE_SECONDS = 15.0
"""After which, without a line of the log, the dashboard is asked whether it is still there."""

PATIENCE_SECONDS = 60.0
"""How long a dashboard may be gone before following it is given up; the job does not need a follower."""


@dataclass(frozen=True)
class Job:
    """A job that was submitted; times are seconds since 1970, None where it has not come to that."""

    name: str
    status: str
    message: str
    recipe: str
    started: float | None
    ended: float | None

    @property
    def is_over(self) -> bool:
        """Tell whether its status is final."""
        return self.status in ("SUCCEEDED", "FAILED", "STOPPED")


def connect(address: str) -> JobCluster:
    """Return the cluster whose dashboard has an address, such as "http://head:8265".

    Raises:
        UsageError: that is no such address.
        IcfError: nobody answers there, it is no dashboard, it needs another token, or it needs none although
            everybody on the network can reach it.
    """
    url = normalise(address)
    status = require_protection(url)
    if status is None:
        raise IcfError(
            f"nobody answers HTTP at {url}: is the cluster running, and is this the address of its dashboard"
            f" (port {PORT} if not chosen otherwise; 6379 and 10001 are other doors)? A dashboard that listens on"
            " loopback only, which is the default, is reached through a tunnel: ssh -L 8265:127.0.0.1:8265 HEAD"
        )
    if status in (401, 403):
        if not has_token():
            raise IcfError(
                f"the cluster at {url} asks for a token, and there is none here: copy the head's ~/.ray/auth_token"
                " (`ray get-auth-token` prints it) to the same place, or set RAY_AUTH_TOKEN_PATH"
            )
        os.environ[MODE] = "token"
    elif status != 200:
        raise IcfError(f"what answers at {url} is no Ray dashboard (HTTP status {status})")
    return JobCluster(url)


def normalise(address: str) -> str:
    """Return scheme, host and port of a dashboard; raises UsageError for other addresses."""
    parts = urlsplit(address if "://" in address else f"http://{address}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in ("http", "https") or not parts.hostname or port == -1:
        raise UsageError(
            f"--address {address}: must be the address of the cluster's dashboard, such as http://head:{PORT}"
        )
    place = parts.netloc if port or parts.scheme == "https" else f"{parts.netloc}:{PORT}"
    return urlunsplit((parts.scheme, place, parts.path.rstrip("/"), "", ""))


class JobCluster:
    """Ray's own job client, with errors for people and a log that survives a broken connection."""

    def __init__(self, url: str) -> None:
        self.url = url
        set_quiet()
        with self._errors():
            from ray.job_submission import JobSubmissionClient

            for name in ("dashboard_sdk", "job.sdk"):
                logging.getLogger(f"ray.dashboard.modules.{name}").setLevel(logging.WARNING)
            with _without("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):  # Ray would prefer them
                self._client = JobSubmissionClient(url)

    def submit(self, command: str, name: str, runtime_env: Mapping[str, Any], metadata: Mapping[str, str]) -> None:
        """Upload what the job needs, and start it."""
        with self._errors(name):
            self._client.submit_job(
                entrypoint=command, submission_id=name, runtime_env=dict(runtime_env), metadata=dict(metadata)
            )

    def list_jobs(self) -> list[Job]:
        """Return the jobs that were submitted, the newest last."""
        with self._errors():
            found = [_make_job(details) for details in self._client.list_jobs() if details.submission_id]
        return sorted(found, key=lambda job: job.started or float("inf"))

    def find(self, name: str) -> Job:
        """Return a job by its name."""
        with self._errors(name):
            return _make_job(self._client.get_job_info(name))

    def stop(self, name: str) -> bool:
        """Ask a job to end; return False if it had ended before."""
        with self._errors(name):
            return bool(self._client.stop_job(name))

    def read_log(self, name: str) -> list[str]:
        """Return all lines that a job has printed until now."""
        with self._errors(name):
            return str(self._client.get_job_logs(name)).splitlines()

    def follow(self, name: str) -> Iterator[str]:
        """Yield the lines of a job's log until it has ended; a broken connection is taken up again.

        Raises:
            IcfError: there is no such job, or the dashboard has been gone for PATIENCE_SECONDS.
        """
        seen = 0
        contact = time.monotonic()
        self.find(name)
        while True:
            try:
                for number, line in enumerate(self._tail(name)):
                    contact = time.monotonic()
                    if number >= seen:
                        seen = number + 1
                        yield line
                if self.find(name).is_over:
                    return
                contact = time.monotonic()
            # The connection, or the dashboard, broke: that comes as many types.
            except Exception as error:
                if isinstance(error, IcfError) and probe(self.url) is not None:
                    raise
                if time.monotonic() - contact > PATIENCE_SECONDS:
                    raise IcfError(
                        f"the dashboard at {self.url} has not answered for {PATIENCE_SECONDS:.0f} s; a job goes on"
                        f" without being followed: icf jobs follow {name} --address {self.url}"
                    ) from error
            time.sleep(1.0)

    def _tail(self, name: str) -> Iterator[str]:
        """Yield all lines from the first one on, as one connection brings them."""
        loop = asyncio.new_event_loop()
        chunks = self._client.tail_job_logs(name).__aiter__()
        rest = ""
        try:
            while (chunk := loop.run_until_complete(self._next(chunks))) is not None:
                *lines, rest = (rest + chunk).split("\n")
                yield from lines
            if rest:
                yield rest
        finally:
            with contextlib.suppress(Exception):
                loop.run_until_complete(chunks.aclose())  # type: ignore[attr-defined]
            loop.close()

    async def _next(self, chunks: Any) -> str | None:
        """Wait for the next part of a log; None at its end. A link that is cut says nothing: ask now and then."""
        task = asyncio.ensure_future(anext(chunks, None))
        try:
            while not (await asyncio.wait({task}, timeout=SILENCE_SECONDS))[0]:
                if probe(self.url) is None:
                    raise ConnectionError("the dashboard does not answer")
            chunk = await task
        finally:
            task.cancel()
        return None if chunk is None else str(chunk)

    @contextlib.contextmanager
    def _errors(self, name: str = "") -> Iterator[None]:
        """Say in words what a request met."""
        import requests
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError as error:
            raise IcfError(
                f"the cluster at {self.url} refuses this machine's token: it must be the head's own"
                " (`ray get-auth-token` there)"
            ) from error
        except (requests.RequestException, ConnectionError) as error:
            raise IcfError(f"the dashboard at {self.url} does not answer: {one_line(error)[:300]}") from error
        except RuntimeError as error:
            text = one_line(error)
            if name and "does not exist" in text:
                raise IcfError(f"there is no job {name} at {self.url}; `icf jobs list` shows those that are") from error
            raise IcfError(f"the cluster at {self.url} could not do it: {text[:1000]}") from error


def _make_job(details: Any) -> Job:
    metadata = details.metadata or {}
    return Job(
        name=str(details.submission_id),
        status=str(details.status.value),
        message=" ".join((details.message or "").split()),
        recipe=str(metadata.get("icf.recipe", "")),
        started=details.start_time / 1000 if details.start_time else None,
        ended=details.end_time / 1000 if details.end_time else None,
    )


@contextlib.contextmanager
def _without(*names: str) -> Iterator[None]:
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
