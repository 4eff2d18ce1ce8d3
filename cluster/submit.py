"""`planner submit`: a command as a job of a Ray cluster, followed to its end, also over a connection that breaks.

The job's work goes on whatever becomes of this process: who attaches to it again sees its log from the start.
"""

import asyncio
import os
import secrets
import shlex
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from planner.errors import ClusterError

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
LOST_FOR_S = 600.0
"""How long a head may be out of reach before following a job is given up."""
RETRY_S = 2.0
AGENT_WITHIN_S = 120.0
"""How long a head may have no agent yet, which starts jobs: one that has just been started, on a busy machine."""
NO_AGENT = "No available agent"
"""What Ray answers then, after ten seconds (2.60, dashboard/modules/job/job_head.py)."""
SILENT_FOR_S = 60.0
"""After so long without a line the connection is made anew: a broken one may be silent for ever."""
STOPPED_EXIT_CODE = 143
"""Of a job that somebody stopped, and that says nothing else: what a shell has for SIGTERM."""


class Job:
    """One job of a cluster. ClusterError when the head cannot be reached, lets nobody in, or does not know the job."""

    def __init__(self, client: Any, address: str, job_id: str) -> None:
        self._client, self._address = client, address
        self.job_id = job_id

    @property
    def how_to_attach(self) -> str:
        """The command that follows it again."""
        return f"planner submit --address {shlex.quote(self._address)} --attach {self.job_id}"

    @property
    def how_to_stop(self) -> str:
        """The command that ends it."""
        return f"ray job stop --address {shlex.quote(self._address)} {self.job_id}"

    def follow(self, write: Callable[[str], None], note: Callable[[str], None]) -> int:
        """``write`` the job's log, each part once, until the job ends; returns its exit code.

        ``note`` is given what happens to the connection, and why a job ended that says nothing itself.
        """
        info = asyncio.run(self._write_log(write, note))
        code, status = info.driver_exit_code, str(info.status)
        if code is None and info.message:
            note(f"job {self.job_id} {status}: {_first_line(info.message)}")
        if status == "STOPPED":
            return STOPPED_EXIT_CODE if code is None or code <= 0 else code
        if status == "FAILED":
            return 1 if not code else code if code > 0 else 128 - code
        return 0

    async def _write_log(self, write: Callable[[str], None], note: Callable[[str], None]) -> Any:
        """Returns what Ray knows of the job once it has ended."""
        written, lost_s = 0, None
        while True:
            seen = 0
            try:
                async for text in _until_silent(self._client.tail_job_logs(self.job_id)):
                    if seen + len(text) > written:
                        write(text[max(0, written - seen) :])
                    seen += len(text)
                    written = max(written, seen)
                    lost_s = None
                info = await asyncio.to_thread(self._info)
                if info.status.is_terminal():
                    return info
            except ClusterError:
                raise
            except Exception as error:  # aiohttp's, requests' and Ray's own have no common base
                now = time.monotonic()
                if lost_s is None:
                    lost_s = now
                    note(f"the connection to {self._address} is lost ({_first_line(error)}): trying again")
                elif now - lost_s > LOST_FOR_S:
                    raise ClusterError(
                        f"Ray at {self._address}: out of reach for {LOST_FOR_S:.0f} s; the job may go on, follow it "
                        f"again: {self.how_to_attach}"
                    ) from None
                await asyncio.sleep(RETRY_S)

    def _info(self) -> Any:
        try:
            return self._client.get_job_info(self.job_id)
        except RuntimeError as error:
            raise ClusterError(f"Ray at {self._address}: job {self.job_id}: {_first_line(error)}") from None


async def _until_silent(texts: AsyncIterator[str]) -> AsyncIterator[str]:
    """What ``texts`` yields, until it ends or has nothing to say for too long."""
    while True:
        try:
            yield await asyncio.wait_for(anext(texts), SILENT_FOR_S)
        except (StopAsyncIteration, TimeoutError):
            return


