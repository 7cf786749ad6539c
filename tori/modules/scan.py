"""Where scans compute: on one thread each, whoever runs them, so that the same input gives the same bytes.

A product of dense matrices that is shared among threads is cut into other blocks, whose last bits differ, and a tie then goes the
other way. Ray gives a worker as many threads as its task has CPUs, a process of its own takes them all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tori.modules.base import Module


def scan(module: type[Module], task: str, data: bytes) -> bytes:
    """Compute a scan: the result of ``module`` for what it prepared."""
    with one_thread():
        return module.run(task, data)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let linear algebra compute on one thread inside."""
    import scipy.linalg  # noqa: F401  # what is not loaded yet cannot be told; it loads numpy too
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1):
        yield
