"""The gate."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from claimgate._errors import ConfigError, GateError
from claimgate._process import Process, find_binary

if TYPE_CHECKING:
    from typing_extensions import Self

#: The name of a configuration that is not a file, with a place in it.
_PLACE = re.compile(r"^configuration:\d+:\d+: ", re.MULTILINE)


class Provider(NamedTuple):
    """A provider of the configuration."""

    name: str
    #: The ``iss`` of its tokens.
    issuer: str
    #: The URL of its keys on this machine.
    jwks_uri: str


class Step(NamedTuple):
    """A check that held on the way to a decision."""

    #: Such as ``rule``, ``signature`` or ``audience``.
    check: str
    detail: str


@dataclass(frozen=True)
class Decision:
    """What becomes of a request."""

    #: Whether the request reaches the upstream.
    allowed: bool
    #: The status that the caller gets in place of the upstream's. 200 if the request is allowed.
    status: int
    #: The reason of a denial, such as ``missing_token``. Also set if the request passes only
    #: because of ``enforce: false``.
    reason: str | None
    #: What is wrong, for the operator. The caller does not get it.
    detail: str | None
    #: The likely cause of the denial, for the operator.
    hint: str | None
    #: The rule that decides, if the decision gets that far.
    rule: str | None
    #: The provider of the token, if the decision gets that far.
    provider: str | None
    #: The checks that held.
    steps: tuple[Step, ...] = field(repr=False)
    #: The headers that the upstream gets, by name in lower case: those of the request after claimgate
    #: has set and removed some. Repeated ones are joined by commas. Empty for a denial.
    headers: Mapping[str, str] = field(repr=False)
    #: The path that the upstream gets, with its query. ``None`` for a denial.
    path: str | None = field(repr=False)
    #: For a denial, the headers that the caller gets. Otherwise those set on the upstream's response.
    #: Names are in lower case.
    response_headers: Mapping[str, str] = field(repr=False)
    #: The body that the caller gets. Empty if the request is allowed.
    body: str = field(repr=False)
    #: All of this as text, as ``claimgate check`` prints it.
    explanation: str = field(repr=False)

    def json(self) -> Any:
        """The body that the caller gets, read as JSON. ``ValueError`` if it is not JSON."""
        return json.loads(self.body)


class Gate:
    """Decides requests by a configuration, as claimgate does behind Envoy.

    ``config`` is the one that production uses: a path, YAML text, or a dictionary. A ``str`` with a line
    break or with ``": "`` is text, and any other is a path. Without one, a single provider with the
    audience ``orders-api`` is trusted, and a valid token is required.

    A process answers for each provider's issuer and for the service, on free ports of ``127.0.0.1``.
    It creates the keys of each provider, fetches nothing from elsewhere, and needs no file that the
    configuration names, except a ``config`` that is a path. The process ends with ``close()``, with the
    ``with`` block, and with Python. Threads may share a gate. A forked process needs its own.

    ``timeout`` limits each request to the process, in seconds. ``binary`` is the path of another
    binary, as is the environment variable ``CLAIMGATE_BIN``.

    Raises:
        ConfigError: The configuration is wrong. The message lists every problem with its place.
        GateError: The process cannot start.
    """

    def __init__(
        self,
        config: Mapping[str, Any] | str | os.PathLike[str] | None = None,
        *,
        timeout: float = 30.0,
        binary: str | os.PathLike[str] | None = None,
    ) -> None:
        self._timeout = timeout
        start = _start(config)
        chosen = find_binary() if binary is None else os.fspath(binary)
        self._process = Process(chosen)
        try:
            started = self._ask("start", start)["started"]
        except ConfigError as error:
            self.close()
            if isinstance(config, Mapping):
                # The places are those in a text that the caller has never seen.
                raise ConfigError(_PLACE.sub("", str(error))) from None
            raise
        except BaseException:
            self.close()
            raise
        providers = started["providers"]
        self._providers = tuple(Provider(**provider) for provider in providers)
        self._check: str = started["check"]
        self._admin: str = started["admin"]
        self._warnings: tuple[str, ...] = tuple(started["warnings"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else self._check
        return f"<claimgate.Gate {state}>"

    def close(self) -> None:
        """End the process. A closed gate answers nothing."""
        self._process.close()

    @property
    def closed(self) -> bool:
        """Whether the process has been ended."""
        return self._process.closed

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def providers(self) -> tuple[Provider, ...]:
        """The providers of the configuration, in its order."""
        return self._providers

    @property
    def issuer(self) -> str:
        """The ``iss`` of the first provider's tokens.

        Without a configuration, it is also the URL of a running issuer, with metadata and keys.
        """
        return self._providers[0].issuer

    @property
    def jwks_uri(self) -> str:
        """The URL of the first provider's keys on this machine, for an API that verifies tokens itself.

        The metadata is beside it, under ``.well-known/openid-configuration``, and ``token`` is a token
        endpoint that gives any claims to anyone.
        """
        return self._providers[0].jwks_uri

    @property
    def address(self) -> str:
        """Where the service answers ``Check`` by gRPC: host and port, for a real Envoy."""
        return self._check

    @property
    def admin_url(self) -> str:
        """The URL of the page for operators, which shows the last decisions."""
        return f"http://{self._admin}/"

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works as the configuration says, but is probably not what you want."""
        return self._warnings

    def mint(
        self,
        claims: Mapping[str, Any] | None = None,
        /,
        *,
        provider: str | None = None,
        header: Mapping[str, Any] | None = None,
        expires_in: float | timedelta | None = None,
        **more: Any,
    ) -> str:
        """A token of the first provider, or of the one named ``provider``.

        It is valid for ten minutes, or for ``max_lifetime`` if that is shorter, and has every claim that
        the provider requires. ``claims`` and ``more`` change it: ``mint(sub="alice", aud="billing")``,
        or ``mint({"https://example.com/roles": ["admin"]})`` for names that Python does not accept.
        ``None`` removes a claim.

        ``header`` changes the JOSE header in the same way. ``expires_in`` is the time from now to
        ``exp``, negative for a token that has expired.
        """
        asked: dict[str, Any] = {"claims": {**(claims or {}), **more}, "header": dict(header or {})}
        if provider is not None:
            asked["provider"] = provider
        if expires_in is not None:
            asked["expires_in"] = round(_seconds(expires_in))
        token: str = self._ask("mint", asked)["token"]
        return token

    def check(
        self,
        method: str = "GET",
        path: str = "/",
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        *,
        token: str | None = None,
        host: str = "localhost",
        source_address: str = "127.0.0.1",
        source_principal: str = "",
        context: Mapping[str, str] | None = None,
    ) -> Decision:
        """Decide a request as claimgate does when Envoy asks.

        ``path`` includes the query. ``headers`` is a mapping, or pairs if a name is repeated. ``token``
        adds the header ``authorization: Bearer …``. ``source_address`` and ``source_principal`` describe
        the sender, and ``context`` has the context extensions of Envoy's route, for conditions and for
        routes that name their rule.
        """
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        lines = [(str(name), str(value)) for name, value in pairs]
        if token is not None:
            lines.append(("authorization", f"Bearer {token}"))
        asked = {
            "method": method,
            "host": host,
            "path": path,
            "headers": lines,
            "source_address": source_address,
            "source_principal": source_principal,
            "context": dict(context or {}),
        }
        return _decision(self._ask("check", asked)["check"])

    def rotate_keys(self, provider: str | None = None) -> str:
        """Replace the signing key of the first provider, or of the one named ``provider``.

        Tokens of the previous key stay valid until the next rotation. Returns the new key's id.
        """
        kid: str = self._ask("rotate", {} if provider is None else {"provider": provider})["kid"]
        return kid

    def advance(self, by: float | timedelta) -> None:
        """Move the gate's clock forward by whole seconds. Tokens expire, and new ones are later."""
        seconds = round(_seconds(by))
        if seconds < 0:
            raise ValueError("the clock moves forward only; `reset_clock` returns to now")
        self._ask("advance", {"seconds": seconds})

    def reset_clock(self) -> None:
        """Return to the machine's time."""
        self._ask("reset", {})

    def _ask(self, name: str, members: dict[str, Any]) -> dict[str, Any]:
        return self._process.ask(name, members, self._timeout)


