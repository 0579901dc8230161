//! Decides whether a document is fetched through a proxy.
//!
//! A proxy can read and change everything that is not encrypted, and its own `localhost` is another
//! machine. So only https goes through a proxy, in a tunnel (RFC 9110 §9.3.6), and nothing for this
//! machine does.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderValue, Uri};
use hyper_util::client::proxy::matcher::Matcher;
use percent_encoding::percent_decode_str;
use url::Url;

use claimgate_config::Proxy as Setting;
use claimgate_config::values::{ProxyUrl, is_this_machine};

/// The variables that name a proxy for https, in order of precedence.
const PROXY_VARIABLES: [&str; 4] = ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"];

/// The variables that name the hosts to reach without the proxy.
const DIRECT_VARIABLES: [&str; 2] = ["no_proxy", "NO_PROXY"];

/// A proxy, and the rules for what goes through it.
pub(super) struct Proxy {
    url: ProxyUrl,
    matcher: Matcher,
}

impl Proxy {
    /// The configured proxy. `variable` reads the environment. `None` if the environment names no
    /// proxy.
    ///
    /// # Errors
    ///
    /// Fails if a variable is not the URL of a proxy, because silently fetching without a proxy
    /// would be a surprise.
    pub(super) fn new(
        setting: &Setting,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, String> {
        let first = |names: &[&'static str]| {
            let mut set = names
                .iter()
                .filter_map(|name| Some((*name, variable(name).filter(|text| !text.is_empty())?)));
            set.next()
        };
        let (url, direct) = match setting {
            Setting::Url(url) => (url.clone(), String::new()),
            Setting::FromEnvironment => {
                let Some((name, text)) = first(&PROXY_VARIABLES) else {
                    return Ok(None);
                };
                // A missing scheme means http, as in curl.
                let text = match text.contains("://") {
                    true => text,
                    false => format!("http://{text}"),
                };
                let url = ProxyUrl::parse(&text)
                    .map_err(|why| format!("cannot use the proxy of `{name}`: {why}"))?;
                let (_, direct) = first(&DIRECT_VARIABLES).unwrap_or_default();
                (url, direct)
            }
        };
        let to_proxy = || Matcher::builder().https(url.to_string());
        // A matcher ignores a URL that it cannot read, and everything would bypass the proxy, so
        // test it.
        let anything = Uri::from_static("https://idp.invalid");
        if to_proxy().build().intercept(&anything).is_none() {
            return Err(format!("cannot use the proxy `{url}`"));
        }
        let matcher = to_proxy().no(direct).build();
        Ok(Some(Self { url, matcher }))
    }

    /// Whether the document at this URL is fetched through the proxy.
    pub(super) fn is_for(&self, url: &Url) -> bool {
        let through = |url: Uri| self.matcher.intercept(&url).is_some();
        url.scheme() == "https" && !is_this_machine(url) && url.as_str().parse().is_ok_and(through)
    }

    /// The proxy in reqwest's form.
    pub(super) fn to_reqwest(&self) -> Result<reqwest::Proxy, String> {
        let proxy = reqwest::Proxy::https(self.url.to_string());
        let proxy = proxy.map_err(|_| format!("cannot use the proxy `{}`", self.url))?;
        Ok(match self.url.credentials() {
            None => proxy,
            Some((user, password)) => proxy.custom_http_auth(basic(user, password)?),
        })
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)
    }
}

