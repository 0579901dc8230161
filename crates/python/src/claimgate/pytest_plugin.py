"""The fixtures ``gate`` and ``claimgate_config``."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from claimgate._gate import Gate

Config: TypeAlias = Mapping[str, Any] | str | os.PathLike[str] | None


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option of the configuration file of pytest."""
    parser.addini(
        "claimgate_config",
        "configuration of claimgate for the fixture `gate`, relative to this file",
    )


@pytest.fixture(scope="session")
def claimgate_config(pytestconfig: pytest.Config) -> Config:
    """The configuration for ``gate``: the file that the option ``claimgate_config`` names.

    Without the option, it is that of ``Gate()``. Override this fixture to use something else: a path,
    YAML text or a dictionary, for all tests, a folder, a module or a class.
    """
    name = str(pytestconfig.getini("claimgate_config"))
    if not name:
        return None
    folder = pytestconfig.inipath.parent if pytestconfig.inipath else pytestconfig.rootpath
    return folder / name


class _Gates:
    """One gate for each configuration, because starting one takes longer than most tests."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._gates: dict[str, Gate] = {}

    def get(self, config: Config) -> Gate:
        key = _key(config)
        gate = self._gates.get(key)
        if gate is None or gate.closed:
            gate = self._stack.enter_context(Gate(config))
            self._gates[key] = gate
        return gate

    def close(self) -> None:
        self._stack.close()


def _key(config: Config) -> str:
    if isinstance(config, Mapping):
        return json.dumps(config, sort_keys=True, default=repr)
    if config is None or isinstance(config, str):
        return repr(config)
    return repr(Path(config).resolve())


@pytest.fixture(scope="session")
def _claimgate_gates() -> Iterator[_Gates]:
    gates = _Gates()
    yield gates
    gates.close()


@pytest.fixture
def gate(_claimgate_gates: _Gates, claimgate_config: Config) -> Iterator[Gate]:
    """A :class:`claimgate.Gate` with the configuration ``claimgate_config``.

    Tests with the same configuration share its process. Its clock returns to the machine's time after
    each test, whatever the test did.
    """
    gate = _claimgate_gates.get(claimgate_config)
    yield gate
    if not gate.closed:
        gate.reset_clock()
