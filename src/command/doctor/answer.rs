//! What came back, and who answered: claimgate, Envoy itself, or the API.

use std::collections::BTreeMap;

use serde_json::Value;

use super::probe::Ids;

/// A response as it was received. Header names are in lower case; the body may be cut.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

/// Who answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Claimgate(Denial),
    /// The API, or something else behind the gateway.
    Upstream(Option<Echo>),
    Envoy(Local),
    /// Neither claimgate nor Envoy can be recognised.
    Unknown,
}

/// A denial by claimgate, as the caller sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Denial {
    /// The reason in the body. `denials.expose_reason: false` and some forms of the body leave it out.
    pub reason: Option<String>,
    /// The `error` of the challenge.
    pub error: Option<String>,
    /// The request's id.
    pub id: String,
}

/// An answer that Envoy gives by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Local {
    /// 403 or 503 without a body: the check failed.
    CheckFailed,
    /// 403 `RBAC: access denied`.
    Rbac,
    /// 500 without a body.
    ServerError,
    /// 404 without a body.
    NoRoute,
    /// Refused before any filter ran: 400, 413, 431.
    Refused,
    Redirect,
    /// The request passed, but Envoy cannot reach the API.
    ApiDown,
    /// Another filter answered; its name, if the body tells it.
    Filter(&'static str),
}

/// The request as the API received it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Echo {
    headers: BTreeMap<String, Vec<String>>,
    pub path: Option<String>,
}

/// How the bodies of other filters begin.
const FILTERS: [(&str, &str); 6] = [
    ("Jwt ", "envoy.filters.http.jwt_authn"),
    ("Jwks ", "envoy.filters.http.jwt_authn"),
    ("Failed JWT authentication", "envoy.filters.http.jwt_authn"),
    ("OAuth flow failed", "envoy.filters.http.oauth2"),
    ("local_rate_limited", "envoy.filters.http.local_ratelimit"),
    ("fault filter abort", "envoy.filters.http.fault"),
];

/// How Envoy's bodies begin if the API cannot be reached.
const API_DOWN: [&str; 3] = [
    "upstream connect error",
    "no healthy upstream",
    "upstream request timeout",
];

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.headers.iter();
        lines
            .find(|(found, _)| found == name)
            .map(|(_, value)| value.as_str())
    }

    /// Who answered a request that was sent with these ids.
    pub(super) fn origin(&self, sent: &Ids) -> Origin {
        if let Some(denial) = self.denial(sent) {
            return Origin::Claimgate(denial);
        }
        let body = self.body.trim();
        // Of a sidecar too, whose answer a gateway in front of it passes on.
        if self.status == 403 && body == "RBAC: access denied" {
            return Origin::Envoy(Local::Rbac);
        }
        if self.is_forwarded() {
            return Origin::Upstream(self.echo());
        }
        if let Some((_, filter)) = FILTERS.iter().find(|(begin, _)| body.starts_with(begin)) {
            return Origin::Envoy(Local::Filter(filter));
        }
        let is_envoy = self
            .header("server")
            .is_some_and(|server| server.ends_with("envoy"));
        let local = match (self.status, body) {
            (_, body) if API_DOWN.iter().any(|begin| body.starts_with(begin)) => Local::ApiDown,
            (200..300, _) => return Origin::Upstream(self.echo()),
            (300..400, _) => Local::Redirect,
            (403 | 503, "") => Local::CheckFailed,
            (500, "") => Local::ServerError,
            (404, "") => Local::NoRoute,
            (400 | 413 | 431, _) => Local::Refused,
            (429, _) => Local::Filter("a rate limit"),
            _ if is_envoy => Local::Filter("another filter"),
            _ => return Origin::Unknown,
        };
        Origin::Envoy(local)
    }

    /// Whether the router filter passed a response on. Envoy adds this header to no answer of its own.
    fn is_forwarded(&self) -> bool {
        self.header("x-envoy-upstream-service-time").is_some()
    }

    /// Every denial has its id in `x-request-id`, which Envoy does not add to responses by itself. The
    /// body repeats it, unless `denials.body` says otherwise.
    fn denial(&self, sent: &Ids) -> Option<Denial> {
        let id = self.header("x-request-id").filter(|id| !id.is_empty())?;
        if self.status < 400 {
            return None;
        }
        let challenge = self
            .header("www-authenticate")
            .filter(|challenge| challenge.starts_with("Bearer"));
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let member = |name: &str| body.get(name).and_then(Value::as_str);
        let is_repeated = match member("request_id") {
            Some(repeated) => repeated == id,
            None => self.body.contains(id),
        };
        let is_local = !self.is_forwarded();
        let is_ours = is_local && (sent.are(id) || challenge.is_some());
        (is_repeated || is_ours).then(|| Denial {
            reason: member("reason").map(str::to_owned),
            error: challenge.and_then(error_of).map(str::to_owned),
            id: id.to_owned(),
        })
    }

    /// The API's description of the request, if it is one that echoes requests as JSON.
    fn echo(&self) -> Option<Echo> {
        let body: Value = serde_json::from_str(&self.body).ok()?;
        let mut headers = BTreeMap::<String, Vec<String>>::new();
        for (name, value) in body.get("headers")?.as_object()? {
            let lines = match value {
                Value::Array(lines) => lines.iter().collect(),
                line => vec![line],
            };
            let lines = lines.into_iter().filter_map(Value::as_str);
            let known = headers.entry(name.to_ascii_lowercase()).or_default();
            known.extend(lines.map(str::to_owned));
        }
        let path = ["path", "url"]
            .iter()
            .find_map(|name| body.get(name)?.as_str());
        Some(Echo {
            headers,
            path: path.map(str::to_owned),
        })
    }
}

