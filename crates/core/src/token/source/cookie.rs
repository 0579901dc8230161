//! Finds a token in a cookie, and takes cookies out of a request (RFC 6265 §4.2.1, §5.4).

use std::collections::HashSet;

use super::Unreadable;
use super::spelling::{self, Lengths, Readings};
use crate::request::Headers;

/// Cookies that the upstream does not receive, by name or by the beginning of the name.
#[derive(Clone, Debug, Default)]
pub struct CookiePatterns {
    names: Names,
    /// Sorted, and no prefix starts with another: only the last one that sorts at or before a name can
    /// match it.
    prefixes: Vec<Vec<u8>>,
    prefix_lengths: Lengths,
}

/// Cookie names, in the form of [`spelling::key`].
#[derive(Clone, Debug, Default)]
struct Names {
    keys: HashSet<Vec<u8>>,
    lengths: Lengths,
}

impl CookiePatterns {
    /// The cookies with one of these names, and all whose names begin with one of these prefixes.
    pub fn new<'n>(
        names: impl IntoIterator<Item = &'n str>,
        prefixes: impl IntoIterator<Item = &'n str>,
    ) -> Self {
        let prefixes: Vec<&str> = prefixes.into_iter().collect();
        let mut keys: Vec<_> = prefixes
            .iter()
            .map(|prefix| spelling::key(prefix))
            .collect();
        keys.sort();
        keys.dedup_by(|longer, shorter| longer.starts_with(shorter));
        Self {
            names: names.into_iter().collect(),
            prefixes: keys,
            prefix_lengths: prefixes.into_iter().collect(),
        }
    }

    /// Whether every cookie is removed, those without a name included.
    fn take_all(&self) -> bool {
        self.prefixes.first().is_some_and(Vec::is_empty)
    }

    /// Whether the request has such a cookie.
    pub(crate) fn are_in(&self, headers: &Headers<'_>) -> bool {
        if self.take_all() {
            return headers.all("cookie").next().is_some();
        }
        if self.names.keys.is_empty() && self.prefixes.is_empty() {
            return false;
        }
        let others = Names::default();
        each_name(headers).any(self.taken(&others))
    }

    /// Tells whether some server reads a name as one of these, or as one of `others`.
    fn taken<'s>(&'s self, others: &'s Names) -> impl FnMut(&[u8]) -> bool + use<'s> {
        let mut own = Readings::new(self.names.lengths);
        let mut other = Readings::new(others.lengths);
        let mut beginnings = Readings::new(self.prefix_lengths);
        move |name| {
            let mut is_taken = false;
            own.each(name, |reading| {
                is_taken |= self.names.keys.contains(reading);
            });
            other.each(name, |reading| is_taken |= others.keys.contains(reading));
            beginnings.each_beginning(name, |reading| is_taken |= self.has_prefix_of(reading));
            is_taken
        }
    }

    fn has_prefix_of(&self, reading: &[u8]) -> bool {
        let not_above = self.prefixes.partition_point(|prefix| &**prefix <= reading);
        let nearest = not_above
            .checked_sub(1)
            .and_then(|index| self.prefixes.get(index));
        nearest.is_some_and(|prefix| reading.starts_with(prefix))
    }
}

impl<'n> FromIterator<&'n str> for Names {
    fn from_iter<I: IntoIterator<Item = &'n str>>(names: I) -> Self {
        let names: Vec<&str> = names.into_iter().collect();
        Self {
            keys: names.iter().map(|name| spelling::key(name)).collect(),
            lengths: names.into_iter().collect(),
        }
    }
}

/// The value of the cookie, without surrounding quotes.
///
/// # Errors
///
/// Fails if the cookie occurs twice, or if a server may read another cookie under this name.
pub(super) fn value<'a>(headers: &Headers<'a>, name: &str) -> Result<Option<&'a str>, Unreadable> {
    let mut cookie = None;
    for crumb in crumbs(headers) {
        for (begins, found) in names(crumb) {
            if found == name.as_bytes() {
                if cookie.replace(crumb.get(begins..)).is_some() {
                    return Err(Unreadable::Repeated);
                }
            } else if spelling::is_read_as(found, name) {
                return Err(Unreadable::Misspelled);
            }
        }
    }
    let Some(cookie) = cookie.flatten() else {
        return Ok(None);
    };
    let value = cookie.splitn(2, |byte| *byte == b'=').nth(1);
    let value = value.unwrap_or_default().trim_ascii();
    let value = str::from_utf8(value).map_err(|_| Unreadable::Malformed)?;
    let unquoted = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'));
    Ok(Some(unquoted.unwrap_or(value)))
}

