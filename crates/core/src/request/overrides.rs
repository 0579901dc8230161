//! Headers that make some servers handle a request other than the one that was judged.

use super::is_spelling;

/// Headers that name another method, or another path or its prefix (`Daphne-Root-Path` of Daphne;
/// the CGI variables that gunicorn takes from proxies). If rules match methods or paths, claimgate
/// removes these headers.
pub const NAMES: [&str; 8] = [
    "daphne-root-path",
    "path-info",
    "script-name",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

/// Whether the header is one of [`NAMES`], in any spelling.
pub fn is_override(sent: &str) -> bool {
    NAMES.iter().any(|name| is_spelling(name, sent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings() {
        for (sent, expected) in [
            ("x-http-method-override", true),
            ("X-HTTP-Method-Override", true),
            ("x_http_method_override", true),
            ("X-HTTP_Method-Override", true),
            ("x.original.url", true),
            ("x-http-method", true),
            ("x-method-override", true),
            ("x-rewrite-url", true),
            ("Daphne-Root-Path", true),
            ("SCRIPT_NAME", true),
            ("path_info", true),
            ("x-http-methods", false),
            ("xxhttp-method", false),
            ("x-original-urn", false),
            ("method", false),
        ] {
            assert_eq!(is_override(sent), expected, "{sent}");
        }
    }
}
