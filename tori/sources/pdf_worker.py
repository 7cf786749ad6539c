"""``python -m tori.sources.pdf_worker BYTES``: reads PDFs for ``tori.sources.pdf.PdfChild`` within BYTES of address space.

A line on stdin is a path (hex of its bytes, as JSON); the answer on stdout is 4 bytes of length and an ``Extract`` in msgpack.
"""

from __future__ import annotations

import logging
import os
import resource
import sys
from typing import BinaryIO

import msgspec

from tori.sources.pdf import Extract, extract


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Answer every request until the other side goes away."""
    for line in requests:
        path = bytes.fromhex(msgspec.json.decode(line, type=str))
        try:
            with open(path, "rb") as file:
                found = extract(file)
        except OSError as error:
            found = Extract(reason=f"cannot be read: {error.strerror}.", remedy="Allow reading it, or remove it.")
        answer = msgspec.msgpack.encode(found)
        answers.write(len(answer).to_bytes(4, "big") + answer)
        answers.flush()


def main(arguments: list[str]) -> None:
    """Set the limit, be quiet, serve. Out of memory, the process ends: nothing it holds can be trusted then."""
    limit = int(arguments[0])
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.getLogger().addHandler(logging.NullHandler())
    try:
        serve(sys.stdin.buffer, sys.stdout.buffer)
    except (MemoryError, BrokenPipeError):
        os._exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
