"""One process of a module that hangs, as its actor would run it, without Ray; ``where``: in a query, in apply, nowhere."""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tori.events.envelope import Event
from tori.modules.base import Context, Fact
from tori.modules.clients import Clients
from tori.modules.loop import ModuleLoop
from tori.modules.open import open_host
from tori.modules.reader.module import Reader
from tori.settings import load_settings

TIMEOUT_S = 0.2
HANG_US, HANGS = 900_000, 20


def hang() -> None:
    """Hold the interpreter lock in C: no thread of Python can do anything about it."""
    for _ in range(HANGS):
        ctypes.PyDLL(None).usleep(HANG_US)


class HangingClients(Clients):
    def query(self, name: str, arguments: Mapping[str, Any]) -> Any:
        if name == "hang":
            hang()
        return super().query(name, arguments)


class HangingReader(Reader):
    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        return []

    def apply(self, fact: Fact) -> None:
        hang()
        super().apply(fact)


def main(home: Path, where: str) -> None:
    """Work in the loop of a module under its watchdog; print what it answered if it lives to."""
    logging.basicConfig(level=logging.ERROR, stream=sys.stdout)
    name = "reader" if where == "apply" else "clients"
    limits = {"limits.handler_timeout_s": TIMEOUT_S, "limits.request_timeout_s": TIMEOUT_S}
    settings = load_settings(home, limits if where != "nowhere" else {}).plain()
    module = HangingReader() if where == "apply" else HangingClients()
    loop = ModuleLoop(
        name,
        lambda: open_host(
            home,
            name,
            segment_bytes=1 << 20,
            load_snapshot=lambda _: None,
            settings=settings,
            watched=True,
            create=lambda name, settings: module,
        ),
        [],
    )
    loop.start()
    loop.wait_ready(10.0)
    if where == "apply":
        loop.join()
    print("answered", loop.call(lambda host: host.query("hang" if where == "query" else "summary", {})))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
    sys.stdout.flush()
    os._exit(0)
