//! Finds a token in the query (RFC 6750 §2.3).

use super::spelling::{self, Lengths};
use super::{Unreadable, parts};

/// The value of the query parameter. Neither name nor value may contain escapes: a token needs
/// none, and Envoy removes a parameter only by the name as it was sent.
///
/// # Errors
///
/// Fails if the parameter occurs twice, or if a server may read another parameter under this name.
pub(super) fn value<'a>(path: &'a str, name: &str) -> Result<Option<&'a str>, Unreadable> {
    let Some((_, query)) = path.split_once('?') else {
        return Ok(None);
    };
    let mut found = None;
    for parameter in parts(query, |byte| byte == b'&', name.len()) {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if key != name {
            // Some servers also treat `;` as a separator.
            if parts(parameter, |byte| byte == b';', name.len())
                .any(|part| spelling::is_read_as(name_of(part).as_bytes(), name))
            {
                return Err(Unreadable::Misspelled);
            }
        } else if found.replace(value).is_some() {
            return Err(Unreadable::Repeated);
        }
    }
    match found {
        Some(value) if value.contains(['%', '+', '#', ';']) => Err(Unreadable::Malformed),
        found => Ok(found),
    }
}

/// The name of every parameter that may be read as a name of these lengths. `;` separates parameters
/// too, because some servers treat it so.
pub(super) fn names(path: &str, lengths: Lengths) -> impl Iterator<Item = &[u8]> {
    let (_, query) = path.split_once('?').unwrap_or_default();
    let separates = |byte| matches!(byte, b'&' | b';');
    parts(query, separates, lengths.shortest()).map(|part| name_of(part).as_bytes())
}

fn name_of(parameter: &str) -> &str {
    let (name, _) = parameter.split_once('=').unwrap_or((parameter, ""));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        use Unreadable::{Malformed, Misspelled, Repeated};
        for (path, expected) in [
            ("/", Ok(None)),
            ("/t=abc", Ok(None)),
            ("/?t=abc", Ok(Some("abc"))),
            ("/?a=1&t=abc&b=2", Ok(Some("abc"))),
            ("/?tt=abc&a=t=abc", Ok(None)),
            ("/?t=abc&T=def", Err(Misspelled)),
            ("/?t=abc&t[]=def", Err(Misspelled)),
            ("/?t[0]=abc", Err(Misspelled)),
            ("/?a=1;+t=def", Err(Misspelled)),
            ("/?t=abc&t.sig=1&t-2=1", Ok(Some("abc"))),
            ("/?a=1?t=abc", Ok(None)),
            ("/?t", Ok(Some(""))),
            ("/?t=", Ok(Some(""))),
            ("/?t=abc=", Ok(Some("abc="))),
            ("/?t=abc&t=abc", Err(Repeated)),
            ("/?t=abc;t=def", Err(Malformed)),
            ("/?a=1;t=abc", Err(Misspelled)),
            ("/?t=abc&a=1;%74=def", Err(Misspelled)),
            ("/?%74=abc", Err(Misspelled)),
            ("/?t=abc&%74=def", Err(Misspelled)),
            ("/?t=ab%63", Err(Malformed)),
            ("/?t=a+b", Err(Malformed)),
            ("/?t=abc#x", Err(Malformed)),
        ] {
            assert_eq!(value(path, "t"), expected, "{path}");
        }
    }
}
