//! Fetches through a cluster of the proxy in which claimgate runs.

use std::time::Duration;

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use reqwest::header::{DATE, HOST, LOCATION, USER_AGENT};
use reqwest::{Response, ResponseBuilderExt as _};
use tokio::time::Instant;
use url::Url;

use super::{FetchError, MAX_REDIRECTS, OWN_NAME};
use crate::clusters::Clusters;
use claimgate_core::escaped::Escaped;

/// A cluster, and what sends requests through it.
#[derive(Clone, Debug)]
pub(super) struct Cluster {
    name: String,
    clusters: &'static dyn Clusters,
}

impl Cluster {
    /// The cluster of this name.
    ///
    /// # Errors
    ///
    /// Fails if there are no clusters.
    pub(super) fn new(name: &str, clusters: Option<&'static dyn Clusters>) -> Result<Self, String> {
        let clusters = clusters.ok_or_else(|| {
            format!(
                "cannot fetch through `fetch.envoy_cluster: {name}`: only the module for Envoy can, if \
                 `bootstrap_extensions` has it, too"
            )
        })?;
        Ok(Self {
            name: name.to_owned(),
            clusters,
        })
    }

    /// Fetches the document at `url`. Follows redirects within its origin, all within `max_wait`.
    pub(super) async fn get(
        &self,
        url: &Url,
        headers: &HeaderMap,
        max_wait: Duration,
    ) -> Result<Response, FetchError> {
        let failed = |url: &Url, why: String| FetchError::Unreachable {
            url: url.clone(),
            proxy: None,
            why: format!("Envoy's cluster `{}`: {why}", self.name),
            unconnected: true,
            advice: "see the cluster on Envoy's admin page `/clusters`, and its address and \
                     `transport_socket` in Envoy's configuration"
                .to_owned(),
        };
        let until = Instant::now() + max_wait;
        let mut at = url.clone();
        for redirects in 0.. {
            let request = request(&at, headers).map_err(|error| failed(&at, error.to_string()))?;
            let left = until.saturating_duration_since(Instant::now());
            let response = self.clusters.send(&self.name, request, left).await;
            let response = response.map_err(|why| failed(&at, why))?;
            if let Some(why) = own_answer(&response) {
                return Err(failed(&at, why));
            }
            let next = target(&at, &response).filter(|_| redirects < MAX_REDIRECTS);
            let Some(next) = next else {
                let (parts, body) = response.into_parts();
                let mut builder = http::Response::builder()
                    .status(parts.status)
                    .url(at.clone());
                if let Some(headers) = builder.headers_mut() {
                    *headers = parts.headers;
                }
                let response = builder.body(body);
                let response = response.map_err(|error| failed(&at, error.to_string()))?;
                return Ok(Response::from(response));
            };
            at = next;
        }
        Err(failed(url, "too many redirects".to_owned()))
    }
}

/// The header that Envoy adds to what an upstream answers.
const FROM_UPSTREAM: &str = "x-envoy-upstream-service-time";

/// How Envoy's answer begins, before the reason.
const NO_RESPONSE: &str =
    "upstream connect error or disconnect/reset before headers. reset reason: ";

/// What Envoy says if it answers itself: no host of the cluster is reached, or none in time.
fn own_answer(response: &http::Response<Vec<u8>>) -> Option<String> {
    let headers = response.headers();
    let is_error =
        [StatusCode::SERVICE_UNAVAILABLE, StatusCode::GATEWAY_TIMEOUT].contains(&response.status());
    if !is_error || headers.contains_key(DATE) || headers.contains_key(FROM_UPSTREAM) {
        return None;
    }
    let body = String::from_utf8_lossy(response.body());
    let said = body.trim();
    let why = said.strip_prefix(NO_RESPONSE).unwrap_or(said);
    (!why.is_empty()).then(|| Escaped::from(why).to_string())
}

/// The redirects that a client follows (RFC 9110 §15.4).
const FOLLOWED: [StatusCode; 5] = [
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::FOUND,
    StatusCode::SEE_OTHER,
    StatusCode::TEMPORARY_REDIRECT,
    StatusCode::PERMANENT_REDIRECT,
];

/// Where a redirect leads within the origin.
fn target(from: &Url, response: &http::Response<Vec<u8>>) -> Option<Url> {
    let location = response.headers().get(LOCATION);
    let location = location.filter(|_| FOLLOWED.contains(&response.status()))?;
    let to = from.join(location.to_str().ok()?).ok()?;
    (to.origin() == from.origin()).then_some(to)
}

