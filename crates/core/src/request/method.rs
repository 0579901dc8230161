//! The method of a request (RFC 9110 §9.1), in the one form that rules compare.

/// Whether every server reads the method alike: it has only upper-case letters, digits and hyphens.
///
/// Methods are case-sensitive, but some servers run their `DELETE` handler for `delete`, which
/// HTTP/2 lets through.
pub fn is_canonical(method: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'-';
    !method.is_empty() && method.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods() {
        for (method, expected) in [
            ("GET", true),
            ("QUERY", true),
            ("M-SEARCH", true),
            ("VERSION2", true),
            ("", false),
            ("get", false),
            ("Delete", false),
            ("DELETe", false),
            ("DELETE ", false),
            (" DELETE", false),
            ("DELETE\t", false),
            ("DEL!TE", false),
            ("DELETE,GET", false),
            ("M_SEARCH", false),
            ("ＤＥＬＥＴＥ", false),
            ("DELETÉ", false),
        ] {
            assert_eq!(is_canonical(method), expected, "{method:?}");
        }
    }
}
