"""Whose id is this? Every module is asked what it calls by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from tori.errors import ToriError, Unavailable


def find_event(identifier: str, handles: Mapping[str, Any], modules: Sequence[str]) -> str | None:
    """Return the id of the latest event about ``identifier`` from the first of ``modules`` that knows it; None when none does.

    Raises Unavailable when nobody who answers knows it and somebody does not answer: that one may be the owner.
    """
    refs = {name: handles[name].query.remote("find", {"id": identifier}) for name in modules if name in handles}
    silent = [name for name in modules if name not in refs]
    for name, ref in refs.items():
        try:
            found = ray.get(ref)
        except (RayError, ToriError):
            silent.append(name)
            continue
        if found and found.get("event_id"):
            return str(found["event_id"])
    if silent:
        raise Unavailable(
            f"nobody who answers knows {identifier!r}, and {', '.join(silent)} cannot be asked now.",
            remedy="See tori status; try again in a moment.",
        )
    return None
