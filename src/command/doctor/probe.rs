//! The probes: what is sent. None of them changes anything behind the gateway.

use crate::command::tls::Protocol;

/// The claim header that is spoofed unless --claim-header names others.
pub(super) const CLAIM_HEADER: &str = "x-auth-subject";

/// A header that no configuration manages, whose name contains `_`.
pub(super) const UNDERSCORED: &str = "claimgate_doctor";

/// Not a token, so that nobody looks up a key because of it.
const GARBAGE: &str = "Bearer claimgate-doctor";

/// Below Envoy's default limit of 60 KiB for all headers together.
const LARGE_BYTES: usize = 56 * 1024;

/// The subject of a probe, in the order in which they are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Probe {
    /// Without a token. If a login is expected, with an unreadable one: the login answers every other request.
    NoToken,
    /// What a browser sends to open a page, if a login is expected.
    Page,
    /// The same on a path that does not exist, at the root of the gateway.
    Elsewhere,
    Garbage,
    /// With the operator's token.
    Token,
    SpoofedHeaders,
    SpoofedSpellings,
    EncodedDots,
    DotsWithSemicolon,
    /// A path that no Envoy changes, and that claimgate refuses if a rule uses paths.
    PathParameter,
    DoubleSlash,
    TwoAuthorizations,
    Preflight,
    LowerCaseMethod,
    LowerCaseMethodHttp2,
    LargeHeader,
    /// `NoToken`, as the second request of a connection.
    Kept,
    /// `NoToken`, without TLS to the plain port of a gateway with TLS.
    PlainPort,
    /// Repeated after a pause.
    GarbageAgain,
}

/// The probes of every run. Those for large headers and for a login are left out unless they were asked for.
pub(super) const ALL: [Probe; 19] = [
    Probe::NoToken,
    Probe::Page,
    Probe::Elsewhere,
    Probe::Garbage,
    Probe::Token,
    Probe::SpoofedHeaders,
    Probe::SpoofedSpellings,
    Probe::EncodedDots,
    Probe::DotsWithSemicolon,
    Probe::PathParameter,
    Probe::DoubleSlash,
    Probe::TwoAuthorizations,
    Probe::Preflight,
    Probe::LowerCaseMethod,
    Probe::LowerCaseMethodHttp2,
    Probe::LargeHeader,
    Probe::Kept,
    Probe::PlainPort,
    Probe::GarbageAgain,
];

/// The ids of one probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ids {
    /// Sent as `x-request-id`. Not a UUID, which Envoy would rewrite when it samples a trace.
    pub request: String,
    /// Sent in `traceparent`.
    pub trace: String,
    /// The value of spoofed headers, and the last part of paths.
    pub mark: String,
}

impl Ids {
    pub(super) fn random() -> Self {
        let number = || format!("{:032x}", fastrand::u128(1..));
        Self {
            request: format!("doctor-{}", number()),
            trace: number(),
            mark: number(),
        }
    }

    /// Whether an id is one of this probe.
    pub(super) fn are(&self, id: &str) -> bool {
        id == self.request || id == self.trace
    }
}

/// What all probes share.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The path of the URL.
    pub path: String,
    pub token: Option<String>,
    /// In lower case.
    pub claim_headers: Vec<String>,
    /// Whether browsers are to be sent to a login.
    pub expects_login: bool,
}

/// One request, whose parts are sent unchanged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub protocol: Protocol,
    pub connection: Connection,
    pub method: &'static str,
    pub path: String,
    pub headers: Vec<(String, String)>,
}

/// The connection on which a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    /// A new one.
    New,
    /// A new one, on which the same request has been sent before.
    Used,
    /// A new one without TLS, to the plain port.
    Plain,
}

/// What a probe has in `authorization`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Credential {
    /// Nothing: browsers send a page's first request and a preflight without a token.
    Nothing,
    /// Nothing, or an unreadable token if a login is expected.
    PassesLogin,
    /// An unreadable token.
    Garbage,
    /// The operator's token. Without one, the same as `PassesLogin`.
    Token,
    /// Two lines: the operator's token, if there is one, and an unreadable one.
    TokenAndGarbage,
}

