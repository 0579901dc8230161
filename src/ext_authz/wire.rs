//! Reads a `CheckRequest` from its bytes without copying. Reads only the fields that a decision
//! uses, and skips the others unparsed. The generated types yield the same [`Request`]: tests and a
//! fuzz target compare the two.

use std::collections::HashMap;

use crate::decision::Unreadable::{self, NotACheck};
use crate::request::pseudo::{Conflict, PseudoHeaders};
use crate::request::{Headers, Peer, Request};

/// One field of a message (Protocol Buffers, "Encoding").
enum Value<'a> {
    Varint,
    Fixed,
    Bytes(&'a [u8]),
}

/// The fields of a message, in order.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    #[inline]
    fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, Unreadable> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| NotACheck)?;
        let number = key >> 3;
        if number == 0 {
            return Err(NotACheck);
        }
        let value = match key & 7 {
            0 => {
                self.varint()?;
                Value::Varint
            }
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| NotACheck)?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            // Groups, which Envoy's messages do not use, and invalid types.
            _ => return Err(NotACheck),
        };
        Ok(Some((number, value)))
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(NotACheck)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Unreadable> {
        // Nearly all varints have one or two bytes.
        match self.0 {
            [byte @ 0..0x80, rest @ ..] => {
                self.0 = rest;
                Ok(u64::from(*byte))
            }
            [low, high @ 0..0x80, rest @ ..] => {
                self.0 = rest;
                Ok(u64::from(low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Unreadable> {
        let mut value = 0;
        for (index, byte) in self.0.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            // Only one bit of the tenth byte fits into 64 bits.
            if index == 9 && bits > 1 {
                return Err(NotACheck);
            }
            value |= bits << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = self.0.get(index + 1..).ok_or(NotACheck)?;
                return Ok(value);
            }
        }
        Err(NotACheck)
    }
}

/// Visits every field of a message. The value is `None` unless it is bytes (a message or a text).
fn each<'a>(
    message: &'a [u8],
    mut visit: impl FnMut(u32, Option<&'a [u8]>) -> Result<(), Unreadable>,
) -> Result<(), Unreadable> {
    let mut fields = Fields(message);
    while let Some((number, value)) = fields.next()? {
        match value {
            Value::Bytes(bytes) => visit(number, Some(bytes))?,
            Value::Varint | Value::Fixed => visit(number, None)?,
        }
    }
    Ok(())
}

fn text(bytes: Option<&[u8]>) -> Result<&str, Unreadable> {
    str::from_utf8(bytes.ok_or(NotACheck)?).map_err(|_| Unreadable::NotUtf8)
}

/// The request that a `CheckRequest` describes. `joined` holds its path if the check has path and query
/// apart, as some callers send them. Envoy does not, so usually nothing is written there.
///
/// # Errors
///
/// Fails if the bytes are not a `CheckRequest`, or if a text is not UTF-8.
pub fn read<'a>(check: &'a [u8], joined: &'a mut String) -> Result<Request<'a>, Unreadable> {
    let mut reader = Reader::default();
    each(check, |number, value| match number {
        1 => reader.attributes(value.ok_or(NotACheck)?),
        _ => Ok(()),
    })?;
    Ok(reader.request(joined))
}

#[derive(Default)]
struct Reader<'a> {
    /// Whether `request.http` is present.
    is_http: bool,
    request: Request<'a>,
    query: &'a str,
    /// The lines of `headers`. Those of `header_map` take precedence.
    joined: Vec<(&'a str, &'a [u8])>,
    raw: Vec<(&'a str, &'a [u8])>,
    joined_pseudo: PseudoHeaders<'a>,
    raw_pseudo: PseudoHeaders<'a>,
}

impl<'a> Reader<'a> {
    fn request(self, whole: &'a mut String) -> Request<'a> {
        let Self {
            is_http,
            request,
            query,
            joined,
            raw,
            joined_pseudo,
            raw_pseudo,
        } = self;
        // A check by the TCP filter describes no HTTP request.
        if !is_http {
            return Request::default();
        }
        let target = Parts {
            path: request.path,
            query,
            pseudo: [raw_pseudo, joined_pseudo],
        };
        let (path, conflict) = target.resolve(request.method, request.host, whole);
        let lines = if raw.is_empty() { joined } else { raw };
        // If a name occurs twice, the last value counts.
        let context = match request.context.len() {
            0 | 1 => request.context,
            _ => HashMap::<_, _>::from_iter(request.context)
                .into_iter()
                .collect(),
        };
        Request {
            path,
            path_bytes: raw_pseudo.path(),
            headers: Headers::from(lines),
            context,
            conflict,
            ..request
        }
    }

    fn attributes(&mut self, message: &'a [u8]) -> Result<(), Unreadable> {
        each(message, |number, value| match number {
            1 => peer(value.ok_or(NotACheck)?, &mut self.request.source),
            4 => each(value.ok_or(NotACheck)?, |number, value| match number {
                2 => self.http(value.ok_or(NotACheck)?),
                _ => Ok(()),
            }),
            10 => {
                let (name, value) = entry(value.ok_or(NotACheck)?)?;
                self.request.context.push((name, text(Some(value))?));
                Ok(())
            }
            _ => Ok(()),
        })
    }

    fn http(&mut self, message: &'a [u8]) -> Result<(), Unreadable> {
        self.is_http = true;
        each(message, |number, value| {
            match number {
                2 => self.request.method = text(value)?,
                3 => {
                    let (name, value) = entry(value.ok_or(NotACheck)?)?;
                    // Testing for ASCII is faster than validating UTF-8.
                    if !value.is_ascii() {
                        text(Some(value))?;
                    }
                    self.joined_pseudo.note(name, value);
                    self.joined.push((name, value));
                }
                4 => self.request.path = text(value)?,
                5 => self.request.host = text(value)?,
                7 => self.query = text(value)?,
                13 => each(value.ok_or(NotACheck)?, |number, value| {
                    if number == 1 {
                        let (name, value) = raw_header(value.ok_or(NotACheck)?)?;
                        self.raw_pseudo.note(name, value);
                        self.raw.push((name, value));
                    }
                    Ok(())
                })?,
                _ => {}
            }
            Ok(())
        })
    }
}

/// What a check says about the path, and the pseudo-headers of `header_map` and of `headers`.
pub(super) struct Parts<'a> {
    pub(super) path: &'a str,
    pub(super) query: &'a str,
    pub(super) pseudo: [PseudoHeaders<'a>; 2],
}

impl<'a> Parts<'a> {
    /// The path with its query, and whether the check describes anything in two ways.
    pub(super) fn resolve(
        &self,
        method: &str,
        host: &str,
        joined: &'a mut String,
    ) -> (&'a str, Option<Conflict>) {
        let Self {
            path,
            query,
            pseudo: [raw, shown],
        } = *self;
        let (path, conflict) = match path.split_once('?') {
            _ if query.is_empty() || path.is_empty() => (path, None),
            Some((_, own)) if own == query => (path, None),
            Some(_) => (path, Some(Conflict::Query)),
            None => {
                joined.clear();
                joined.extend([path, "?", query]);
                (joined.as_str(), None)
            }
        };
        let conflict = conflict
            .or_else(|| raw.conflict(method, host, path))
            .or_else(|| shown.conflict(method, host, path));
        (path, conflict)
    }
}

/// An entry of a map of texts: a message with its key (field 1) and its value (field 2).
fn entry(message: &[u8]) -> Result<(&str, &[u8]), Unreadable> {
    let (mut name, mut found) = ("", &[][..]);
    each(message, |number, value| {
        match number {
            1 => name = text(value)?,
            2 => found = value.ok_or(NotACheck)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((name, found))
}

/// `HeaderValue`: `raw_value` if it is not empty, else `value`.
fn raw_header(message: &[u8]) -> Result<(&str, &[u8]), Unreadable> {
    let (mut name, mut plain, mut raw) = ("", "", &[][..]);
    each(message, |number, value| {
        match number {
            1 => name = text(value)?,
            2 => plain = text(value)?,
            3 => raw = value.ok_or(NotACheck)?,
            _ => {}
        }
        Ok(())
    })?;
    Ok((
        name,
        if raw.is_empty() {
            plain.as_bytes()
        } else {
            raw
        },
    ))
}

fn peer<'a>(message: &'a [u8], source: &mut Peer<'a>) -> Result<(), Unreadable> {
    each(message, |number, value| {
        match number {
            1 => each(value.ok_or(NotACheck)?, |number, value| match number {
                1 => each(value.ok_or(NotACheck)?, |number, value| {
                    if number == 2 {
                        source.address = text(value)?;
                    }
                    Ok(())
                }),
                // A pipe, or Envoy itself. If there are several kinds, the last one counts.
                2 | 3 => {
                    source.address = "";
                    Ok(())
                }
                _ => Ok(()),
            })?,
            4 => source.principal = text(value)?,
            5 => source.certificate = text(value)?,
            _ => {}
        }
        Ok(())
    })
}
