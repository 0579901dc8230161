//! The pseudo-headers of HTTP/2 (RFC 9113 §8.3.1) among the header lines of a check. Each repeats a
//! field of the check. Some callers send only the fields.

use super::{Headers, as_text};

/// A part of a request that a check describes twice, and differently. The caller may forward either
/// description.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The line `:method` and the field `method`.
    #[error("its header `:method` and its field `method` differ")]
    Method,
    /// The lines `:authority` and `host`, and the field `host`.
    #[error("its header `:authority` or `host` and its field `host` differ")]
    Host,
    /// The line `:path` and the field `path`.
    #[error("its header `:path` and its field `path` differ")]
    Path,
    /// The field `query` and the query in the field `path`.
    #[error("its field `query` and the query in its field `path` differ")]
    Query,
}

/// The lines `:method`, `:authority` and `:path` of one list of headers, and `host`, which must equal
/// `:authority` (RFC 9113 §8.3.1): a proxy may forward either.
#[derive(Clone, Copy, Debug, Default)]
pub struct PseudoHeaders<'a> {
    method: Line<'a>,
    authority: Line<'a>,
    path: Line<'a>,
}

/// The lines of one name.
#[derive(Clone, Copy, Debug, Default)]
struct Line<'a> {
    first: Option<&'a [u8]>,
    /// Whether another line has another value.
    is_disputed: bool,
}

impl<'a> PseudoHeaders<'a> {
    /// Those among these header lines.
    pub fn of(headers: &Headers<'a>) -> Self {
        let mut pseudo = Self::default();
        for (name, value) in headers.lines() {
            pseudo.note(name, value);
        }
        pseudo
    }

    /// Takes note of a header line; other names do not matter.
    #[inline]
    pub fn note(&mut self, name: &str, value: &'a [u8]) {
        // Rules out nearly all other headers at once.
        if name.starts_with(':') || name.len() == 4 {
            self.note_pseudo(name, value);
        }
    }

    fn note_pseudo(&mut self, name: &str, value: &'a [u8]) {
        let line = match name {
            _ if name.eq_ignore_ascii_case(":method") => &mut self.method,
            _ if name.eq_ignore_ascii_case(":authority") || name.eq_ignore_ascii_case("host") => {
                &mut self.authority
            }
            _ if name.eq_ignore_ascii_case(":path") => &mut self.path,
            _ => return,
        };
        let first = *line.first.get_or_insert(value);
        line.is_disputed |= first != value;
    }

    /// The value of `:path`.
    pub fn path(&self) -> Option<&'a [u8]> {
        self.path.first
    }

    /// The first of these fields that differs from its line. A line that is missing, or a field that is
    /// empty, differs from nothing: what is not told is not judged.
    pub fn conflict(&self, method: &str, host: &str, path: &str) -> Option<Conflict> {
        let Self {
            method: method_line,
            authority,
            path: path_line,
        } = self;
        [
            (method_line, method, Conflict::Method),
            (authority, host, Conflict::Host),
            (path_line, path, Conflict::Path),
        ]
        .into_iter()
        .find_map(|(line, field, conflict)| (!line.says(field)).then_some(conflict))
    }
}

impl Line<'_> {
    fn says(&self, field: &str) -> bool {
        match self.first {
            None => true,
            Some(_) if field.is_empty() => true,
            Some(_) if self.is_disputed => false,
            Some(sent) => as_text(sent) == field,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conflicts() {
        let usual: [(&str, &[u8]); 3] = [
            (":method", b"GET"),
            (":authority", b"api.example.com"),
            (":path", b"/orders?a=1"),
        ];
        for (lines, expected) in [
            (&[][..], None),
            (&usual, None),
            (&[(":scheme", &b"https"[..]), ("path", b"/x")], None),
            (
                &[(":path", b"/orders?a=1"), (":path", b"/orders?a=1")],
                None,
            ),
            (&[(":method", b"DELETE")], Some(Conflict::Method)),
            (&[(":method", b"get")], Some(Conflict::Method)),
            (&[(":Method", b"DELETE")], Some(Conflict::Method)),
            (&[(":authority", b"")], Some(Conflict::Host)),
            (&[(":authority", b"API.example.com")], Some(Conflict::Host)),
            (&[("host", b"api.example.com")], None),
            (&[("Host", b"admin.example.com")], Some(Conflict::Host)),
            (
                &[
                    (":authority", b"api.example.com"),
                    ("host", b"admin.example.com"),
                ],
                Some(Conflict::Host),
            ),
            (&[("from", b"admin.example.com")], None),
            (&[(":path", b"/orders")], Some(Conflict::Path)),
            (&[(":path", b"/admin?a=1")], Some(Conflict::Path)),
            (
                &[(":path", b"/orders?a=1"), (":path", b"/admin?a=1")],
                Some(Conflict::Path),
            ),
            (
                &[(":path", b"/admin"), (":method", b"PUT")],
                Some(Conflict::Method),
            ),
        ] {
            let mut pseudo = PseudoHeaders::default();
            for (name, value) in lines {
                pseudo.note(name, value);
            }
            let found = pseudo.conflict("GET", "api.example.com", "/orders?a=1");
            assert_eq!(found, expected, "{lines:?}");
            assert_eq!(pseudo.conflict("", "", ""), None, "{lines:?}");
        }
    }

    #[test]
    fn bytes_that_envoy_replaces() {
        for (sent, field, expected) in [
            (&b"/intern\xe9"[..], "/intern!", true),
            (b"/intern\xe9/7", "/intern!/7", true),
            (b"\xe2\x80/\xc3\xa9\xff", "!!/\u{e9}!", true),
            (b"/intern\xe9", "/intern\u{fffd}", false),
            (b"/intern\xe9", "/intern?", false),
            (b"/intern\xe9", "/intern", false),
            (b"/intern\xe9", "/intern!!", false),
            (b"/intern", "/intern!", false),
            (b"/intern/", "/intern!", false),
        ] {
            let mut pseudo = PseudoHeaders::default();
            pseudo.note(":path", sent);
            let found = pseudo.conflict("", "", field).is_none();
            assert_eq!(found, expected, "{sent:?} {field}");
        }
    }
}
