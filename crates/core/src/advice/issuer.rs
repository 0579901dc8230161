//! Why a token's issuer may not be configured.

use url::{Host, Url};

use crate::escaped::Escaped;
use crate::policy::Policy;
use crate::token::issuer::{TENANT_ID, split_tenant};

/// The maximum length in bytes of an issuer that is compared. Issuers are URLs of about 60 bytes;
/// parsing a much longer text could cost more than the decision itself.
const MAX_COMPARED_BYTES: usize = 300;

/// The maximum number of issuers that are compared letter by letter.
const MAX_COMPARED: usize = 64;

/// The maximum number of issuers that a hint names.
const MAX_NAMED: usize = 5;

/// Describes the configured issuer that is nearest, and how it differs.
pub(super) fn unknown(found: &str, policy: &Policy) -> String {
    if found.len() > MAX_COMPARED_BYTES {
        return format!(
            "an issuer of {} bytes is unusual: the token is from another provider or environment, \
             or was made by hand",
            found.len()
        );
    }
    let found = Found::of(found);
    let mut other_host = None;
    for (_, provider) in policy.providers() {
        for own in provider.terms.issuers() {
            match found.difference(own, other_host.is_none()) {
                Some(Difference::Known(difference)) => {
                    return format!("it differs from `{own}` {difference}");
                }
                Some(Difference::Spelling(difference)) => {
                    return format!(
                        "it differs from `{own}` {difference}. If all tokens of the provider name it \
                         so, set `issuer: {}`, with `discovery_url` if the metadata is elsewhere; if only \
                         some do, list it in `issuer_aliases`",
                        Escaped::from(found.text)
                    );
                }
                // Many providers use the same paths, so a match of the path alone is the weakest.
                Some(Difference::Host) => other_host = other_host.or(Some(own)),
                None => {}
            }
        }
    }
    let found = found.text;
    match other_host {
        Some(own) if is_internal(own) && !is_internal(found) => format!(
            "it differs from `{own}` by its host: if `{found}` is the public name of the same \
             provider, set it as `issuer`, because tokens contain it, and set `discovery_url: \
             {}/.well-known/openid-configuration`",
            own.trim_end_matches('/'),
            found = Escaped::from(found),
        ),
        Some(own) => format!(
            "it differs from `{own}` by its host: the provider uses the host name that the client \
             called it by; configure a fixed host name at the provider, or list both (`issuer_aliases`)"
        ),
        None => match misspelt(found, policy) {
            Some(own) => format!(
                "it differs from `{own}` only by a letter or two: one of them is misspelt, or the token \
                 is from another environment"
            ),
            None => format!(
                "the token is from another provider or environment; configured: {}; add `{}` to \
                 `providers` only if you know and trust it",
                configured(policy),
                Escaped::from(found)
            ),
        },
    }
}

/// The configured issuer that differs by at most two letters.
fn misspelt<'p>(found: &str, policy: &'p Policy) -> Option<&'p str> {
    let mut issuers = policy
        .providers()
        .flat_map(|(_, provider)| provider.terms.issuers())
        .take(MAX_COMPARED);
    issuers.find(|own| {
        own.len().abs_diff(found.len()) <= 2 && strsim::damerau_levenshtein(own, found) <= 2
    })
}

/// The configured issuers; of many, the first ones. A flood of tokens makes one allocation each here.
fn configured(policy: &Policy) -> String {
    let mut text = String::with_capacity(MAX_NAMED * 64);
    for (index, (_, provider)) in policy.providers().take(MAX_NAMED).enumerate() {
        let between = if index == 0 { "`" } else { ", `" };
        text.extend([between, &provider.terms.issuer, "`"]);
    }
    if policy.providers().nth(MAX_NAMED).is_some() {
        text.push_str(" and others");
    }
    text
}

/// How two issuers differ that are probably meant to be the same.
enum Difference {
    /// The difference in words.
    Known(&'static str),
    /// The same, of two names for one issuer.
    Spelling(&'static str),
    /// Only the host differs.
    Host,
}

/// A token's issuer, parsed once for all providers.
struct Found<'t> {
    text: &'t str,
    /// The issuer with the tenant's id replaced by the placeholder.
    template: Option<String>,
    url: Option<Url>,
}

impl<'t> Found<'t> {
    fn of(text: &'t str) -> Self {
        Self {
            text,
            template: split_tenant(text).map(|(template, _)| template),
            url: Url::parse(text).ok(),
        }
    }

