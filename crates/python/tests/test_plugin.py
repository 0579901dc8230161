"""The fixtures, in pytest runs of their own."""

from __future__ import annotations

import pytest
from conftest import PLUGIN

CONFIG = """
providers:
  - { issuer: https://idp.example.com, audiences: [orders-api] }
"""


def run(pytester: pytest.Pytester) -> pytest.RunResult:
    return pytester.runpytest_subprocess(*PLUGIN)


def test_without_a_configuration(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_it(gate):
            assert gate.check(token=gate.mint(sub="alice")).headers["x-auth-subject"] == "alice"
        """
    )
    run(pytester).assert_outcomes(passed=1)


def test_a_file_for_all_tests(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", claimgate=CONFIG)
    pytester.makefile(".ini", pytest="[pytest]\nclaimgate_config = claimgate.yaml\n")
    pytester.mkdir("below")
    pytester.path.joinpath("below", "test_it.py").write_text(
        "pids = []\n"
        "def test_one(gate):\n"
        "    assert gate.issuer == 'https://idp.example.com'\n"
        "    pids.append(gate.pid)\n"
        "    gate.advance(3600)\n"
        "    token = gate.mint()\n"
        "    assert gate.check(token=token).allowed\n"
        "    pids.append(token)\n"
        "def test_two(gate):\n"
        "    assert gate.pid == pids[0], 'the process is shared'\n"
        "    assert gate.check(token=pids[1]).reason == 'not_yet_valid', 'the clock is not'\n"
        "    gate.close()\n"
        "def test_three(gate):\n"
        "    assert gate.pid != pids[0], 'a closed one is replaced'\n"
    )
    run(pytester).assert_outcomes(passed=3)


def test_a_configuration_for_one_module(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", claimgate=CONFIG)
    pytester.makefile(".ini", pytest="[pytest]\nclaimgate_config = claimgate.yaml\n")
    other = CONFIG.replace("idp", "other")
    pytester.makepyfile(
        test_one="def test_it(gate): assert gate.issuer == 'https://idp.example.com'",
        test_three="def test_it(gate): assert gate.issuer == 'https://idp.example.com'",
        test_two=f"import pytest\n@pytest.fixture\ndef claimgate_config():\n    return {other!r}\n"
        "def test_it(gate): assert gate.issuer == 'https://other.example.com'",
    )
    run(pytester).assert_outcomes(passed=3)


def test_a_wrong_configuration_is_shown(pytester: pytest.Pytester) -> None:
    pytester.makefile(".yaml", claimgate=CONFIG.replace("issuer", "isuer"))
    pytester.makefile(".ini", pytest="[pytest]\nclaimgate_config = claimgate.yaml\n")
    pytester.makepyfile("def test_it(gate): pass")
    result = run(pytester)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*claimgate.yaml:2:7: providers*did you mean `issuer`?*"])
