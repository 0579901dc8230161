//! Media types, as headers of tokens write them.

/// Compares `typ` or `cty` values: media types, case-insensitive, `application/` being implied
/// (RFC 7515 §4.1.9).
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
    short(one).eq_ignore_ascii_case(short(other))
}
