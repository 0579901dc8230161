//! Finds a token in a header.

use std::iter;

use super::spelling::Lengths;
use super::{Unreadable, any_byte, parts};
use crate::request::Headers;

/// The value after the scheme. The scheme matches in any case, and one or more spaces follow it.
/// `None` if the header is absent or has another scheme.
pub(super) fn value<'a>(
    headers: &Headers<'a>,
    name: &str,
    scheme: Option<&str>,
) -> Result<Option<&'a str>, Unreadable> {
    let mut lines = headers.all(name);
    let Some(line) = lines.next() else {
        return Ok(None);
    };
    let others: Vec<_> = lines.collect();
    if !others.is_empty() {
        // The same as if a proxy had joined the lines with commas: other schemes are ignored.
        let is_other = |line: &[u8]| match (scheme, str::from_utf8(line)) {
            (Some(scheme), Ok(line)) => matches!(after_scheme(scheme, line), Ok(None)),
            _ => false,
        };
        return match is_other(line) && others.into_iter().all(is_other) {
            true => Ok(None),
            false => Err(Unreadable::Repeated),
        };
    }
    let value = str::from_utf8(line).map_err(|_| Unreadable::Malformed)?;
    let token = match scheme {
        Some(scheme) => after_scheme(scheme, value)?,
        None => Some(value),
    };
    match token {
        // Envoy joins repeated header lines with a comma.
        Some(token) if any_byte(token, |byte| byte == b',') => Err(Unreadable::Repeated),
        token => Ok(token),
    }
}

/// The value after the scheme and its spaces. `None` if the line has another scheme.
fn after_scheme<'a>(scheme: &str, value: &'a str) -> Result<Option<&'a str>, Unreadable> {
    let (found, rest) = split_scheme(value);
    match (found, rest) {
        ("", "") => return Err(Unreadable::Empty),
        ("", _) => return Err(Unreadable::Malformed),
        _ => {}
    }
    if !found.eq_ignore_ascii_case(scheme) {
        // A proxy may have joined a line of another scheme with one of this scheme.
        let is_ours = |word: &str| word.eq_ignore_ascii_case(scheme);
        return match joined_schemes(rest, scheme.len()).any(is_ours) {
            true => Err(Unreadable::Repeated),
            false => Ok(None),
        };
    }
    let token = rest.trim_start_matches(' ');
    if rest.len() == token.len() && !token.is_empty() && !token.contains(',') {
        return Err(Unreadable::Malformed);
    }
    Ok(Some(token))
}

/// The line's scheme, and the schemes of lines that may have been joined with it, as far as they have
/// these lengths. Places with any other scheme ignore the line. `None` if it does not begin with a
/// scheme, which is an error for every place.
pub(super) fn schemes(line: &str, lengths: Lengths) -> Option<impl Iterator<Item = &str>> {
    let (found, rest) = split_scheme(line);
    let all = || iter::once(found).chain(joined_schemes(rest, lengths.shortest()));
    (!found.is_empty()).then(|| all().filter(move |scheme| scheme.len() <= lengths.longest()))
}

fn split_scheme(line: &str) -> (&str, &str) {
    let scheme_ends = line
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .unwrap_or(line.len());
    line.split_at(scheme_ends)
}

/// The first word after each comma, unless less than `shortest` bytes follow the comma.
fn joined_schemes(rest: &str, shortest: usize) -> impl Iterator<Item = &str> {
    let (_, joined) = rest.split_once(',').unwrap_or_default();
    let parts = parts(joined, |byte| byte == b',', shortest);
    parts.filter_map(|part| part.trim_start().split(' ').next())
}
