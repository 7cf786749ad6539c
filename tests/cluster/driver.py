"""A client of the running system in a process of its own, for tests whose system lives in other network namespaces."""

from __future__ import annotations

import base64
import functools
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import ray

from actors.backend import RayBackend
from actors.cast import actor_name
from actors.names import NAMESPACE
from tests.support.system import batches, small_corpus
from tori.modules.fuzzing.check import Verdict
from tori.settings import load_settings


def main() -> None:
    """Read calls ``[method, arguments, named]`` a line, answer ``[error, value]`` a line."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else writes to stdout must not disturb the answers
    client: Any = RayBackend().connect(load_settings(Path(os.environ["TORI_HOME"])), None)
    for line in sys.stdin.buffer:
        method, arguments, named = msgspec.json.decode(line)
        try:
            if method == "fuzz_here":
                value = fuzz_here(*arguments)
            elif method == "ingest_corpus":
                first, last = arguments
                receipts = [client.ingest(batch) for batch in batches(small_corpus(last)[first:], 16)]
                value: Any = sum(r.accepted for r in receipts)
            else:
                value = getattr(client, method)(*arguments, **named)
            answer = ["", value]
        except Exception as error:
            answer = [f"{type(error).__name__}: {error}", None]
        answers.write(msgspec.json.encode(answer, enc_hook=lambda b: base64.b64encode(b).decode()) + b"\n")
        answers.flush()
    client.close()


@functools.cache
def fuzzing() -> Any:
    """Return the fuzzing module's actor; asked of the cluster once, so that later calls need only the way to its node."""
    return ray.get_actor(actor_name("fuzzing"), namespace=NAMESPACE)


def fuzz_here(word: str) -> int:
    """Have the fuzzing module write a test's outcome into its journal, as a run would; return how many events that made."""
    verdict = Verdict(f"test-{word}", "reader", word, "passed", 1, {})
    concluded = fuzzing().conclude.remote("concept_fuzz_test", msgspec.msgpack.encode([verdict]))
    return int(ray.get(concluded, timeout=10).emitted)


if __name__ == "__main__":
    main()
