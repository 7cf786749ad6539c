"""Who alerts are sent to."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

WAIT_S = 10.0


class Receiver:
    """An HTTP server on loopback that answers what it is told to, and keeps what it was sent."""

    def __init__(self) -> None:
        self.answers: list[int] = []
        """Status codes to come; 200 after the last."""
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.hangs = threading.Event()
        self.hangs.set()
        self.came = threading.Semaphore(0)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:  # the name the base class asks for
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.requests.append((dict(self.headers), body))
                outer.came.release()
                outer.hangs.wait(WAIT_S)
                self.send_response(outer.answers.pop(0) if outer.answers else 200)
                self.send_header("Location", "/elsewhere")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                """Quietly."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook/secret-path"
        self.place = self.url.removesuffix("/hook/secret-path")
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def ids(self) -> list[str]:
        return [body["id"] for _, body in self.requests]

    def close(self) -> None:
        self.hangs.set()
        self._server.shutdown()
        self._server.server_close()
