"""Decide requests in the tests of an API as claimgate does behind Envoy.

>>> from claimgate import Gate
>>> with Gate() as gate:
...     gate.check("GET", "/orders").reason
'missing_token'

With pytest, the fixture ``gate`` provides a :class:`Gate`.
"""

from claimgate._errors import ConfigError, GateError, GateTimeout
from claimgate._gate import Decision, Gate, Provider, Step

__all__ = ["ConfigError", "Decision", "Gate", "GateError", "GateTimeout", "Provider", "Step"]
