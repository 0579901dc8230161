"""What happens around the process: start, end, failures, addresses."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Script

import claimgate
from claimgate import ConfigError, Gate, GateError, GateTimeout
from claimgate._process import find_binary

CONFIG: dict[str, Any] = {
    "server": {"listen": ["0.0.0.0:9001", "unix:/nowhere/check.sock"]},
    "admin": {"listen": "[::]:9002"},
    "providers": [{"issuer": "https://idp.example.com", "audiences": ["orders-api"]}],
}

YAML = """
providers:
  - { issuer: https://idp.example.com, audiences: [orders-api] }
"""


def has_ended(pidfd: int) -> bool:
    """Whether the process ends within ten seconds."""
    return bool(select.select([pidfd], [], [], 10)[0])


@pytest.mark.parametrize("kind", [dict, str, Path, os.fspath])
def test_configurations(kind: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "claimgate.yaml"
    file.write_text(YAML, encoding="utf-8")
    config: Any = {dict: CONFIG, str: YAML, Path: file, os.fspath: os.fspath(file)}[kind]
    with Gate(config) as gate:
        assert gate.issuer == "https://idp.example.com"
        assert gate.check(token=gate.mint()).allowed
        assert gate.check().reason == "missing_token"


def test_relative_paths_in_a_file_need_not_exist(tmp_path: Path) -> None:
    file = tmp_path / "claimgate.yaml"
    file.write_text(YAML.replace("audiences", "jwks: { file: absent.json }, audiences"))
    with Gate(file) as gate:
        assert gate.check(token=gate.mint()).allowed


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (
            YAML.replace("issuer", "isuer"),
            r"(?m)^configuration:3:7: providers\[0\].isuer: unknown field; did you mean `issuer`\?",
        ),
        ({"providers": [{"issuer": "https://idp.example.com"}]}, r"^providers\[0\]"),
        ({"providers": []}, "providers"),
        ({"rules": {1, 2}}, "cannot be written as JSON"),
        ("absent.yaml", "cannot read `absent.yaml`"),
        (Path("absent.yaml"), "cannot read `absent.yaml`"),
    ],
)
def test_wrong_configurations(config: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Gate(config)


def test_warnings() -> None:
    with Gate(YAML.replace("idp.example.com", "idp.example.com/.well-known/x")) as gate:
        assert "metadata" in gate.warnings[0]


def test_only_loopback_is_open() -> None:
    with Gate(CONFIG) as gate:
        sockets = set()
        for fd in Path(f"/proc/{gate.pid}/fd").iterdir():
            target = os.readlink(fd)
            if match := re.fullmatch(r"socket:\[(\d+)\]", target):
                sockets.add(match[1])
        addresses = []
        for table in ("tcp", "tcp6", "udp", "udp6"):
            for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[9] in sockets:
                    addresses.append(fields[1].split(":")[0])
        # Check, the page for operators, and the issuer.
        assert len(addresses) >= 3
        assert set(addresses) == {"0100007F"}


def test_it_ends_with_the_block() -> None:
    with Gate() as gate:
        pidfd = os.pidfd_open(gate.pid)
        assert "127.0.0.1" in repr(gate)
    assert has_ended(pidfd)
    os.close(pidfd)
    assert repr(gate) == "<claimgate.Gate closed>"
    with pytest.raises(GateError, match="the gate is closed"):
        gate.check()
    gate.close()


def test_it_ends_with_an_exception() -> None:
    with pytest.raises(ZeroDivisionError), Gate() as gate:
        pidfd = os.pidfd_open(gate.pid)
        1 / 0  # noqa: B018
    assert has_ended(pidfd)
    os.close(pidfd)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None])
def test_it_ends_with_python(how: signal.Signals | None) -> None:
    code = "import claimgate, sys; gate = claimgate.Gate(); print(gate.pid, flush=True);sys.stdin.read()"
    package = str(Path(claimgate.__file__).parents[1])
    child = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": package},
    )
    assert child.stdin is not None
    assert child.stdout is not None
    pidfd = os.pidfd_open(int(child.stdout.readline()))
    if how is None:
        child.communicate(timeout=10)
    else:
        child.send_signal(how)
    assert has_ended(pidfd)
    os.close(pidfd)
    child.communicate(timeout=10)


def test_ctrl_c_does_not_reach_it() -> None:
    with Gate() as gate:
        assert os.getpgid(gate.pid) != os.getpgid(0)


def test_a_process_that_hangs() -> None:
    gate = Gate()
    # Only now, because a busy machine may take longer to start it.
    gate._timeout = 1
    pidfd = os.pidfd_open(gate.pid)
    os.kill(gate.pid, signal.SIGSTOP)
    asked = time.monotonic()
    with pytest.raises(GateTimeout, match="did not answer within 1 s"):
        gate.check()
    assert time.monotonic() - asked < 30
    assert has_ended(pidfd)
    os.close(pidfd)
    with pytest.raises(GateError, match="closed, because it did not answer"):
        gate.check()


def test_a_process_that_dies() -> None:
    gate = Gate()
    os.kill(gate.pid, signal.SIGKILL)
    with pytest.raises(GateError, match="has ended with code -9"):
        gate.check()
    assert gate.closed


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("import sys; sys.exit('no such command')", "has ended with code 1: no such command"),
        ("print('hello', flush=True); input()", "does not answer like claimgate: 'hello'"),
        ("print('[]', flush=True); input()", "does not answer like claimgate"),
        ("import sys; sys.stdin.read()", "did not answer within 1 s"),
    ],
)
def test_other_binaries(script: Script, body: str, message: str) -> None:
    with pytest.raises(GateError, match=message):
        Gate(binary=script(body), timeout=1 if "did not answer" in message else 30)


def test_the_binary_is_found(script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = str(script("input()"))
    monkeypatch.setenv("CLAIMGATE_BIN", program)
    assert find_binary() == program
    monkeypatch.setenv("CLAIMGATE_BIN", "/nowhere/claimgate")
    with pytest.raises(GateError, match="cannot run `/nowhere/claimgate`: No such file"):
        Gate()
    monkeypatch.delenv("CLAIMGATE_BIN")
    monkeypatch.setattr("sysconfig.get_path", lambda _: "/nowhere")
    monkeypatch.setattr("claimgate._process.__file__", str(tmp_path / "lib/claimgate/_process.py"))
    beside = tmp_path / "bin" / "claimgate"
    beside.parent.mkdir()
    beside.symlink_to(program)
    assert find_binary() == str(beside)
    beside.unlink()
    monkeypatch.setenv("PATH", os.path.dirname(program))
    assert find_binary() == program
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(GateError, match="CLAIMGATE_BIN"):
        find_binary()


def test_a_fork_needs_its_own() -> None:
    with Gate() as gate:
        child = os.fork()
        if child == 0:
            try:
                gate.check()
            except GateError as error:
                os._exit(0 if "forked" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert gate.check().reason == "missing_token"


def test_requests_that_are_refused() -> None:
    with Gate() as gate:
        with pytest.raises(GateError, match="not a request"):
            gate.check(method=1)  # type: ignore[arg-type]
        assert gate.check().reason == "missing_token"