def submit(command: Sequence[str], directory: Path, excludes: Sequence[str], address: str | None) -> Job:
    """Start ``command`` as a job that works in a copy of ``directory``.

    What ``excludes`` (as .gitignore has them) and the directory's own .gitignore files name stays here.
    """
    client, address = _client(address)
    job = Job(client, address, f"planner-{secrets.token_hex(6)}")
    runtime = {"working_dir": str(directory.absolute()), "excludes": list(excludes)}
    start = partial(client.submit_job, entrypoint=shlex.join(command), submission_id=job.job_id, runtime_env=runtime)
    last_try_s = time.monotonic() + AGENT_WITHIN_S
    if not _is_started(start, job, address):
        note_on_stderr(f"the head at {address} has no agent yet that starts jobs: trying again")
        while not _is_started(start, job, address):
            if time.monotonic() > last_try_s:
                raise ClusterError(
                    f"Ray at {address}: for {AGENT_WITHIN_S:.0f} s its head has had no agent that starts jobs: give "
                    "the command again when that machine is less busy; dashboard_agent.log, of Ray's logs there, says "
                    "what became of the agent"
                )
            time.sleep(RETRY_S)
    return job


def _is_started(start: Callable[[], Any], job: Job, address: str) -> bool:
    """Start a job; False while the head has no agent yet."""
    try:
        start()
    except OSError as error:
        if not _was_received(job):
            raise ClusterError(f"Ray at {address}: the job could not be submitted: {_first_line(error)}") from None
    except (RuntimeError, ValueError) as error:
        if _was_received(job):  # by an earlier try, which was not answered
            return True
        if NO_AGENT in str(error):
            return False
        raise ClusterError(
            f"Ray at {address}: the job could not be submitted: {_first_line(error)}; what it need not have can be "
            "left here with --exclude"
        ) from None
    return True


def attach(job_id: str, address: str | None) -> Job:
    """A job that was submitted before."""
    client, address = _client(address)
    job = Job(client, address, job_id)
    job._info()
    return job


def _was_received(job: Job) -> bool:
    """Whether a job runs whose submission was not answered."""
    try:
        job._info()
    except (ClusterError, OSError):
        return False
    return True


def _client(address: str | None) -> tuple[Any, str]:
    address = address or os.environ.get("RAY_API_SERVER_ADDRESS") or os.environ.get("RAY_ADDRESS") or DEFAULT_ADDRESS
    _require_token()
    # Ray itself would let the environment win over what it is given.
    os.environ["RAY_API_SERVER_ADDRESS"] = address
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    try:
        return JobSubmissionClient(address), address
    except AuthenticationError as error:
        raise ClusterError(
            f"Ray at {address}: lets nobody in without its token: {_first_line(error)}: set RAY_AUTH_TOKEN to "
            "that of the head"
        ) from None
    except (OSError, RuntimeError, ValueError) as error:
        raise ClusterError(
            f"Ray at {address}: {_first_line(error)} Start a head with `ray start --head`, or name the address of its "
            "dashboard with --address, for instance http://HOST:8265"
        ) from None


def _require_token() -> None:
    """Ask for a token unless the user has another mode; ClusterError when there is none."""
    if os.environ.setdefault("RAY_AUTH_MODE", "token") != "token":
        return
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not os.environ.get("RAY_AUTH_TOKEN") and not path.is_file():
        raise ClusterError(
            f"no token for the cluster, neither in RAY_AUTH_TOKEN nor in {path}: set it to that of the head, or set "
            "RAY_AUTH_MODE=disabled for a head that lets everybody in"
        )


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def write_to_stdout(text: str) -> None:
    """A part of a log, at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def note_on_stderr(text: str) -> None:
    """What is said of the job, beside its own output."""
    sys.stderr.write(f"planner submit: {text}\n")
    sys.stderr.flush()
