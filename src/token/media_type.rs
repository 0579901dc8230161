//! Media types, as headers of tokens write them.

/// Compares `typ` or `cty` values: media types, case-insensitive, `application/` being implied
/// (RFC 7515 §4.1.9). Parameters count for nothing.
pub(super) fn same_media_type(one: &str, other: &str) -> bool {
    fn short(media_type: &str) -> &str {
        const IMPLIED: &str = "application/";
        match media_type.get(..IMPLIED.len()) {
            Some(prefix) if prefix.eq_ignore_ascii_case(IMPLIED) => {
                media_type.get(IMPLIED.len()..).unwrap_or_default()
            }
            _ => media_type,
        }
    }
    short(essence(one)).eq_ignore_ascii_case(short(essence(other)))
}

/// Whether a `typ` says that a JWT is of some kind (RFC 8725 §3.11), and not that of access tokens.
pub(super) fn names_another_jwt(typ: &str) -> bool {
    let suffix = essence(typ).rsplit_once('+').map(|(_, suffix)| suffix);
    suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case("jwt"))
        && !same_media_type(typ, "at+jwt")
}

/// Without parameters, and the spaces around it.
fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}
