"""Shared by all tests."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

#: pytest runs of their own load the plugin by this, unless the package is installed.
PLUGIN = [] if entry_points(group="pytest11", name="claimgate") else ["-p", "claimgate.pytest_plugin"]

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """Writes programs that stand in for the binary."""
    return Script(tmp_path)


class Script:
    """Writes programs."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, body: str) -> Path:
        program = self._folder / "claimgate"
        program.write_text(f"#!{sys.executable}\n{body}\n", encoding="utf-8")
        program.chmod(0o755)
        return program
