"""The digest of a mind: what it holds, as one number that two machines can compare.

sha256 of canonical JSON (sorted keys, no white space, UTF-8) of every module's section. Sections hold content-derived ids, labels,
sources, structure and p-values, never event ids, times of day or interim history, so after quiesce the digest does not
depend on order of arrival, timing, restarts or the number of nodes; changing any section changes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any


def canonical(value: Any) -> bytes:
    """Return canonical JSON; raises ValueError for NaN and infinities."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def section_digest(section: Any) -> str:
    """Return the digest of one section, 64 hex digits."""
    return hashlib.sha256(canonical(section)).hexdigest()


def mind_digest(sections: Mapping[str, str]) -> str:
    """Return the digest over ``sections``, module name to the digest of its section."""
    return hashlib.sha256(canonical(dict(sections))).hexdigest()
