//! Converts the facts of a request to CEL values.

use std::collections::HashMap;
use std::sync::Arc;

use cel::Value;
use cel::objects::{Key, Map, Opaque};
use chrono::DateTime;

use super::Target;
use crate::request::{Headers, Peer, as_text};
use crate::time::UnixTime;
use crate::token::claims::Claims;
use crate::token::json::{Json, Number};

fn map(members: impl Iterator<Item = (String, Value)>) -> Value {
    let map: HashMap<_, _> = members
        .map(|(name, value)| (Key::String(Arc::new(name)), value))
        .collect();
    Value::Map(Map { map: Arc::new(map) })
}

fn string(text: &str) -> Value {
    Value::String(Arc::new(text.to_owned()))
}

/// All claims. Empty without a token.
pub(super) fn claims(claims: Option<&Claims>) -> Value {
    let members = claims
        .into_iter()
        .flat_map(|claims| claims.members().iter());
    map(members.map(|(name, value)| (name.to_owned(), json(value))))
}

fn json(value: Json<'_>) -> Value {
    match value {
        Json::Null => Value::Null,
        Json::Bool(truth) => Value::Bool(truth),
        Json::Number(number) => self::number(number),
        Json::String(text) => string(text),
        Json::Array(elements) => Value::List(Arc::new(elements.iter().map(json).collect())),
        Json::Object(members) => map(members
            .iter()
            .map(|(name, value)| (name.to_owned(), json(value)))),
    }
}

/// A whole number becomes an `int` or a `uint` if it fits. A fraction becomes the nearest `double`.
/// A number that would turn into another one in these types becomes an [`Exact`].
fn number(number: Number<'_>) -> Value {
    match (number, number.as_u64(), number.as_distinct_f64()) {
        (Number::Integer(integer), _, _) => Value::Int(integer),
        (_, Some(integer), _) => Value::UInt(integer),
        (_, None, Some(double)) => Value::Float(double),
        (_, None, None) => Value::Opaque(Arc::new(Exact {
            text: number.to_text(),
            canonical: number.canonical(),
        })),
    }
}

/// A number that CEL's types cannot hold. It equals only the same number, and `string(…)` returns
/// its text. Ordering, arithmetic and conversions fail, which denies.
#[derive(Debug)]
pub(super) struct Exact {
    text: String,
    canonical: String,
}

impl Exact {
    /// The name of the type in CEL.
    pub(super) const TYPE: &str = "claimgate.number";

    /// The same text as [`Number::to_text`].
    pub(super) fn text(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Exact {
    fn eq(&self, other: &Self) -> bool {
        self.canonical == other.canonical
    }
}

impl Eq for Exact {}

impl Opaque for Exact {
    fn runtime_type_name(&self) -> &str {
        Self::TYPE
    }
}

pub(super) fn request(target: &Target<'_>) -> Value {
    let (_, query) = target.request.split_path();
    let texts = [
        ("method", target.request.method),
        ("host", &target.host),
        ("path", &target.path),
        ("query", query),
    ];
    let headers = ("headers".to_owned(), headers(&target.request.headers));
    let texts = texts.map(|(name, text)| (name.to_owned(), string(text)));
    map(texts.into_iter().chain([headers]))
}

/// The headers by name in lower case. As in Envoy's default, lines with the same name are joined
/// with commas, and bytes that are not UTF-8 become `!`. Pseudo-headers are left out.
fn headers(headers: &Headers<'_>) -> Value {
    let mut joined: HashMap<String, String> = HashMap::new();
    for (name, value) in headers.lines().filter(|(name, _)| !name.starts_with(':')) {
        let value = as_text(value).into_owned();
        joined
            .entry(name.to_ascii_lowercase())
            .and_modify(|line| {
                line.push(',');
                line.push_str(&value);
            })
            .or_insert(value);
    }
    map(joined
        .into_iter()
        .map(|(name, value)| (name, Value::String(Arc::new(value)))))
}

/// An address that is not known is left out: comparing it fails, which denies. As an empty text, it would
/// be unequal to every address that a condition excludes.
pub(super) fn source(source: Peer<'_>) -> Value {
    let Peer {
        address,
        principal,
        certificate,
    } = source;
    let certificate = percent_encoding::percent_decode_str(certificate).decode_utf8_lossy();
    let address = Some(("address", address)).filter(|(_, address)| !address.is_empty());
    let names = [("principal", principal), ("certificate", &*certificate)];
    texts(address.into_iter().chain(names))
}

pub(super) fn texts<'t>(texts: impl IntoIterator<Item = (&'t str, &'t str)>) -> Value {
    map(texts
        .into_iter()
        .map(|(name, text)| (name.to_owned(), string(text))))
}

/// The time as a CEL timestamp. A time that CEL cannot hold becomes `null`: comparing with it
/// fails, which denies.
pub(super) fn time(now: UnixTime) -> Value {
    i64::try_from(now.as_secs())
        .ok()
        .and_then(|seconds| DateTime::from_timestamp(seconds, 0))
        .map_or(Value::Null, |time| Value::Timestamp(time.fixed_offset()))
}