    /// How the issuer differs from `own`, if they are similar. `or_host` says whether a difference
    /// in the host alone matters.
    fn difference(&self, own: &str, or_host: bool) -> Option<Difference> {
        let found = self.text;
        if own.trim_end_matches('/') == found.trim_end_matches('/') {
            return Some(Difference::Spelling("only by a slash at the end"));
        }
        if own.eq_ignore_ascii_case(found) {
            return Some(Difference::Spelling("only by upper and lower case"));
        }
        if self.template.as_deref() == Some(own) {
            return Some(Difference::Known(
                "by its tenant, which is not among `tenants`",
            ));
        }
        if found.contains(TENANT_ID) {
            return Some(Difference::Known(
                "because it names no tenant, which a real token always does",
            ));
        }
        if is_entra(own) && is_entra(found) {
            return Some(Difference::Known(
                "by its tenant or version: Entra ID issues version 1.0 (`sts.windows.net`) or 2.0 \
                 (`login.microsoftonline.com/…/v2.0`), depending on `requestedAccessTokenVersion` in \
                 the API's manifest",
            ));
        }
        let url = self.url.as_ref()?;
        may_be_near(own, found, or_host)
            .then(|| Url::parse(own).ok())
            .flatten()
            .and_then(|own| difference_of_urls(&own, url))
    }
}

/// Whether the URLs may have the same host or, if `or_path`, the same path. A cheap test before
/// parsing, because there may be thousands of providers. True for every name outside ASCII, because
/// such names may be equal although they look different.
fn may_be_near(own: &str, found: &str, or_path: bool) -> bool {
    let ((own_host, own_path), (host, path)) = (host_and_path(own), host_and_path(found));
    !own.is_ascii()
        || own_host.eq_ignore_ascii_case(host)
        || (or_path && !path.is_empty() && own_path == path)
}

/// The host of a URL without port, and the path without trailing slashes, both as written.
fn host_and_path(url: &str) -> (&str, &str) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    (host, path.trim_end_matches('/'))
}

fn difference_of_urls(own: &Url, found: &Url) -> Option<Difference> {
    let same_host = own.host_str() == found.host_str();
    let same_path = own.path().trim_end_matches('/') == found.path().trim_end_matches('/');
    if same_host && same_path {
        return Some(Difference::Spelling(
            "only by `http` and `https`, or by the port: the provider uses the URL that the client, \
             or a proxy in front of it, called it by",
        ));
    }
    if same_host && own.path().replacen("/auth/", "/", 1) == found.path().replacen("/auth/", "/", 1)
    {
        return Some(Difference::Known(
            "only by `/auth` in the path: Keycloak had it up to version 16",
        ));
    }
    if same_host && own.path().contains("/oauth2/") && found.path() == "/" {
        return Some(Difference::Known(
            "because it is Okta's organization server, whose tokens are only for Okta: have the \
             client use the custom authorization server",
        ));
    }
    match (own.path().trim_end_matches('/'), found.path()) {
        ("/adfs", "/adfs/services/trust") if same_host => {
            return Some(Difference::Known(
                "because ADFS uses this name in access tokens (`access_token_issuer` in its \
                 metadata): list it in `issuer_aliases`",
            ));
        }
        ("/adfs/services/trust", "/adfs") if same_host => {
            return Some(Difference::Known(
                "because ADFS uses this name in ID tokens: send the `access_token`",
            ));
        }
        _ => {}
    }
    if same_host {
        return Some(Difference::Known(
            "by its path: another realm, tenant or environment",
        ));
    }
    if same_path && own.path() != "/" {
        return Some(Difference::Host);
    }
    None
}

/// Whether the clients of a public service can hardly use this host name.
fn is_internal(issuer: &str) -> bool {
    let url = Url::parse(issuer).ok();
    match url.as_ref().and_then(Url::host) {
        Some(Host::Domain(name)) => {
            const ENDINGS: [&str; 6] =
                [".svc", ".local", ".localhost", ".internal", ".lan", ".test"];
            !name.contains('.') || ENDINGS.iter().any(|ending| name.ends_with(ending))
        }
        Some(Host::Ipv4(address)) => address.is_private() || address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_unique_local() || address.is_loopback(),
        None => false,
    }
}

fn is_entra(issuer: &str) -> bool {
    issuer.starts_with("https://sts.windows.net/")
        || issuer.starts_with("https://login.microsoftonline.com/")
}
