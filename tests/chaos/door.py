"""The way of one replica to NATS, which the test can close: a TCP proxy in threads of the test's process."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

_CHUNK = 65536


class Door:
    """Leads to `goals()`, the first that answers; `port` is where to knock. `cut`: all connections end at once, and
    none is let in for so many seconds."""

    def __init__(self, goals: Callable[[], list[int]]) -> None:
        self._goals = goals
        self._closed_until = 0.0
        self._through: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, seconds: float) -> None:
        self._closed_until = time.monotonic() + seconds
        with self._lock:
            through = list(self._through)
        for one in through:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.cut(0.0)
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                inner, _ = self._listener.accept()
            except OSError:
                return
            outer = None if time.monotonic() < self._closed_until else self._reach()
            if outer is None:
                inner.close()
                continue
            with self._lock:
                self._through |= {inner, outer}
            for source, target in ((inner, outer), (outer, inner)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _reach(self) -> socket.socket | None:
        for port in self._goals():
            with contextlib.suppress(OSError):
                found = socket.create_connection(("127.0.0.1", port), timeout=1.0)
                found.settimeout(None)
                return found
        return None

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while chunk := source.recv(_CHUNK):
                target.sendall(chunk)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        with self._lock:
            done = source in self._through
            self._through.discard(source)
        if done:
            source.close()
