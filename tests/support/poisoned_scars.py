"""The scars module with a defect: some texts end its process, some make it hang in C, until a file says that it is mended."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from pathlib import Path

from tori.events.envelope import Event
from tori.events.mind import DocumentIngested
from tori.modules.base import Context, Fact
from tori.modules.scars import Scars

MENDED = "TORI_TEST_MENDED"
DEADLY, HANGING = "a deadly word", "an endless word"


class PoisonedScars(Scars):
    """Scars whose handler meets texts it cannot survive."""

    def decide(self, batch: Sequence[Event], context: Context) -> Sequence[Fact]:
        if not Path(os.environ[MENDED]).exists():
            for event in batch:
                if isinstance(event.payload, DocumentIngested):
                    read(event.payload.text)
        return super().decide(batch, context)


def read(text: str) -> None:
    if DEADLY in text:
        os._exit(13)
    if HANGING in text:
        ctypes.PyDLL(None).sleep(600)  # never gives the interpreter lock back
