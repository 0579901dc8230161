//! A token in the query (RFC 6750 §2.3).

use percent_encoding::percent_decode_str;

use super::Unreadable;

/// The value of the query parameter. A token needs no escapes, so neither may its value have any,
/// nor its name: what is written in another way could not be removed again by that name.
pub(super) fn value<'a>(path: &'a str, name: &str) -> Result<Option<&'a str>, Unreadable> {
    let Some((_, query)) = path.split_once('?') else {
        return Ok(None);
    };
    let mut found = None;
    for parameter in query.split('&') {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if key != name {
            // Some servers take `;` for a separator too.
            if parameter
                .split(';')
                .any(|part| is_written_otherwise(part, name))
            {
                return Err(Unreadable::Malformed);
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

/// Every name that a parameter has, or that a server may take for that of one.
pub(super) fn each_name(path: &str, mut found: impl FnMut(&[u8])) {
    let (_, query) = path.split_once('?').unwrap_or_default();
    let mut decoded = Vec::new();
    for parameter in query.split('&') {
        let (key, _) = parameter.split_once('=').unwrap_or((parameter, ""));
        if key.contains([';', '%']) {
            found(key.as_bytes());
        }
        for part in parameter.split(';') {
            let (key, _) = part.split_once('=').unwrap_or((part, ""));
            decoded.clear();
            decoded.extend(percent_decode_str(key));
            found(&decoded);
        }
    }
}

/// Whether a server may take this for the parameter of that name.
fn is_written_otherwise(parameter: &str, name: &str) -> bool {
    let (key, _) = parameter.split_once('=').unwrap_or((parameter, ""));
    percent_decode_str(key).eq(name.bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters() {
        use Unreadable::{Malformed, Repeated};
        for (path, expected) in [
            ("/", Ok(None)),
            ("/t=abc", Ok(None)),
            ("/?t=abc", Ok(Some("abc"))),
            ("/?a=1&t=abc&b=2", Ok(Some("abc"))),
            ("/?T=abc&tt=abc&a=t=abc", Ok(None)),
            ("/?a=1?t=abc", Ok(None)),
            ("/?t", Ok(Some(""))),
            ("/?t=", Ok(Some(""))),
            ("/?t=abc=", Ok(Some("abc="))),
            ("/?t=abc&t=abc", Err(Repeated)),
            ("/?t=abc;t=def", Err(Malformed)),
            ("/?a=1;t=abc", Err(Malformed)),
            ("/?t=abc&a=1;%74=def", Err(Malformed)),
            ("/?%74=abc", Err(Malformed)),
            ("/?t=abc&%74=def", Err(Malformed)),
            ("/?t=ab%63", Err(Malformed)),
            ("/?t=a+b", Err(Malformed)),
            ("/?t=abc#x", Err(Malformed)),
        ] {
            assert_eq!(value(path, "t"), expected, "{path}");
        }
    }
}