impl Probe {
    /// The request of this probe. `None` if it needs a token and none was given, or a login and none is expected.
    pub(super) fn request(self, target: &Target, ids: &Ids) -> Option<Request> {
        let Ids {
            request,
            trace,
            mark,
        } = ids;
        let parent = trace.get(..16).unwrap_or_default();
        let mut headers = vec![
            ("x-request-id".to_owned(), request.clone()),
            ("traceparent".to_owned(), format!("00-{trace}-{parent}-00")),
        ];
        let token = target.token.as_ref().map(|token| format!("Bearer {token}"));
        let passes_login = target.expects_login.then(|| GARBAGE.to_owned());
        let is_asked_for = match self {
            Self::Page => target.expects_login,
            Self::Token => token.is_some(),
            _ => true,
        };
        if !is_asked_for {
            return None;
        }
        let garbage = || GARBAGE.to_owned();
        let authorizations = match self.credential() {
            Credential::Nothing => vec![],
            Credential::PassesLogin => passes_login.into_iter().collect(),
            Credential::Garbage => vec![garbage()],
            Credential::Token => token.or(passes_login).into_iter().collect(),
            Credential::TokenAndGarbage => vec![token.unwrap_or_else(garbage), garbage()],
        };
        let lines = authorizations.into_iter();
        headers.extend(lines.map(|value| ("authorization".to_owned(), value)));
        headers.extend(self.further_headers(target, mark));
        Some(Request {
            protocol: match self {
                Self::LowerCaseMethodHttp2 => Protocol::Http2,
                _ => Protocol::Http1,
            },
            connection: match self {
                Self::Kept => Connection::Used,
                Self::PlainPort => Connection::Plain,
                _ => Connection::New,
            },
            method: match self {
                Self::Preflight => "OPTIONS",
                Self::LowerCaseMethod | Self::LowerCaseMethodHttp2 => "delete",
                _ => "GET",
            },
            path: self.path(target, mark),
            headers,
        })
    }

    /// What stands in `authorization`.
    pub(super) fn credential(self) -> Credential {
        match self {
            Self::Page | Self::Preflight => Credential::Nothing,
            Self::NoToken
            | Self::Elsewhere
            | Self::LowerCaseMethod
            | Self::LowerCaseMethodHttp2
            | Self::LargeHeader
            | Self::Kept
            | Self::PlainPort => Credential::PassesLogin,
            Self::Garbage | Self::GarbageAgain => Credential::Garbage,
            Self::Token
            | Self::SpoofedHeaders
            | Self::SpoofedSpellings
            | Self::EncodedDots
            | Self::DotsWithSemicolon
            | Self::PathParameter
            | Self::DoubleSlash => Credential::Token,
            Self::TwoAuthorizations => Credential::TokenAndGarbage,
        }
    }

    fn further_headers(self, target: &Target, mark: &str) -> Vec<(String, String)> {
        let names: Vec<String> = match self {
            Self::SpoofedHeaders => target.claim_headers.clone(),
            Self::SpoofedSpellings => {
                let names = target.claim_headers.iter().flat_map(spellings);
                names.chain([UNDERSCORED.to_owned()]).collect()
            }
            Self::Preflight => {
                let question = [
                    ("origin", "https://claimgate-doctor.invalid"),
                    ("access-control-request-method", "GET"),
                ];
                return question
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .to_vec();
            }
            Self::Page => {
                let navigation = [("accept", "text/html"), ("sec-fetch-mode", "navigate")];
                return navigation
                    .map(|(name, value)| (name.to_owned(), value.to_owned()))
                    .to_vec();
            }
            Self::LargeHeader => {
                let value = "a".repeat(LARGE_BYTES);
                return vec![("x-claimgate-doctor".to_owned(), value)];
            }
            _ => return Vec::new(),
        };
        names
            .into_iter()
            .map(|name| (name, mark.to_owned()))
            .collect()
    }

    /// Methods other than GET are sent only to a path that cannot exist.
    fn path(self, target: &Target, mark: &str) -> String {
        let nowhere = format!("/.well-known/claimgate-doctor/{mark}");
        let below = target.path.trim_end_matches('/');
        match self {
            Self::Elsewhere
            | Self::Preflight
            | Self::LowerCaseMethod
            | Self::LowerCaseMethodHttp2 => nowhere,
            // Below the given path, because the route must be the same.
            Self::EncodedDots => format!("{below}{nowhere}/%2e%2e/x"),
            Self::DotsWithSemicolon => format!("{below}{nowhere}/..;/x"),
            Self::PathParameter => format!("{below}{nowhere};a/x"),
            Self::DoubleSlash => format!("{below}{nowhere}//x"),
            _ => target.path.clone(),
        }
    }
}