/// Every cookie name in the request, including names that appear only if a proxy has joined lines
/// with commas.
pub(super) fn each_name<'a>(headers: &Headers<'a>) -> impl Iterator<Item = &'a [u8]> {
    crumbs(headers).flat_map(names).map(|(_, name)| name)
}

/// The request's cookies as one header line, without those that a server may read under one of the
/// `taken` names or of `patterns`. `None` if no cookie remains. Drops cookies that are not text that a
/// header can carry.
pub(crate) fn without(
    headers: &Headers<'_>,
    taken: &[&str],
    patterns: &CookiePatterns,
) -> Option<String> {
    if patterns.take_all() {
        return None;
    }
    let taken = taken.iter().copied().collect();
    let mut is_taken = patterns.taken(&taken);
    let left: Vec<&str> = crumbs(headers)
        .filter_map(|crumb| {
            // The rest belongs to this cookie, or to others that are taken away too.
            match names(crumb).find(|(_, name)| is_taken(name)) {
                Some((begins, _)) => crumb.get(..begins.checked_sub(1)?).map(<[u8]>::trim_ascii),
                None => Some(crumb),
            }
        })
        .filter_map(|crumb| str::from_utf8(crumb).ok())
        .filter(|crumb| !crumb.is_empty() && !crumb.contains(char::is_control))
        .collect();
    (!left.is_empty()).then(|| left.join("; "))
}

/// Each `name=value` of each line. HTTP/2 lets clients send several lines (RFC 9113 §8.2.3).
fn crumbs<'a>(headers: &Headers<'a>) -> impl Iterator<Item = &'a [u8]> {
    let lines: Vec<&'a [u8]> = headers.all("cookie").collect();
    lines
        .into_iter()
        .flat_map(|line| line.split(|byte| *byte == b';'))
        .map(<[u8]>::trim_ascii)
}