def _start(config: Mapping[str, Any] | str | os.PathLike[str] | None) -> dict[str, str]:
    """The members of ``start``."""
    if config is None:
        return {}
    if isinstance(config, Mapping):
        try:
            return {"config": json.dumps(dict(config), indent=1)}
        except (TypeError, ValueError) as error:
            raise ConfigError(f"the configuration cannot be written as JSON: {error}") from error
    if isinstance(config, str) and ("\n" in config or ": " in config):
        return {"config": config}
    path = os.fspath(config)
    if not isinstance(path, str):
        raise GateError("a path must be text")
    return {"file": path}


def _seconds(duration: float | timedelta) -> float:
    return duration.total_seconds() if isinstance(duration, timedelta) else duration


def _decision(answer: dict[str, Any]) -> Decision:
    """Read what the binary answers to ``check``."""
    allowed = answer["decision"] == "allow"
    failed = answer["failed"] or {}
    response = answer["response"]
    upstream = answer["upstream"] or {"headers": (), "path": None}
    return Decision(
        allowed=allowed,
        status=200 if allowed else response["status"],
        reason=failed.get("reason"),
        detail=failed.get("detail"),
        hint=answer["likely_cause"],
        rule=answer["rule"],
        provider=answer["provider"],
        steps=tuple(Step(**step) for step in answer["passed"]),
        headers=_joined(upstream["headers"]),
        path=upstream["path"],
        response_headers=response["response_headers"] if allowed else response["headers"],
        body="" if allowed else response["body"],
        explanation=answer["explanation"],
    )


def _joined(lines: Iterable[tuple[str, str]]) -> dict[str, str]:
    """The values of each name, joined as servers do it (RFC 9110 §5.3, RFC 9113 §8.2.3)."""
    joined: dict[str, str] = {}
    for name, value in lines:
        separator = "; " if name == "cookie" else ", "
        joined[name] = f"{joined[name]}{separator}{value}" if name in joined else value
    return joined