/// The credentials for Basic authentication (RFC 7617 §2). In a URL, user and password are
/// percent-encoded.
fn basic(user: &str, password: &str) -> Result<HeaderValue, String> {
    let mut pair = percent_decode_str(user).collect::<Vec<u8>>();
    pair.push(b':');
    pair.extend(percent_decode_str(password));
    let header = format!("Basic {}", BASE64_STANDARD.encode(pair));
    let mut header = HeaderValue::from_str(&header).map_err(|error| error.to_string())?;
    header.set_sensitive(true);
    Ok(header)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(set: &[(&str, &str)]) -> impl Fn(&str) -> Option<String> {
        |name| {
            let found = set.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        }
    }

    #[test]
    fn what_goes_through_it() {
        let explicit = || Setting::Url(ProxyUrl::parse("http://proxy.example:3128").unwrap());
        let none: &[(&str, &str)] = &[];
        let named = &[("https_proxy", "http://proxy.example:3128")];
        let some = &[
            ("https_proxy", "http://proxy.example:3128"),
            ("no_proxy", "idp.example,.internal,10.0.0.0/8"),
        ];
        let all = &[("HTTPS_PROXY", "proxy.example:3128"), ("NO_PROXY", "*")];
        for (setting, set, url, expected) in [
            (explicit(), none, "https://idp.example/keys", true),
            (explicit(), none, "https://10.0.0.1/keys", true),
            (explicit(), none, "https://[2001:db8::1]/keys", true),
            // With a URL, the environment is ignored.
            (explicit(), some, "https://idp.example/keys", true),
            (explicit(), none, "http://idp.example/keys", false),
            (explicit(), none, "https://localhost/keys", false),
            (explicit(), none, "https://x.localhost./keys", false),
            (explicit(), none, "https://127.0.0.1:8443/keys", false),
            (explicit(), none, "https://[::1]/keys", false),
            (explicit(), none, "https://[::ffff:127.0.0.1]/keys", false),
            (explicit(), none, "https://0.0.0.0/keys", false),
            (
                Setting::FromEnvironment,
                none,
                "https://idp.example/",
                false,
            ),
            (
                Setting::FromEnvironment,
                named,
                "https://idp.example/",
                true,
            ),
            (Setting::FromEnvironment, named, "https://127.0.0.1/", false),
            (
                Setting::FromEnvironment,
                some,
                "https://idp.example/",
                false,
            ),
            (
                Setting::FromEnvironment,
                some,
                "https://a.idp.example/",
                false,
            ),
            (Setting::FromEnvironment, some, "https://a.internal/", false),
            (Setting::FromEnvironment, some, "https://10.1.2.3/", false),
            (
                Setting::FromEnvironment,
                some,
                "https://other.example/",
                true,
            ),
            (
                Setting::FromEnvironment,
                all,
                "https://other.example/",
                false,
            ),
        ] {
            let proxy = Proxy::new(&setting, variables(set)).unwrap();
            let through = proxy.is_some_and(|proxy| proxy.is_for(&Url::parse(url).unwrap()));
            assert_eq!(through, expected, "{setting:?} {set:?} {url}");
        }
    }

    #[test]
    fn what_the_environment_may_hold() {
        for (set, expected) in [
            (vec![], None),
            (vec![("https_proxy", "")], None),
            (vec![("http_proxy", "http://no:1")], None),
            (vec![("HTTP_PROXY", "http://no:1")], None),
            (vec![("https_proxy", "a:1")], Some("http://a:1")),
            (vec![("https_proxy", "u:p@a:1")], Some("http://a:1")),
            (vec![("https_proxy", "https://a:1")], Some("https://a:1")),
            (
                vec![("HTTPS_PROXY", "b:1"), ("https_proxy", "a:1")],
                Some("http://a:1"),
            ),
            (vec![("ALL_PROXY", "c:1")], Some("http://c:1")),
            (
                vec![("ALL_PROXY", "c:1"), ("HTTPS_PROXY", "b:1")],
                Some("http://b:1"),
            ),
        ] {
            let proxy = Proxy::new(&Setting::FromEnvironment, variables(&set)).unwrap();
            let found = proxy.map(|proxy| proxy.to_string());
            assert_eq!(found.as_deref(), expected, "{set:?}");
        }
        for text in [
            "socks5://user:secret@a:1",
            "http://user:secret@",
            "http://user:secret@a:port",
            "http://user:secret@a/path",
            "user:secret@a b",
        ] {
            let found = Proxy::new(&Setting::FromEnvironment, variables(&[("ALL_PROXY", text)]));
            let error = found.err().unwrap();
            assert!(error.contains("`ALL_PROXY`"), "{error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn credentials_are_decoded() {
        let header = basic("us%40er", "p%3Aw%C3%A9").unwrap();
        assert_eq!(header, "Basic dXNAZXI6cDp3w6k=");
        assert!(header.is_sensitive());
    }
}
