"""Decisions are those of production."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest

from claimgate import Gate, GateError

CONFIG = """
server: { listen: ["0.0.0.0:9001"], tls: { certificate: absent.pem, key: absent.pem } }
admin: { listen: "0.0.0.0:9002", token_file: absent }
telemetry: { otlp: { endpoint: "http://collector.example:4317" } }
log: { subject: hash, subject_key_file: absent }
providers:
  - name: acme
    issuer: https://idp.example.com/realms/acme
    audiences: [orders-api]
    required_claims: { token_use: access }
    fetch: { ca_file: absent.pem }
    token_from: [{ header: authorization, scheme: Bearer }, { query: access_token }]
  - { name: partner, issuer: https://partner.example.com, audiences: [orders-api] }
rules:
  - { name: health, match: { path: { exact: /healthz } }, access: public }
  - { name: trial, match: { path: { prefix: /trial } }, scopes: [trial], enforce: false }
  - { name: partners, match: { path: { prefix: /partners } }, providers: [partner] }
  - { name: write, match: { methods: [POST] }, scopes: [orders:write] }
  - name: office
    match: { path: { prefix: /office } }
    condition: source.address == "192.0.2.7"
  - { name: named, match: { hosts: [nowhere.example] }, access: deny }
upstream:
  forward_token: false
  claim_headers: [{ header: x-auth-subject, claim: sub }]
response_headers: [{ header: x-served-to, claim: sub }]
"""


@pytest.fixture(scope="module")
def claimgate_config() -> str:
    return CONFIG


@pytest.mark.parametrize(
    ("request_", "claims", "expected"),
    [
        ({}, {"sub": "alice"}, (200, None, "default", "acme")),
        ({"path": "/orders?page=2"}, {"sub": "alice"}, (200, None, "default", "acme")),
        ({}, {"token_use": None}, (401, "missing_claim", "default", "acme")),
        ({}, {"aud": "billing"}, (401, "wrong_audience", "default", "acme")),
        ({}, {"iss": "https://idp.example.com"}, (401, "unknown_issuer", "default", None)),
        ({"method": "POST"}, {}, (403, "insufficient_scope", "write", "acme")),
        ({"method": "POST"}, {"scope": "orders:write"}, (200, None, "write", "acme")),
        ({"path": "/partners/1"}, {}, (403, "access_denied", "partners", "acme")),
        ({"path": "/office"}, {}, (403, "access_denied", "office", "acme")),
        (
            {"path": "/office", "source_address": "192.0.2.7"},
            {},
            (200, None, "office", "acme"),
        ),
        ({"host": "nowhere.example"}, {}, (403, "access_denied", "named", None)),
        ({"context": {"claimgate.rule": "named"}}, {}, (403, "access_denied", "named", None)),
        ({"path": "/trial"}, {}, (200, "insufficient_scope", "trial", "acme")),
        ({"path": "/orders/../admin"}, {}, (400, "ambiguous_path", None, None)),
    ],
)
def test_a_token(
    gate: Gate,
    request_: dict[str, Any],
    claims: dict[str, Any],
    expected: tuple[int, str | None, str | None, str | None],
) -> None:
    decision = gate.check(**request_, token=gate.mint(claims))
    found = (decision.status, decision.reason, decision.rule, decision.provider)
    assert found == expected, decision.explanation
    assert decision.allowed == (decision.status == 200)
    assert (decision.detail is None) == (decision.reason is None)


def test_another_provider(gate: Gate) -> None:
    assert [provider.name for provider in gate.providers] == ["acme", "partner"]
    decision = gate.check(path="/partners/1", token=gate.mint(provider="partner", sub="bob"))
    assert decision.headers["x-auth-subject"] == "bob"
    with pytest.raises(GateError, match="the configuration has no provider `nobody`"):
        gate.mint(provider="nobody")
    with pytest.raises(GateError, match="no provider `nobody`"):
        gate.rotate_keys("nobody")


def test_what_the_upstream_gets(gate: Gate) -> None:
    sent = [
        ("Accept", "text/html"),
        ("accept", "text/plain"),
        ("Cookie", "a=1"),
        ("cookie", "b=2"),
        ("X-Auth-Subject", "mallory"),
        ("x_auth_subject", "mallory"),
    ]
    decision = gate.check("GET", "/orders?a=1", sent, token=gate.mint(sub="alice"))
    assert decision.headers == {
        "accept": "text/html, text/plain",
        "cookie": "a=1; b=2",
        "x-auth-subject": "alice",
    }
    assert decision.path == "/orders?a=1"
    assert decision.response_headers == {"x-served-to": "alice"}
    assert decision.body == ""
    token = gate.mint()
    decision = gate.check("GET", f"/orders?a=1&access_token={token}&b=2")
    assert decision.path == "/orders?a=1&b=2"
    decision = gate.check("GET", "/healthz", {"x-auth-subject": "mallory", "x-id": "7"})
    assert decision.headers == {"x-id": "7"}


def test_what_the_caller_gets(gate: Gate) -> None:
    decision = gate.check("GET", "/orders", {"x-request-id": "42"}, host="api.example.com")
    assert not decision.allowed
    assert decision.status == 401
    assert decision.response_headers["www-authenticate"] == 'Bearer realm="api.example.com"'
    assert decision.json()["reason"] == "missing_token"
    assert decision.json()["request_id"] == "42"
    assert decision.headers == {}
    assert decision.path is None


def test_the_operator_learns_why(gate: Gate) -> None:
    decision = gate.check(token=gate.mint(iss="https://idp.example.com/auth/realms/acme"))
    assert decision.hint is not None
    assert "Keycloak" in decision.hint
    assert decision.detail is not None
    assert "configured:" in decision.detail
    assert decision.explanation.startswith("DENY\n")
    assert "Keycloak" not in decision.body
    allowed = gate.check(token=gate.mint())
    again = gate.check(token=gate.mint())
    checks = " ".join(step.check for step in allowed.steps)
    assert checks == "rule credential form issuer keys signature times audience"
    assert " ".join(step.check for step in again.steps) == checks


def test_time_passes(gate: Gate) -> None:
    short, long = gate.mint(), gate.mint(expires_in=timedelta(hours=3))
    assert gate.check(token=gate.mint(expires_in=-300)).reason == "expired"
    gate.advance(timedelta(minutes=9))
    assert gate.check(token=short).allowed
    gate.advance(120)
    assert gate.check(token=short).reason == "expired"
    assert gate.check(token=long).allowed
    assert gate.check(token=gate.mint()).allowed
    gate.reset_clock()
    assert gate.check(token=short).allowed
    with pytest.raises(ValueError, match="forward only"):
        gate.advance(-1)


def test_a_moved_clock_is_the_providers_too(gate: Gate) -> None:
    gate.advance(3600)
    gate.rotate_keys()
    assert gate.check(token=gate.mint()).allowed
    for _ in range(2):
        decision = gate.check(token=gate.mint(expires_in=-300))
        assert decision.reason == "expired"
        assert (decision.hint or "").startswith("the clocks agree"), decision.hint
        gate.reset_clock()


def test_contradicting_headers_are_refused_as_in_production(gate: Gate) -> None:
    token = gate.mint()
    for headers, reason in [
        ({"host": "other.example.com"}, "ambiguous_host"),
        ({":path": "/other"}, "ambiguous_path"),
        ({":method": "DELETE"}, "ambiguous_method"),
    ]:
        decision = gate.check("GET", "/orders", headers, host="api.example.com", token=token)
        assert (decision.status, decision.reason) == (400, reason)


def test_keys_are_replaced(gate: Gate) -> None:
    # Far more often than the service would look up keys in production.
    for _ in range(20):
        before = gate.mint()
        gate.rotate_keys()
        after = gate.mint()
        decision = gate.check(token=after)
        assert decision.allowed, decision.explanation
        assert [step.check for step in decision.steps].count("rule") == 1
        assert gate.check(token=before).allowed
        assert gate.rotate_keys().startswith("claimgate-test-")
        assert gate.check(token=gate.mint()).allowed
        assert gate.check(token=before).reason == "unknown_key"
        assert gate.check(token=after).allowed


def test_headers_of_tokens(gate: Gate) -> None:
    assert gate.check(token=gate.mint(header={"typ": "JWT"})).allowed
    assert gate.check(token=gate.mint(header={"typ": "dpop+jwt"})).reason == "unsupported_type"
    assert gate.check(token="nonsense").reason == "malformed_token"


def fetched(url: str, body: bytes | None = None) -> Any:
    headers = {"content-type": "application/json"}
    with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=10) as answer:
        return json.load(answer)


@pytest.fixture
def default_gate() -> Iterator[Gate]:
    with Gate() as gate:
        yield gate


def test_the_issuer_is_real(default_gate: Gate, gate: Gate) -> None:
    assert default_gate.issuer.startswith("http://127.0.0.1:")
    assert gate.issuer == "https://idp.example.com/realms/acme"
    for tested in (default_gate, gate):
        for provider in tested.providers:
            base = provider.jwks_uri.removesuffix("/jwks")
            metadata = fetched(f"{base}/.well-known/openid-configuration")
            assert metadata["issuer"] == provider.issuer
            assert metadata["jwks_uri"] == provider.jwks_uri
            assert len(fetched(provider.jwks_uri)["keys"]) in (1, 2)
            granted = fetched(metadata["token_endpoint"], b'{"sub": "carol"}')
            assert granted["expires_in"] == 600
            path = "/partners" if provider.name == "partner" else "/orders"
            decision = tested.check(path=path, token=granted["access_token"])
            assert decision.headers["x-auth-subject"] == "carol", decision.explanation
    assert default_gate.jwks_uri == default_gate.issuer + "/jwks"
    with urllib.request.urlopen(gate.admin_url, timeout=10) as page:
        assert b"claimgate" in page.read()


def test_threads_share_a_gate(gate: Gate) -> None:
    tokens = {name: gate.mint(sub=name) for name in map(str, range(50))}

    def subject(name: str) -> str:
        return gate.check(token=tokens[name]).headers["x-auth-subject"]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(subject, tokens)) == list(tokens)
