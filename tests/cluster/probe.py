"""A small actor for the tests of the cluster; its module is importable by workers, as every actor's must be."""

from __future__ import annotations

import os
import time


class Probe:
    """Tells about the process it lives in."""

    def facts(self) -> dict[str, object]:
        import actors
        import tori

        return {
            "pid": os.getpid(),
            "nice": os.nice(0),
            "tori": tori.__file__,
            "actors": actors.__file__,
            "cwd": os.getcwd(),
        }

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
