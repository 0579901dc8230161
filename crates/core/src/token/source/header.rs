//! A token in a header.

use std::iter;

use super::{Unreadable, any_byte};
use crate::request::Headers;

/// What the header holds behind its scheme, which is taken in any case and followed by one or more
/// spaces; `None` if there is no such header, or one of another scheme.
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
        // As when they are joined with commas: credentials of other schemes are none of ours.
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

/// What follows the scheme and its spaces, `None` after another scheme.
fn after_scheme<'a>(scheme: &str, value: &'a str) -> Result<Option<&'a str>, Unreadable> {
    let (found, rest) = split_scheme(value);
    match (found, rest) {
        ("", "") => return Err(Unreadable::Empty),
        ("", _) => return Err(Unreadable::Malformed),
        _ => {}
    }
    if !found.eq_ignore_ascii_case(scheme) {
        // A line of another scheme may have been joined with one of ours.
        let is_ours = |word: &str| word.eq_ignore_ascii_case(scheme);
        return match joined_schemes(rest).any(is_ours) {
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

/// The line's scheme, and those of lines that may have been joined with it: the line is nothing to
/// all other schemes. `None` if it does not begin with a scheme, which is an error to every one.
pub(super) fn schemes(line: &str) -> Option<impl Iterator<Item = &str>> {
    let (found, rest) = split_scheme(line);
    (!found.is_empty()).then(|| iter::once(found).chain(joined_schemes(rest)))
}

fn split_scheme(line: &str) -> (&str, &str) {
    let scheme_ends = line
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '-')
        .unwrap_or(line.len());
    line.split_at(scheme_ends)
}

/// The first word after each comma.
fn joined_schemes(rest: &str) -> impl Iterator<Item = &str> {
    let parts = rest.split(',').skip(1);
    parts.filter_map(|part| part.trim_start().split(' ').next())
}
