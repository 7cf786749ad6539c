"""A thread that does the same again and again while the parts of a system are killed."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod

from ray.exceptions import RayError

from tori.errors import ToriError


class Repeater(ABC):
    """Calls ``work`` every ``every_s`` seconds until it is stopped, or refused: then ``failure`` says so."""

    def __init__(self, who: str, every_s: float) -> None:
        self.failure = ""
        self._who, self._every_s = who, every_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=who, daemon=True)

    @abstractmethod
    def work(self) -> None:
        """Do it once."""

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Return when the last call was answered; a second time, or before it began, nothing happens."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        try:
            while not self._ended.wait(self._every_s):
                self.work()
        except (ToriError, RayError) as error:
            self.failure = f"{self._who} was refused: {type(error).__name__}: {error}"
