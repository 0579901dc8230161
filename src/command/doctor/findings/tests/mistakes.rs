//! Mistakes, and how they look from outside.

use super::super::super::probe::Probe::{self, *};
use super::super::Verdict::{self, CannotProbe, Problem, Warning};
use super::{Reply, all, observed, only, settings, wrong};

/// The probe that gets this reply (`None`: all of them), the only finding, and the settings that it names
/// first.
type Mistake = (
    &'static str,
    Option<Probe>,
    Reply,
    Verdict,
    &'static str,
    &'static [&'static str],
);

const OFF: &[&str] = &[
    "http_filters",
    "typed_per_filter_config",
    "filter_enabled",
    "AuthorizationPolicy",
    "SecurityPolicy",
    "authorization",
    "globalExtAuth",
    "routes",
    "failure_mode_allow",
    "shadow_mode",
    "--drain-time-s",
];

const CLUSTER: &[&str] = &[
    "load_assignment",
    "http2_protocol_options",
    "timeout",
    "authority",
    "transport_socket",
    "Sidecar",
];

const ISTIO: &[&str] = &[
    "extensionProviders",
    "AuthorizationPolicy",
    "envoy.filters.http.rbac",
];

const MISTAKES: [Mistake; 36] = [
    (
        "checked once for each connection",
        Some(Kept),
        Reply::Passed(200),
        Problem,
        "kept_connection",
        &["filter_enabled", "--drain-time-s"],
    ),
    // Contour: `permitInsecure`.
    (
        "the plain port",
        Some(PlainPort),
        Reply::Passed(200),
        Problem,
        "plain_port",
        &["permitInsecure", "typed_per_filter_config"],
    ),
    // Istio: a selector without match, `failOpen`; Envoy Gateway: a route's own policy.
    ("open", None, Reply::Passed(200), Problem, "not_asked", OFF),
    (
        "API down",
        None,
        Reply::Local(503, "no healthy upstream"),
        Problem,
        "not_asked",
        OFF,
    ),
    // Wrong port, HTTP/1, time-out: with and without `status_on_error`.
    (
        "503",
        None,
        Reply::Local(503, ""),
        Problem,
        "checks_fail",
        CLUSTER,
    ),
    (
        "403",
        None,
        Reply::Local(403, ""),
        Problem,
        "checks_fail",
        CLUSTER,
    ),
    // Istio: a provider or service that it cannot find, a dry run.
    (
        "RBAC",
        None,
        Reply::Local(403, "RBAC: access denied"),
        Problem,
        "rbac",
        ISTIO,
    ),
    // Envoy Gateway: a wrong reference.
    (
        "500",
        None,
        Reply::Local(500, ""),
        Problem,
        "server_error",
        &["decoder_header_mutation_rules", "backendRefs"],
    ),
    // Istio without a time-out.
    (
        "late",
        None,
        Reply::Late,
        Problem,
        "no_answer",
        &["timeout"],
    ),
    (
        "404",
        None,
        Reply::Local(404, ""),
        CannotProbe,
        "no_route",
        &["--through"],
    ),
    (
        "301",
        None,
        Reply::Local(301, ""),
        CannotProbe,
        "redirect",
        &["--through"],
    ),
    (
        "400",
        None,
        Reply::Local(400, ""),
        CannotProbe,
        "not_envoy",
        &["--through"],
    ),
    (
        "jwt_authn",
        None,
        Reply::Local(401, "Jwt is missing"),
        Problem,
        "other_filter",
        &["http_filters"],
    ),
    (
        "one 503",
        Some(Garbage),
        Reply::Local(503, ""),
        Problem,
        "some_checks_fail",
        &["timeout", "outlier_detection"],
    ),
    (
        "one late",
        Some(Preflight),
        Reply::Late,
        Problem,
        "some_checks_fail",
        &["timeout"],
    ),
    (
        "first 503",
        Some(NoToken),
        Reply::Local(503, ""),
        Problem,
        "some_checks_fail",
        &["timeout"],
    ),
    (
        "broken",
        Some(NoToken),
        Reply::Broken,
        Problem,
        "some_checks_fail",
        &["timeout"],
    ),
    (
        "access: optional",
        Some(NoToken),
        Reply::Passed(200),
        Warning,
        "optional_path",
        &["--through", "typed_per_filter_config", "claimgate.rule"],
    ),
    (
        "a sidecar's 503",
        None,
        Reply::Forwarded(503),
        Problem,
        "refused_behind",
        &[
            "load_assignment",
            "http2_protocol_options",
            "timeout",
            "http_filters",
        ],
    ),
    (
        "root open",
        Some(Elsewhere),
        Reply::Passed(404),
        Warning,
        "passes_elsewhere",
        // Contour: an included HTTPProxy that names a public rule.
        &[
            "typed_per_filter_config",
            "AuthorizationPolicy",
            "SecurityPolicy",
            "claimgate.rule",
        ],
    ),
    (
        "authorization removed",
        Some(Garbage),
        Reply::Denied(401, "missing_token"),
        Problem,
        "authorization_missing",
        &["request_headers_to_remove", "allowed_headers", "token_from"],
    ),
    (
        "the same without reasons",
        Some(Garbage),
        Reply::Anonymous(401, "Bearer realm=\"a\""),
        Problem,
        "authorization_missing",
        &["request_headers_to_remove"],
    ),
    (
        "allowed_headers",
        Some(NoToken),
        Reply::OwnId,
        Problem,
        "headers_hidden",
        &["allowed_headers", "x-request-id"],
    ),
    (
        "two tokens pass",
        Some(TwoAuthorizations),
        Reply::Passed(200),
        Problem,
        "two_authorizations",
        &["authorization"],
    ),
    (
        "one of two tokens",
        Some(TwoAuthorizations),
        Reply::Denied(401, "malformed_token"),
        Warning,
        "two_authorizations",
        &["authorization"],
    ),
    (
        "token denied",
        Some(Token),
        Reply::Denied(401, "expired"),
        Warning,
        "token_denied",
        &["claimgate why"],
    ),
    (
        "spoofed",
        Some(SpoofedHeaders),
        Reply::Echo("/", "X-Auth-Subject"),
        Problem,
        "claim_headers_spoofed",
        &["upstream.claim_headers", "decoder_header_mutation_rules"],
    ),
    (
        "underscores",
        Some(SpoofedSpellings),
        Reply::Denied(401, "missing_token"),
        Warning,
        "underscores_allowed",
        &["headers_with_underscores_action"],
    ),
    (
        "underscores, echoed",
        Some(SpoofedSpellings),
        Reply::Echo("/", "claimgate_doctor"),
        Warning,
        "underscores_allowed",
        &["headers_with_underscores_action"],
    ),
    (
        "spelling",
        Some(SpoofedSpellings),
        Reply::Echo("/", "x_auth_subject"),
        Problem,
        "spelling_spoofed",
        // `cache`: an answer that was remembered for a request without these headers.
        &[
            "headers_with_underscores_action",
            "allowed_headers",
            "upstream.claim_headers",
            "decoder_header_mutation_rules",
            "cache",
        ],
    ),
    (
        "raw dots refused",
        Some(EncodedDots),
        Reply::Denied(400, "ambiguous_path"),
        Problem,
        "paths_not_normalized",
        &["normalize_path", "paths"],
    ),
    (
        "raw dots echoed",
        Some(EncodedDots),
        Reply::Echo("/%2e%2e/x", "x"),
        Problem,
        "paths_not_normalized",
        &["normalize_path"],
    ),
    (
        "slashes",
        Some(DoubleSlash),
        Reply::Anonymous(400, ""),
        Warning,
        "slashes_not_merged",
        &["merge_slashes"],
    ),
    (
        "path parameters",
        Some(DotsWithSemicolon),
        Reply::Echo("/..;/x", "x"),
        Warning,
        "path_parameters_pass",
        &["paths"],
    ),
    (
        "method",
        Some(LowerCaseMethodHttp2),
        Reply::Passed(404),
        Problem,
        "method_passes",
        &["typed_per_filter_config"],
    ),
    (
        "large",
        Some(LargeHeader),
        Reply::Local(503, ""),
        Problem,
        "large_header_fails",
        &["max_request_headers_kb"],
    ),
];

#[test]
fn mistakes_are_named() {
    for (what, probe, reply, verdict, code, expected) in MISTAKES {
        let observations = match probe {
            Some(probe) => observed(only(probe, reply)),
            None => observed(all(reply)),
        };
        let findings = wrong(&observations);
        let found: Vec<_> = findings.iter().map(|it| (it.verdict, it.code)).collect();
        assert_eq!(found, [(verdict, code)], "{what}: {findings:#?}");
        let settings = settings(&findings[0]);
        assert_eq!(settings.get(..expected.len()), Some(expected), "{what}");
    }
}
