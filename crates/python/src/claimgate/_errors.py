"""What can go wrong."""


class GateError(Exception):
    """The binary cannot be run, has ended, or refuses what it was asked."""


class ConfigError(GateError):
    """The configuration is wrong. The message lists every problem with its place."""


class GateTimeout(GateError, TimeoutError):
    """The binary has not answered in time. The gate is closed."""
