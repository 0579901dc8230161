"""The binary, which answers one JSON object per line."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

from claimgate._errors import ConfigError, GateError, GateTimeout

#: How long the process may take to end after its input has ended, in seconds.
_MAX_END = 2.0

#: How much of its log an error shows, in bytes.
_MAX_LOG = 4096


def find_binary() -> str:
    """The path of the binary: ``CLAIMGATE_BIN``, else the one of this package, else from ``PATH``."""
    chosen = os.environ.get("CLAIMGATE_BIN")
    if chosen:
        return chosen
    installed = Path(sysconfig.get_path("scripts"), "claimgate")
    if installed.is_file():
        return str(installed)
    # With `pip install --user` and `--target`, the scripts are elsewhere.
    for folder in Path(__file__).resolve().parents[1:5]:
        beside = folder / "bin" / "claimgate"
        if beside.is_file():
            return str(beside)
    found = shutil.which("claimgate")
    if found is None:
        raise GateError(
            "the binary `claimgate` is not installed: install this package from its wheel, or set "
            "CLAIMGATE_BIN to the path of a binary that was built with the feature `dev`"
        )
    return found


class Process:
    """A running ``claimgate dev gate``.

    It ends when its input ends: on :meth:`close`, and when this process ends in any way.
    """

    def __init__(self, binary: str) -> None:
        # A socket, because reads and writes of a pipe have no time limit.
        own, other = socket.socketpair()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        try:
            self._child = subprocess.Popen(
                [binary, "dev", "gate", "--log-level", "warn"],
                stdin=other.fileno(),
                stdout=other.fileno(),
                stderr=self._log,
                # Ctrl-C must not end it before the tests have been torn down.
                start_new_session=True,
            )
        except OSError as error:
            own.close()
            self._log.close()
            raise GateError(f"cannot run `{binary}`: {error.strerror}") from error
        finally:
            other.close()
        self._binary = binary
        self._socket = own
        self._received = bytearray()
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._why_closed: str | None = None

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._child.pid

    @property
    def closed(self) -> bool:
        """Whether the process has been ended."""
        return self._why_closed is not None

    def ask(self, name: str, members: dict[str, Any], timeout: float) -> dict[str, Any]:
        """The answer to one request. ``GateError`` if the binary refuses it."""
        line = json.dumps({name: members}).encode() + b"\n"
        with self._lock:
            if self._owner != os.getpid():
                raise GateError("a forked process cannot use the gate of its parent; start its own")
            if self._why_closed is not None:
                raise GateError(self._why_closed)
            deadline = time.monotonic() + timeout
            try:
                self._socket.settimeout(timeout)
                self._socket.sendall(line)
                answer = self._line(deadline)
            except TimeoutError:
                self._child.kill()
                self._end(f"the gate is closed, because it did not answer within {timeout:g} s")
                raise GateTimeout(f"`claimgate` did not answer within {timeout:g} s") from None
            except OSError as error:
                why = self._end("the gate is closed, because the binary has ended")
                raise GateError(f"`{self._binary}` has ended{why}") from error
            except BaseException:
                # Otherwise the next request would read the answer to this one.
                self._end("the gate is closed, because a request was interrupted")
                raise
        refused = answer.get("error")
        if refused is not None:
            is_config = answer.get("kind") == "configuration"
            raise (ConfigError if is_config else GateError)(str(refused))
        return answer

    def _line(self, deadline: float) -> dict[str, Any]:
        searched = 0
        while (end := self._received.find(b"\n", searched)) < 0:
            searched = len(self._received)
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError
            self._socket.settimeout(left)
            received = self._socket.recv(65536)
            if not received:
                raise ConnectionResetError("the output has ended")
            self._received += received
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self._end("the gate is closed, because the binary is not claimgate")
            shown = line[:200].decode(errors="replace")
            raise GateError(f"`{self._binary}` does not answer like claimgate: {shown!r}")
        return answer

    def close(self) -> None:
        """End the process."""
        with self._lock:
            if self._why_closed is None:
                self._end("the gate is closed")

    def _end(self, why: str) -> str:
        """End the process, and tell the end of its log, to be appended to an error."""
        if self._why_closed is not None:
            return ""
        self._why_closed = why
        self._socket.close()
        try:
            code = self._child.wait(_MAX_END)
        except subprocess.TimeoutExpired:
            self._child.kill()
            code = self._child.wait()
        size = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, size - _MAX_LOG))
        log = self._log.read().decode(errors="replace").strip()
        self._log.close()
        return f" with code {code}: {log}" if log else f" with code {code}"
