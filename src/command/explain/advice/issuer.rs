//! Why a token's issuer may not be a configured one.

use url::Url;

use crate::policy::Policy;
use crate::shown::Shown;
use crate::token::issuer::{TENANT_ID, split_tenant};

/// The nearest configured issuer, and how it differs.
pub(super) fn unknown(found: &str, policy: &Policy) -> String {
    let near = policy
        .providers()
        .flat_map(|(_, provider)| provider.terms.issuers())
        .find_map(|own| Some((own, difference(own, found)?)));
    match near {
        Some((own, difference)) => format!("it differs from `{own}` {difference}"),
        None => format!(
            "the token is from another provider or environment; add `{}` to `providers` only if you \
             know it and mean to trust it",
            Shown::from(found)
        ),
    }
}

fn difference(own: &str, found: &str) -> Option<&'static str> {
    if own.trim_end_matches('/') == found.trim_end_matches('/') {
        return Some("only by a slash at the end");
    }
    if own.eq_ignore_ascii_case(found) {
        return Some("only by upper and lower case");
    }
    if split_tenant(found).is_some_and(|(template, _)| template == own) {
        return Some("by its tenant, which is not among `tenants`");
    }
    if found.contains(TENANT_ID) {
        return Some("in that it names no tenant, which no real token does");
    }
    if is_entra(own) && is_entra(found) {
        return Some(
            "by its tenant or version: Entra ID issues version 1.0 (`sts.windows.net`) or 2.0 \
             (`login.microsoftonline.com/…/v2.0`) as the API's manifest says in \
             `requestedAccessTokenVersion`",
        );
    }
    let (own, found) = (Url::parse(own).ok()?, Url::parse(found).ok()?);
    let same_host = own.host_str() == found.host_str();
    let same_path = own.path().trim_end_matches('/') == found.path().trim_end_matches('/');
    if same_host && same_path && own.port_or_known_default() == found.port_or_known_default() {
        return Some("only by `http` and `https`, or by a port that goes without saying");
    }
    if same_host && own.path().replacen("/auth/", "/", 1) == found.path().replacen("/auth/", "/", 1)
    {
        return Some("only by `/auth` in the path: Keycloak had it up to version 16");
    }
    if same_host && own.path().contains("/oauth2/") && found.path() == "/" {
        return Some(
            "in that it is Okta's organization server, whose tokens are for Okta alone: let the \
             client use the custom authorization server",
        );
    }
    if same_host {
        return Some("by its path: another realm, tenant or environment");
    }
    if same_path && own.path() != "/" {
        return Some(
            "by its host: the provider names itself as the client called it; set its host name, \
             or list both (`issuer_aliases`)",
        );
    }
    None
}

fn is_entra(issuer: &str) -> bool {
    issuer.starts_with("https://sts.windows.net/")
        || issuer.starts_with("https://login.microsoftonline.com/")
}