/// Each name in a crumb with its position: the name at the beginning, and any name after a comma,
/// because a proxy may have joined the end of one line and the beginning of another.
fn names(crumb: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let (mut begins, mut in_quotes) = (Some(0), false);
    crumb.iter().enumerate().filter_map(move |(index, byte)| {
        match byte {
            b'"' => in_quotes = !in_quotes,
            b',' => begins = (!in_quotes).then_some(index + 1),
            b'=' => {
                let begins = begins.take()?;
                return Some((begins, crumb.get(begins..index)?.trim_ascii()));
            }
            _ => {}
        }
        None
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn cookies() {
        use Unreadable::{Misspelled, Repeated};
        type Expected = (
            Result<Option<&'static str>, Unreadable>,
            Option<&'static str>,
        );
        let cases: &[(&[&str], Expected)] = &[
            (&[], (Ok(None), None)),
            (&["t=abc"], (Ok(Some("abc")), None)),
            (&["a=1; t=abc; b=2"], (Ok(Some("abc")), Some("a=1; b=2"))),
            (&["a=1;t=abc;;b=2;"], (Ok(Some("abc")), Some("a=1; b=2"))),
            (
                &["a=1", "t=abc", "b=2"],
                (Ok(Some("abc")), Some("a=1; b=2")),
            ),
            (&["t=\"abc\"; a=\"1\""], (Ok(Some("abc")), Some("a=\"1\""))),
            (&["t = abc"], (Ok(Some("abc")), None)),
            (
                &["t.sig=abc; tt=abc; at=abc; t"],
                (Ok(None), Some("t.sig=abc; tt=abc; at=abc; t")),
            ),
            (&["t=abc; T=def"], (Err(Misspelled), None)),
            (&["a=1; t[]=def"], (Err(Misspelled), Some("a=1"))),
            (&["t=abc", "b=2; [t]=def"], (Err(Misspelled), Some("b=2"))),
            (&["a=1,T=def"], (Err(Misspelled), Some("a=1"))),
            (&["%74=def"], (Err(Misspelled), None)),
            (&["a=t=abc"], (Ok(None), Some("a=t=abc"))),
            (&["t=abc; t=def"], (Err(Repeated), None)),
            (&["t=abc", "a=1; t=abc"], (Err(Repeated), Some("a=1"))),
            (&["t="], (Ok(Some("")), None)),
            (&["t=a b; c=\u{1}"], (Ok(Some("a b")), None)),
            (&["t=abc; name=Zoë"], (Ok(Some("abc")), Some("name=Zoë"))),
            // Lines that a proxy has joined.
            (&["t=abc; z=1,t=def"], (Err(Repeated), Some("z=1"))),
            (&["t=abc,t=def"], (Err(Repeated), None)),
            (&["a=1,t=abc"], (Ok(Some("abc")), Some("a=1"))),
            (
                &["a=1, t=abc; b=2,c"],
                (Ok(Some("abc")), Some("a=1; b=2,c")),
            ),
            (&["a=1,tt=abc,at=2"], (Ok(None), Some("a=1,tt=abc,at=2"))),
            (&["t=abc,a=1"], (Ok(Some("abc,a=1")), None)),
            (
                &["a=\"x,t=abc,y\"; b=2"],
                (Ok(None), Some("a=\"x,t=abc,y\"; b=2")),
            ),
        ];
        for (lines, expected) in cases {
            let headers = lines
                .iter()
                .map(|line| ("Cookie", line.as_bytes()))
                .collect();
            let left = without(&headers, &["t"], &CookiePatterns::default());
            assert_eq!(
                (value(&headers, "t"), left.as_deref()),
                *expected,
                "{lines:?}"
            );
        }
    }

    #[test]
    fn patterns() {
        type Cases<'a> = &'a [(&'a str, &'a CookiePatterns, bool, Option<&'a str>)];
        let login =
            CookiePatterns::new(["IdToken", "t"], ["Session-", "S", "Session-1", "__Host-"]);
        let all = CookiePatterns::new([], ["", "a"]);
        let none = CookiePatterns::default();
        let cases: Cases<'_> = &[
            ("a=1; b=\"2\"", &login, false, Some("a=1; b=\"2\"")),
            ("IdToken=x; a=1", &login, true, Some("a=1")),
            (
                "a=1; Session-1=x; S=y; sesame=z; b=2",
                &login,
                true,
                Some("a=1; b=2"),
            ),
            ("a=1; idtoken=y", &login, true, Some("a=1")),
            ("a=1; ..Host-x=y; %5F_host-z=y", &login, true, Some("a=1")),
            ("a=1; [__Host-x]=y", &login, true, Some("a=1")),
            ("a=1,IdToken=x", &login, true, Some("a=1")),
            (
                "IdToken2=x; a__Host-=x; __Host=x; S",
                &login,
                false,
                Some("IdToken2=x; a__Host-=x; __Host=x; S"),
            ),
            ("Session-1=x", &login, true, None),
            ("a=1; =2", &all, true, None),
            ("eyJ", &all, true, None),
            ("a=1; eyJ", &all, true, None),
            ("a=1", &none, false, Some("a=1")),
        ];
        for (line, patterns, is_there, left) in cases {
            let headers = [("cookie", line.as_bytes())].into_iter().collect();
            assert_eq!(patterns.are_in(&headers), *is_there, "{line}");
            assert_eq!(without(&headers, &[], patterns).as_deref(), *left, "{line}");
        }
    }

    /// The reference for the property test: handles one name after another, byte by byte.
    mod one_by_one {
        use super::*;

        /// The value of the cookie, without surrounding quotes.
        pub(super) fn value<'a>(
            headers: &Headers<'a>,
            name: &str,
        ) -> Result<Option<&'a str>, Unreadable> {
            let mut value = None;
            for piece in crumbs(headers).flat_map(|crumb| pieces(crumb, name)) {
                let Some((found, text)) = named(piece, name) else {
                    continue;
                };
                if found != name.as_bytes() {
                    return Err(Unreadable::Misspelled);
                }
                if value.replace(text).is_some() {
                    return Err(Unreadable::Repeated);
                }
            }
            let Some(value) = value else {
                return Ok(None);
            };
            let value = str::from_utf8(value).map_err(|_| Unreadable::Malformed)?;
            let unquoted = value
                .strip_prefix('"')
                .and_then(|value| value.strip_suffix('"'));
            Ok(Some(unquoted.unwrap_or(value)))
        }

        /// The request's cookies as one header line, without those with these names. `None` if no
        /// cookie remains. Drops what is not text that a header can carry.
        pub(super) fn without(headers: &Headers<'_>, names: &[&str]) -> Option<String> {
            let mut left: Vec<&[u8]> = crumbs(headers).collect();
            for name in names {
                left = left
                    .into_iter()
                    .flat_map(|crumb| pieces(crumb, name))
                    .filter(|piece| named(piece, name).is_none())
                    .collect();
            }
            let left: Vec<&str> = left
                .into_iter()
                .filter_map(|crumb| str::from_utf8(crumb).ok())
                .filter(|crumb| !crumb.is_empty() && !crumb.contains(char::is_control))
                .collect();
            (!left.is_empty()).then(|| left.join("; "))
        }

        /// The crumb, or its two parts if a cookie with this name follows a comma: a proxy may have
        /// joined two lines there.
        fn pieces<'a>(crumb: &'a [u8], name: &str) -> Vec<&'a [u8]> {
            let mut pieces = Vec::new();
            let mut begins = 0;
            let mut in_quotes = false;
            for (index, byte) in crumb.iter().enumerate() {
                in_quotes ^= *byte == b'"';
                if *byte != b',' || in_quotes {
                    continue;
                }
                let after = crumb
                    .get(index + 1..)
                    .unwrap_or_default()
                    .trim_ascii_start();
                if named(after, name).is_some() {
                    pieces.extend(crumb.get(begins..index));
                    begins = index + 1;
                }
            }
            pieces.extend(crumb.get(begins..));
            pieces.iter().map(|piece| piece.trim_ascii()).collect()
        }

        /// The name and the value of a crumb, if a server may read it under this name.
        fn named<'a>(crumb: &'a [u8], name: &str) -> Option<(&'a [u8], &'a [u8])> {
            let end = crumb.iter().position(|byte| *byte == b'=')?;
            let (found, value) = crumb.split_at_checked(end)?;
            let found = found.trim_ascii();
            let is_named = !found.contains(&b',') && spelling::is_read_as(found, name);
            is_named.then_some((found, value.get(1..)?.trim_ascii_start()))
        }
    }

    /// Each prefix by itself, without sorting.
    fn begins_with_one_of(sent: &str, prefixes: &[&str]) -> bool {
        let is_read = |prefix: &&str| {
            (prefix.len()..=sent.len())
                .filter_map(|end| sent.get(..end))
                .any(|beginning| spelling::is_read_as(beginning.as_bytes(), prefix))
        };
        prefixes.iter().any(is_read)
    }

    proptest! {
        #[test]
        fn prefixes_as_one_by_one(
            sent in "[ab_.A]{0,5}",
            prefixes in vec(prop::sample::select(vec!["a", "ab", "abb", "b", "b_", "_a", "bab"]), 0..5),
        ) {
            let line = format!("{sent}=1");
            let headers = [("cookie", line.as_bytes())].into_iter().collect();
            let patterns = CookiePatterns::new([], prefixes.iter().copied());
            prop_assert_eq!(patterns.are_in(&headers), begins_with_one_of(&sent, &prefixes));
        }

        #[test]
        fn as_one_by_one(lines in vec(vec(prop::sample::select(vec![
            "t", "u", "a", "=", "t=", ",t=", ",u=", ", t =", ",", ";", " ", "\"", "\t", "ć", "T=", "[", "%74",
        ]), 0..12), 0..3)) {
            let lines: Vec<String> = lines.iter().map(|parts| parts.concat()).collect();
            let headers = lines.iter().map(|line| ("cookie", line.as_bytes())).collect();
            for name in ["t", "u"] {
                prop_assert_eq!(value(&headers, name), one_by_one::value(&headers, name));
            }
            for taken in [&["t"][..], &["t", "u"], &["u", "t"]] {
                let left = one_by_one::without(&headers, taken);
                let none = CookiePatterns::default();
                prop_assert_eq!(without(&headers, taken, &none), left.clone());
                let patterns = CookiePatterns::new(taken.iter().copied(), []);
                prop_assert_eq!(without(&headers, &[], &patterns), left);
            }
        }
    }
}
