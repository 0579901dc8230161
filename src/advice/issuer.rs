//! Why a token's issuer may not be a configured one.

use url::{Host, Url};

use crate::policy::Policy;
use crate::shown::Shown;
use crate::token::issuer::{TENANT_ID, split_tenant};

/// The nearest configured issuer, and how it differs.
pub(super) fn unknown(found: &str, policy: &Policy) -> String {
    let differences = || {
        policy
            .providers()
            .flat_map(|(_, provider)| provider.terms.issuers())
            .filter_map(|own| Some((own, difference(own, found)?)))
    };
    // Many providers have the same paths, so that another host says the least.
    let near = differences()
        .find(|(_, difference)| matches!(difference, Difference::Known(_)))
        .or_else(|| differences().next());
    match near {
        Some((own, Difference::Known(difference))) => {
            format!("it differs from `{own}` {difference}")
        }
        Some((own, Difference::Host)) if is_internal(own) && !is_internal(found) => format!(
            "it differs from `{own}` by its host: if `{found}` is the same provider's public name, \
             write that as `issuer`, as tokens do, and `discovery_url: \
             {}/.well-known/openid-configuration`",
            own.trim_end_matches('/'),
            found = Shown::from(found),
        ),
        Some((own, Difference::Host)) => format!(
            "it differs from `{own}` by its host: the provider names itself as the client called \
             it; set its host name, or list both (`issuer_aliases`)"
        ),
        None => format!(
            "the token is from another provider or environment; add `{}` to `providers` only if you \
             know it and mean to trust it",
            Shown::from(found)
        ),
    }
}

/// How two issuers differ that are probably meant to be the same.
enum Difference {
    /// In words.
    Known(&'static str),
    /// By the host alone.
    Host,
}

fn difference(own: &str, found: &str) -> Option<Difference> {
    if own.trim_end_matches('/') == found.trim_end_matches('/') {
        return Some(Difference::Known("only by a slash at the end"));
    }
    if own.eq_ignore_ascii_case(found) {
        return Some(Difference::Known("only by upper and lower case"));
    }
    if split_tenant(found).is_some_and(|(template, _)| template == own) {
        return Some(Difference::Known(
            "by its tenant, which is not among `tenants`",
        ));
    }
    if found.contains(TENANT_ID) {
        return Some(Difference::Known(
            "in that it names no tenant, which no real token does",
        ));
    }
    if is_entra(own) && is_entra(found) {
        return Some(Difference::Known(
            "by its tenant or version: Entra ID issues version 1.0 (`sts.windows.net`) or 2.0 \
             (`login.microsoftonline.com/…/v2.0`) as the API's manifest says in \
             `requestedAccessTokenVersion`",
        ));
    }
    let (own, found) = (Url::parse(own).ok()?, Url::parse(found).ok()?);
    let same_host = own.host_str() == found.host_str();
    let same_path = own.path().trim_end_matches('/') == found.path().trim_end_matches('/');
    if same_host && same_path {
        return Some(Difference::Known(
            "only by `http` and `https`, or by the port: the provider names itself as the client, \
             or a proxy in front of it, called it",
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
            "in that it is Okta's organization server, whose tokens are for Okta alone: let the \
             client use the custom authorization server",
        ));
    }
    match (own.path().trim_end_matches('/'), found.path()) {
        ("/adfs", "/adfs/services/trust") if same_host => {
            return Some(Difference::Known(
                "in that ADFS calls itself so in access tokens (`access_token_issuer` in its \
                 metadata): list it in `issuer_aliases`",
            ));
        }
        ("/adfs/services/trust", "/adfs") if same_host => {
            return Some(Difference::Known(
                "in that ADFS calls itself so in ID tokens: send the `access_token`",
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

/// Whether a name is one that the clients of a public service can hardly use.
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
