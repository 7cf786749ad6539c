"""One process of the poisoned module, without Ray: follows its inputs until nothing is left, as its actor would."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path

from tori.modules.host import ModuleHost
from tori.modules.open import open_host
from tori.modules.registry import PATHS
from tori.settings import load_settings

DEADLINE_S = 60.0


def work(host: ModuleHost) -> None:
    """Step until nothing is left; print what became of it."""
    deadline = time.monotonic() + DEADLINE_S
    while host.lag and time.monotonic() < deadline:
        if not host.step():
            time.sleep(0.02)
    letters = host.query("dead_letters", {"filter": ""})["letters"]
    print(json.dumps({"lag": host.lag, "section": host.module.section(), "letters": letters}))


def main(home: Path, timeout_s: float, window_s: float) -> None:
    """Open the module under the watchdog and work in a thread, so that the interpreter lock matters."""
    PATHS["scars"] = "tests.support.poisoned_scars:PoisonedScars"
    limits = {"limits.handler_timeout_s": timeout_s, "limits.restart_window_s": window_s}
    settings = load_settings(home, limits).plain()
    host = open_host(
        home, "scars", segment_bytes=1 << 20, load_snapshot=lambda _: None, settings=settings, watched=True
    )
    thread = threading.Thread(target=work, args=(host,))
    thread.start()
    thread.join()
    host.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
    sys.stdout.flush()
    os._exit(0)
