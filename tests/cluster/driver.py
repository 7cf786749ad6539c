"""A client of the running system in a process of its own, for tests whose system lives in other network namespaces."""

from __future__ import annotations

import base64
import os
import sys
from pathlib import Path
from typing import Any

import msgspec

from actors.backend import RayBackend
from tests.support.system import batches, small_corpus
from tori.settings import load_settings


def main() -> None:
    """Read calls ``[method, arguments, named]`` a line, answer ``[error, value]`` a line."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever else writes to stdout must not disturb the answers
    client: Any = RayBackend().connect(load_settings(Path(os.environ["TORI_HOME"])), None)
    for line in sys.stdin.buffer:
        method, arguments, named = msgspec.json.decode(line)
        try:
            if method == "ingest_corpus":
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


if __name__ == "__main__":
    main()