fn request(url: &Url, headers: &HeaderMap) -> Result<Request<()>, http::Error> {
    let mut request = Request::builder()
        .method(Method::GET)
        .uri(url.as_str())
        .body(())?;
    *request.headers_mut() = headers.clone();
    let host = match url.port() {
        Some(port) => format!("{}:{port}", url.host_str().unwrap_or_default()),
        None => url.host_str().unwrap_or_default().to_owned(),
    };
    request
        .headers_mut()
        .insert(HOST, HeaderValue::try_from(host)?);
    let own_name = HeaderValue::from_static(OWN_NAME);
    request.headers_mut().insert(USER_AGENT, own_name);
    Ok(request)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use http::header::ACCEPT;
    use tokio::time::sleep;

    use super::*;
    use crate::clusters::Sending;

    const WAIT: Duration = Duration::from_secs(5);
    const TURN: Duration = Duration::from_secs(1);

    /// Answers each path after a second, with a status and a body, or where it redirects to.
    #[derive(Debug)]
    struct Answers(Mutex<Vec<String>>);

    impl Clusters for Answers {
        fn send(&self, cluster: &str, request: Request<()>, max_wait: Duration) -> Sending {
            let mut sent = self.0.lock().unwrap();
            let left = WAIT
                .checked_sub(TURN * u32::try_from(sent.len()).unwrap())
                .unwrap();
            assert_eq!((cluster, max_wait), ("idp", left));
            let headers = request.headers();
            assert_eq!(headers[USER_AGENT], OWN_NAME);
            assert_eq!(headers[ACCEPT], "application/json");
            let host = headers[HOST].to_str().unwrap();
            let uri = request.uri();
            sent.push(format!("{host} {uri}"));
            let answer = match uri.path() {
                "/keys" => Ok((200, None)),
                "/moved" => Ok((302, Some("/keys"))),
                "/away" => Ok((302, Some("https://other.example/keys"))),
                "/around" => Ok((307, Some("/around"))),
                "/unchanged" => Ok((304, Some("/keys"))),
                "/busy" => Ok((503, None)),
                "/unreached" => {
                    let answer = http::Response::builder().status(503);
                    let body = format!("{NO_RESPONSE}refused\n");
                    let answer = answer.body(body.into_bytes()).unwrap();
                    return Box::pin(std::future::ready(Ok(answer)));
                }
                _ => Err("no connection".to_owned()),
            };
            let answer = answer.map(|(status, to)| {
                let mut response = http::Response::builder().status(status);
                response = response.header(FROM_UPSTREAM, "1");
                if let Some(to) = to {
                    response = response.header(LOCATION, to);
                }
                response.body(b"{}".to_vec()).unwrap()
            });
            Box::pin(async {
                sleep(TURN).await;
                answer
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn redirects_stay_within_the_origin() {
        for (url, expected, last, requests) in [
            ("https://idp.example:8443/keys", Ok(200), "/keys", 1),
            ("https://idp.example/moved", Ok(200), "/keys", 2),
            ("https://idp.example/away", Ok(302), "/away", 1),
            ("https://idp.example/around", Ok(307), "/around", 4),
            ("https://idp.example/unchanged", Ok(304), "/unchanged", 1),
            ("https://idp.example/busy", Ok(503), "/busy", 1),
            (
                "https://idp.example/unreached",
                Err(
                    "cannot fetch `https://idp.example/unreached`: Envoy's cluster `idp`: refused; see \
                     the cluster on Envoy's admin page `/clusters`, and its address and \
                     `transport_socket` in Envoy's configuration",
                ),
                "",
                1,
            ),
            (
                "https://idp.example/down",
                Err(
                    "cannot fetch `https://idp.example/down`: Envoy's cluster `idp`: no connection; \
                     see the cluster on Envoy's admin page `/clusters`, and its address and \
                     `transport_socket` in Envoy's configuration",
                ),
                "",
                1,
            ),
        ] {
            let answers: &'static Answers = Box::leak(Box::new(Answers(Mutex::default())));
            let cluster = Cluster::new("idp", Some(answers)).unwrap();
            let headers =
                HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
            let url: Url = url.parse().unwrap();
            let answer = cluster.get(&url, &headers, WAIT).await;
            let sent = answers.0.lock().unwrap().clone();
            assert_eq!(sent.len(), requests, "{sent:?}");
            let host = url.authority();
            assert!(
                sent.iter()
                    .all(|sent| sent.starts_with(&format!("{host} "))),
                "{sent:?}"
            );
            match answer {
                Ok(response) => {
                    assert_eq!(Ok(response.status().as_u16()), expected);
                    assert_eq!(response.url().path(), last);
                    assert_eq!(response.bytes().await.unwrap(), "{}");
                }
                Err(error) => assert_eq!(Err(error.to_string().as_str()), expected),
            }
        }
    }

    #[test]
    fn only_a_proxy_has_clusters() {
        let error = Cluster::new("idp", None).unwrap_err();
        assert_eq!(
            error,
            "cannot fetch through `fetch.envoy_cluster: idp`: only the module for Envoy can, if \
             `bootstrap_extensions` has it, too"
        );
    }
}
