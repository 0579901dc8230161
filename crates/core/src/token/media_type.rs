//! Media types, as headers of tokens write them.

/// Compares `typ` or `cty` values: media types, case-insensitive, `application/` being implied
/// (RFC 7515 §4.1.9). Parameters count for nothing.
pub(super) fn same_media_type(one: &str, other: &str) -> bool {
    short(one).eq_ignore_ascii_case(short(other))
}

/// Whether a `typ` says that a JWT is of some kind (RFC 8725 §3.11), and not that of access tokens.
pub(super) fn names_another_jwt(typ: &str) -> bool {
    without_suffix(short(typ)).is_some() && !same_media_type(typ, "at+jwt")
}

/// What a `typ` calls a JWT: without `application/`, `+jwt` and parameters.
pub(super) fn stem(typ: &str) -> &str {
    let typ = short(typ);
    without_suffix(typ).unwrap_or(typ)
}

/// What is in front of the suffix for JWTs, or for those with selective disclosure (RFC 9901 §9.4).
fn without_suffix(media_type: &str) -> Option<&str> {
    let (stem, suffix) = media_type.rsplit_once('+')?;
    ["jwt", "sd-jwt", "sd_jwt"]
        .iter()
        .any(|own| suffix.eq_ignore_ascii_case(own))
        .then_some(stem)
}

/// Without `application/`, which is implied, and without parameters.
fn short(media_type: &str) -> &str {
    const IMPLIED: &str = "application/";
    let essence = essence(media_type);
    match essence.get(..IMPLIED.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(IMPLIED) => {
            essence.get(IMPLIED.len()..).unwrap_or_default()
        }
        _ => essence,
    }
}

/// Without parameters, and the spaces around it.
fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}
