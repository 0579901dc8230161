//! Matches a token's issuer: one exact `iss`, a tenant of an issuer that has many (Microsoft Entra
//! ID), or a SPIFFE trust domain.

use super::claims::Claims;
use super::terms::{Tenants, Terms};
use super::{TokenError, claims};
use crate::keyring::Key;

/// The placeholder for a tenant's id, in Entra ID's metadata and keys and in claimgate's
/// configuration.
pub const TENANT_ID: &str = "{tenantid}";

/// Whether the text has the form of a tenant id: a GUID in lower case with hyphens.
pub fn is_tenant_id(text: &str) -> bool {
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];
    text.len() == 36
        && text
            .bytes()
            .enumerate()
            .all(|(index, byte)| match HYPHENS.contains(&index) {
                true => byte == b'-',
                false => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
            })
}

/// Splits an `iss` with a tenant's id as one whole path segment: into the template with
/// [`TENANT_ID`] in its place, and the id.
pub fn split_tenant(issuer: &str) -> Option<(String, &str)> {
    let tenant = tenant_of(issuer)?;
    let template: Vec<&str> = issuer
        .split('/')
        .map(|segment| match segment == tenant {
            true => TENANT_ID,
            false => segment,
        })
        .collect();
    Some((template.join("/"), tenant))
}

fn tenant_of(issuer: &str) -> Option<&str> {
    issuer.split('/').find(|segment| is_tenant_id(segment))
}

/// The trust domain of a SPIFFE ID (SPIFFE-ID §2) that names a workload: for
/// `spiffe://example.org/billing` it is `spiffe://example.org`. `None` for any other text.
pub fn trust_domain(id: &str) -> Option<&str> {
    const SCHEME: &str = "spiffe://";
    let (name, path) = id.strip_prefix(SCHEME)?.split_once('/')?;
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    if name.is_empty() || path.is_empty() || !name.bytes().all(fits) {
        return None;
    }
    id.get(..SCHEME.len() + name.len())
}

impl Terms {
    /// Whether these terms apply to tokens with this `iss`.
    pub fn accepts_issuer(&self, issuer: &str) -> bool {
        if self.issuers().any(|own| own == issuer) && !issuer.contains(TENANT_ID) {
            return true;
        }
        match split_tenant(issuer) {
            Some((template, tenant)) => {
                self.issuers().any(|own| own == template) && self.tenants.accept(tenant)
            }
            None => false,
        }
    }

    /// The issuer and its aliases, as configured.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        [&self.issuer]
            .into_iter()
            .chain(&self.issuer_aliases)
            .map(String::as_str)
    }

    /// Checks the claims that must agree with the issuer. A tenant's tokens repeat the tenant in
    /// `tid`, which is checked if tenants are configured, or if the key is for one issuer only, as
    /// in Entra ID. A trust domain may issue tokens only for its own workloads (JWT-SVID §3.1).
    pub(super) fn check_issuer_claims(
        &self,
        issuer: &str,
        key: &Key,
        claims: &Claims,
    ) -> Result<(), TokenError> {
        if let Some(tenant) = tenant_of(issuer)
            && (self.tenants != Tenants::None || key.issuer().is_some())
        {
            let tid = claims
                .text("tid")?
                .ok_or_else(|| TokenError::MissingClaim("tid".to_owned()))?;
            if tid != tenant {
                return Err(claims::mismatch("tid", tid, tenant));
            }
        }
        let is_domain = |issuer: &&str| issuer.starts_with("spiffe://");
        let domains: Vec<&str> = match is_domain(&issuer) {
            true => vec![issuer],
            false => self.issuers().filter(is_domain).collect(),
        };
        if !domains.is_empty() {
            let sub = claims.text("sub")?.unwrap_or_default();
            if !trust_domain(sub).is_some_and(|domain| domains.contains(&domain)) {
                let expected = format!("{}/…", domains.join("/…` or `"));
                return Err(claims::mismatch("sub", sub, &expected));
            }
        }
        Ok(())
    }

    /// Whether a key that is only for the tokens of `key_issuer` may verify tokens with this `iss`:
    /// both are the same, or two names of the same tenant. Entra ID writes the current form of the
    /// issuer in all its keys, so that form also covers tokens with the older form.
    pub(super) fn key_is_for(&self, key_issuer: &str, issuer: &str) -> bool {
        let tenant = tenant_of(issuer);
        let expand = |template: &str| match tenant {
            Some(tenant) => template.replace(TENANT_ID, tenant),
            None => template.to_owned(),
        };
        let key_issuer = expand(key_issuer);
        let same_tenant = tenant.is_some() && tenant == tenant_of(&key_issuer);
        key_issuer == issuer
            || (same_tenant && key_issuer == expand(&self.issuer))
            || (same_tenant && Some(key_issuer) == entra_v2(issuer))
    }
}

/// The issuer that Entra ID writes in its keys, for an `iss` in another form: that of version 1.0,
/// or that of an external tenant.
fn entra_v2(issuer: &str) -> Option<String> {
    let tenant = tenant_of(issuer)?;
    let others = [
        format!("https://sts.windows.net/{tenant}/"),
        format!("https://{tenant}.ciamlogin.com/{tenant}/v2.0"),
    ];
    let is_other = others.iter().any(|other| other == issuer);
    is_other.then(|| format!("https://login.microsoftonline.com/{tenant}/v2.0"))
}

impl Tenants {
    fn accept(&self, tenant: &str) -> bool {
        match self {
            Self::None => false,
            Self::AnyOf(tenants) => tenants.iter().any(|own| own == tenant),
            Self::Any => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_are_whole_segments() {
        let tenant = "72f988bf-86f1-41af-91ab-2d7cd011db47";
        for (issuer, template) in [
            (
                format!("https://sts.windows.net/{tenant}/"),
                Some("https://sts.windows.net/{tenantid}/"),
            ),
            (
                format!("https://a.example/{tenant}/v2.0"),
                Some("https://a.example/{tenantid}/v2.0"),
            ),
            (format!("https://a.example/x{tenant}/v2.0"), None),
            (
                format!("https://a.example/{}/v2.0", tenant.to_uppercase()),
                None,
            ),
            (
                format!("https://a.example/{}/", tenant.replace('-', "0")),
                None,
            ),
            ("https://a.example/{tenantid}/".to_owned(), None),
        ] {
            let found = split_tenant(&issuer);
            assert_eq!(
                found.as_ref().map(|(template, _)| template.as_str()),
                template,
                "{issuer}"
            );
        }
    }

    #[test]
    fn trust_domains() {
        for (id, expected) in [
            ("spiffe://example.org/billing", Some("spiffe://example.org")),
            (
                "spiffe://example.org/ns/a/sa/b",
                Some("spiffe://example.org"),
            ),
            ("spiffe://example.org", None),
            ("spiffe://example.org/", None),
            ("spiffe:///billing", None),
            ("spiffe://Example.org/a", None),
            ("spiffe://u@example.org/a", None),
            ("spiffe://example.org:8081/a", None),
            ("https://example.org/a", None),
        ] {
            assert_eq!(trust_domain(id), expected, "{id}");
        }
    }
}