/// The name with `_` everywhere, and only at the end. claimgate removes the first without having seen it.
fn spellings(name: &String) -> Vec<String> {
    let mut spellings = vec![name.replace('-', "_")];
    if let Some((begin, end)) = name.rsplit_once('-') {
        spellings.push(format!("{begin}_{end}"));
    }
    spellings.retain(|spelling| spelling != name);
    spellings.dedup();
    spellings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(token: Option<&str>) -> Target {
        Target {
            path: "/orders".to_owned(),
            token: token.map(str::to_owned),
            claim_headers: vec!["x-auth-subject".to_owned(), "x-user".to_owned()],
            expects_login: true,
        }
    }

    #[test]
    fn probes_change_nothing() {
        for token in [None, Some("t")] {
            for probe in ALL {
                let ids = Ids::random();
                let Some(request) = probe.request(&target(token), &ids) else {
                    assert_eq!((probe, token), (Probe::Token, None));
                    continue;
                };
                let nowhere = format!("/.well-known/claimgate-doctor/{}", ids.mark);
                let is_harmless = request.method == "GET" || request.path == nowhere;
                assert!(is_harmless, "{request:?}");
                assert!(
                    request
                        .headers
                        .contains(&("x-request-id".to_owned(), ids.request))
                );
            }
        }
    }

    /// A token of the operator goes nowhere but to GET requests below the given path.
    #[test]
    fn the_token_stays_below_the_path() {
        for probe in ALL {
            let request = probe
                .request(&target(Some("secret")), &Ids::random())
                .unwrap();
            let has_token = request
                .headers
                .iter()
                .any(|(_, value)| value.contains("secret"));
            let is_below = request.method == "GET" && request.path.starts_with("/orders");
            assert!(!has_token || is_below, "{request:?}");
        }
    }

    #[test]
    fn what_is_sent() {
        let ids = Ids {
            mark: "m".to_owned(),
            ..Ids::random()
        };
        for (probe, method, path, header) in [
            (
                Probe::NoToken,
                "GET",
                "/orders",
                Some(("authorization", GARBAGE)),
            ),
            (Probe::Page, "GET", "/orders", Some(("accept", "text/html"))),
            (
                Probe::Garbage,
                "GET",
                "/orders",
                Some(("authorization", GARBAGE)),
            ),
            (
                Probe::Token,
                "GET",
                "/orders",
                Some(("authorization", "Bearer t")),
            ),
            (
                Probe::SpoofedHeaders,
                "GET",
                "/orders",
                Some(("x-user", "m")),
            ),
            (
                Probe::SpoofedSpellings,
                "GET",
                "/orders",
                Some(("x_auth_subject", "m")),
            ),
            (
                Probe::SpoofedSpellings,
                "GET",
                "/orders",
                Some((UNDERSCORED, "m")),
            ),
            (
                Probe::EncodedDots,
                "GET",
                "/orders/.well-known/claimgate-doctor/m/%2e%2e/x",
                Some(("authorization", "Bearer t")),
            ),
            (
                Probe::LowerCaseMethodHttp2,
                "delete",
                "/.well-known/claimgate-doctor/m",
                None,
            ),
        ] {
            let request = probe.request(&target(Some("t")), &ids).unwrap();
            assert_eq!((request.method, request.path.as_str()), (method, path));
            if let Some((name, value)) = header {
                let line = (name.to_owned(), value.to_owned());
                assert!(request.headers.contains(&line), "{request:?}");
            }
        }
        let without = Target {
            expects_login: false,
            ..target(None)
        };
        assert_eq!(Probe::Page.request(&without, &ids), None);
        let request = Probe::NoToken.request(&without, &ids).unwrap();
        let mut names = request.headers.iter().map(|(name, _)| name);
        assert!(names.all(|name| name != "authorization"), "{request:?}");

        let two = Probe::TwoAuthorizations
            .request(&target(None), &ids)
            .unwrap();
        let lines = two
            .headers
            .iter()
            .filter(|(name, _)| name == "authorization");
        assert_eq!(lines.count(), 2);
    }
}
