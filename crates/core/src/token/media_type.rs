//! Compares media types in token headers.

/// Whether two `typ` or `cty` values are the same media type. Ignores case, parameters and the
/// implied `application/` (RFC 7515 §4.1.9).
pub(super) fn same_media_type(one: &str, other: &str) -> bool {
    short(one).eq_ignore_ascii_case(short(other))
}

/// Whether `typ` names a kind of JWT (RFC 8725 §3.11) other than an access token.
pub(super) fn names_another_jwt(typ: &str) -> bool {
    without_suffix(short(typ)).is_some() && !same_media_type(typ, "at+jwt")
}

/// The name in a `typ`, without `application/`, `+jwt` and parameters.
pub(super) fn stem(typ: &str) -> &str {
    let typ = short(typ);
    without_suffix(typ).unwrap_or(typ)
}

/// The part before `+jwt`, or before the suffix for selective disclosure (RFC 9901 §9.4). `None`
/// without such a suffix.
fn without_suffix(media_type: &str) -> Option<&str> {
    let (stem, suffix) = media_type.rsplit_once('+')?;
    ["jwt", "sd-jwt", "sd_jwt"]
        .iter()
        .any(|own| suffix.eq_ignore_ascii_case(own))
        .then_some(stem)
}

/// The media type without `application/`, which is implied, and without parameters.
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

/// The media type without parameters and outer spaces.
fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}