/// The `error` of a challenge (RFC 6750 §3).
fn error_of(challenge: &str) -> Option<&str> {
    let (_, after) = challenge.split_once(" error=\"")?;
    after.split('"').next()
}

impl Echo {
    /// Whether the header arrived.
    pub(super) fn has(&self, name: &str) -> bool {
        self.headers.contains_key(name)
    }

    /// The names of the headers that contain this text.
    pub(super) fn names_with(&self, text: &str) -> Vec<&str> {
        let lines = self.headers.iter();
        let found = lines.filter(|(_, values)| values.iter().any(|value| value.contains(text)));
        found.map(|(name, _)| name.as_str()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::findings::recorded::{answer, ids};
    use super::*;

    /// Status, headers, body, and who answered.
    type Case<'a> = (u16, &'a [(&'a str, &'a str)], &'a str, Origin);

    /// Responses as they are received from Envoy 1.40, Istio and claimgate.
    #[test]
    fn answers_have_an_origin() {
        let sent = ids(1);
        let denied = |reason: Option<&str>, error: Option<&str>, id: &str| {
            Origin::Claimgate(Denial {
                reason: reason.map(str::to_owned),
                error: error.map(str::to_owned),
                id: id.to_owned(),
            })
        };
        let own = &sent.request;
        let json = format!(r#"{{"error":"e","reason":"missing_token","request_id":"{own}"}}"#);
        let bearer = "Bearer realm=\"api\"";
        let invalid = "Bearer realm=\"api\", error=\"invalid_token\"";
        let time = ("x-envoy-upstream-service-time", "3");
        let envoy = ("server", "envoy");
        let id = ("x-request-id", own.as_str());
        let other = ("x-request-id", "8e0b7c1e-5f4c-9d3a-b2c1-0a9e8d7c6b5a");
        let local = |local| Origin::Envoy(local);
        let challenge = |text| ("www-authenticate", text);
        let cases: [Case<'_>; 26] = [
            (
                401,
                &[id, challenge(bearer)],
                &json,
                denied(Some("missing_token"), None, own),
            ),
            // A gateway in front of the Envoy that asks claimgate.
            (
                401,
                &[id, time],
                &json,
                denied(Some("missing_token"), None, own),
            ),
            (
                401,
                &[id, challenge(invalid)],
                "",
                denied(None, Some("invalid_token"), own),
            ),
            (
                401,
                &[other, challenge(bearer)],
                "",
                denied(None, None, other.1),
            ),
            (403, &[id], "no (access_denied)", denied(None, None, own)),
            // The API's own denials.
            (
                401,
                &[id, time, challenge(bearer)],
                "",
                Origin::Upstream(None),
            ),
            (401, &[other, time], &json, Origin::Upstream(None)),
            (
                401,
                &[time],
                r#"{"reason":"missing_token"}"#,
                Origin::Upstream(None),
            ),
            (200, &[time, envoy], "hello", Origin::Upstream(None)),
            (200, &[envoy], "", Origin::Upstream(None)),
            (404, &[time, envoy], "", Origin::Upstream(None)),
            (403, &[envoy], "", local(Local::CheckFailed)),
            (503, &[envoy], "", local(Local::CheckFailed)),
            (
                403,
                &[("server", "istio-envoy")],
                "RBAC: access denied",
                local(Local::Rbac),
            ),
            (403, &[time], "RBAC: access denied", local(Local::Rbac)),
            (500, &[envoy], "", local(Local::ServerError)),
            (404, &[envoy], "", local(Local::NoRoute)),
            (400, &[], "Bad Request", local(Local::Refused)),
            (431, &[envoy], "", local(Local::Refused)),
            (307, &[envoy], "", local(Local::Redirect)),
            (503, &[envoy], "no healthy upstream", local(Local::ApiDown)),
            (
                401,
                &[envoy, challenge("Bearer realm=\"http://api/\"")],
                "Jwt is missing",
                local(Local::Filter("envoy.filters.http.jwt_authn")),
            ),
            (
                429,
                &[envoy],
                "too many",
                local(Local::Filter("a rate limit")),
            ),
            (401, &[envoy], "no", local(Local::Filter("another filter"))),
            (401, &[("server", "nginx")], "no", Origin::Unknown),
            (502, &[("server", "nginx")], "<html>", Origin::Unknown),
        ];
        for (status, headers, body, expected) in cases {
            let found = answer(status, headers, body).origin(&sent);
            assert_eq!(found, expected, "{status} {headers:?} {body}");
        }
    }

    #[test]
    fn echoes_are_read() {
        let time = [("x-envoy-upstream-service-time", "3")];
        let body = r#"{"path": "/a", "headers": {"X-Auth-Subject": "root", "x": ["a", "root 1"]}}"#;
        let Origin::Upstream(Some(echo)) = answer(200, &time, body).origin(&ids(1)) else {
            panic!("no echo");
        };
        assert_eq!(echo.path.as_deref(), Some("/a"));
        assert_eq!(echo.names_with("root"), ["x", "x-auth-subject"]);
        assert!(echo.has("x") && !echo.has("y"));
        // httpbin.
        let body = r#"{"headers": {"Host": "a"}, "url": "http://a/anything"}"#;
        let Origin::Upstream(Some(echo)) = answer(200, &time, body).origin(&ids(1)) else {
            panic!("no echo");
        };
        assert_eq!(echo.path.as_deref(), Some("http://a/anything"));
    }
}
