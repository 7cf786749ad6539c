"""Ray Jobs, for doors that know only the address of a dashboard and a token."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actors.cluster_environment import refresh_ray
from tori.client import JobView
from tori.errors import BadInput, NotRunning, Unavailable

_ENDED = ("STOPPED", "SUCCEEDED", "FAILED")
_STOPPED_CODE = 130


class RayJobs:
    """Jobs of one cluster. ``token``: what its dashboard asks for; empty = what the environment says."""

    def __init__(self, address: str, token: str = "") -> None:
        if not address.startswith(("http://", "https://")):
            raise BadInput(f"{address!r} is not the address of a dashboard.", remedy="It looks like http://HEAD:8265.")
        self._address = address
        token = token or os.environ.get("RAY_AUTH_TOKEN", "")
        if token:
            os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
            refresh_ray(loopback=False)
        # Ray would let these win over the address that was given.
        for name in ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS"):
            os.environ.pop(name, None)
        self._client = self._connect()

    def _connect(self) -> Any:
        from ray.job_submission import JobSubmissionClient

        try:
            return JobSubmissionClient(self._address)
        except ConnectionError as error:
            raise NotRunning(
                f"no dashboard answers at {self._address}.",
                remedy="Is TORI up there, with ray.dashboard = true or deploy/ray/head.sh?",
            ) from error
        except Exception as error:  # Ray raises RuntimeError, or requests' errors, with the server's words
            raise NotRunning(
                f"the dashboard at {self._address} does not let us in: {_last_line(error)}",
                remedy="Is the token that of its cluster? RAY_AUTH_TOKEN_PATH names its file.",
            ) from error

    def submit(self, words: Sequence[str], folder: Path | None = None) -> str:
        """Begin ``python -m actors WORDS`` on the cluster, in a copy of ``folder``; return the id of the job."""
        environment = {"working_dir": str(folder)} if folder is not None else {}
        command = shlex.join(["python", "-m", "actors", *words])
        found: str = self._ask("submit_job", entrypoint=command, runtime_env=environment)
        return found

    def view(self, job_id: str) -> JobView:
        """Return how a job is."""
        info = self._ask("get_job_info", job_id)
        return self._view(job_id, info)

    def _view(self, job_id: str, info: Any) -> JobView:
        state = str(getattr(info.status, "value", info.status))
        code = None
        if state in _ENDED:
            fallback = {"SUCCEEDED": 0, "STOPPED": _STOPPED_CODE}.get(state, 1)
            code = fallback if info.driver_exit_code in (None, 0) or state != "FAILED" else int(info.driver_exit_code)
        return JobView(job_id, state.lower(), info.entrypoint, code, info.message or "", (info.start_time or 0) / 1000)

    def list(self) -> list[JobView]:
        """Return the jobs the cluster knows, oldest first."""
        jobs = [self._view(j.submission_id, j) for j in self._ask("list_jobs") if j.submission_id]
        return sorted(jobs, key=lambda j: j.started_s)

    def logs(self, job_id: str) -> str:
        """Return everything a job has said so far."""
        return str(self._ask("get_job_logs", job_id))

    def cancel(self, job_id: str) -> bool:
        """Ask a job to end; False when it had ended."""
        if self.view(job_id).exit_code is not None:
            return False
        return bool(self._ask("stop_job", job_id))

    def _ask(self, method: str, *arguments: Any, **named: Any) -> Any:
        try:
            return getattr(self._client, method)(*arguments, **named)
        except ConnectionError as error:
            raise Unavailable(f"{self._address} does not answer: {_last_line(error)}", remedy="Try again.") from error
        except RuntimeError as error:
            if "404" in str(error):
                raise BadInput(
                    f"{self._address} knows no such job.", remedy="tori submit list shows its jobs."
                ) from error
            raise Unavailable(f"{self._address} refused: {_last_line(error)}", remedy="Try again.") from error


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1][:500] if str(error).strip() else type(error).__name__
