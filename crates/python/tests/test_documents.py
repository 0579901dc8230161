"""The examples in the documents work."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import pytest
from conftest import PLUGIN, ROOT

import claimgate

GUIDE = ROOT / "docs/guides/test-your-api-in-python.md"
BLOCK = re.compile(r"^```\w+ title=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_guide(pytester: pytest.Pytester) -> None:
    blocks = dict(BLOCK.findall(GUIDE.read_text(encoding="utf-8")))
    assert {"claimgate.yaml", "orders.py", "test_orders.py", "pytest.ini"} <= blocks.keys()
    for name, text in blocks.items():
        pytester.path.joinpath(name).write_text(text, encoding="utf-8")
    written = blocks["test_orders.py"].count("def test_")
    assert written > 3
    result = pytester.runpytest_subprocess(*PLUGIN)
    result.assert_outcomes(passed=written)


def test_the_docstrings() -> None:
    assert doctest.testmod(claimgate).attempted > 1
    assert doctest.testmod(claimgate).failed == 0


def test_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (ROOT / "crates/python/README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    config = dict(BLOCK.findall(GUIDE.read_text(encoding="utf-8")))["claimgate.yaml"]
    (tmp_path / "claimgate.yaml").write_text(config, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
