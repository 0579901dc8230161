//! The JSON of a JWK Set. Members stay text until they are needed: a tree of very small members
//! would take eighty times the memory of its text.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::MAX_KEYS;

/// The maximum number of operations read from `key_ops`, which can have eight (RFC 7517 §4.3).
const MAX_OPERATIONS: usize = 32;

/// The keys of a set, unread. Other members of the set are ignored (RFC 7517 §5).
pub(super) fn keys(json: &[u8]) -> Result<FirstOf<&RawValue, MAX_KEYS>, String> {
    let set: BTreeMap<SetMember, &RawValue> = serde_json::from_slice(json)
        .map_err(|error| problem(&error, "expected an object with an array `keys`"))?;
    let keys = set.get(&SetMember::Keys).ok_or("it has no array `keys`")?;
    serde_json::from_str(keys.get()).map_err(|error| problem(&error, "expected an array `keys`"))
}

/// The parser's error. For well-formed JSON it would not say what a key set needs.
fn problem(error: &serde_json::Error, expected: &str) -> String {
    match error.is_data() {
        true => format!("{expected}: {error}"),
        false => error.to_string(),
    }
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(field_identifier, rename_all = "snake_case")]
enum SetMember {
    Keys,
    #[serde(other)]
    Other,
}

/// A JWK. A `null` or empty member counts as absent, because some providers write every member of
/// their key type. If a name occurs twice, the last occurrence counts (RFC 7517 §4); but an empty one
/// does not erase private key material, so a leaked private key is always noticed.
pub(super) struct Jwk<'d> {
    members: BTreeMap<Member, &'d str>,
}

impl<'de: 'd, 'd> Deserialize<'de> for Jwk<'d> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Jwk<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Jwk<'de>, A::Error> {
                let mut members = BTreeMap::new();
                while let Some((member, value)) = map.next_entry::<Member, &RawValue>()? {
                    if !says_nothing(value.get()) {
                        members.insert(member, value.get());
                    } else if !Member::PRIVATE.contains(&member) {
                        members.remove(&member);
                    }
                }
                Ok(Jwk { members })
            }
        }

        deserializer.deserialize_map(Members)
    }
}

/// Whether the JSON is `null`, an empty text or an empty array. The contents of an object are not
/// looked at.
fn says_nothing(json: &str) -> bool {
    let inside = json.strip_prefix('[').map(str::trim_start);
    matches!(json, "null" | r#""""#) || inside == Some("]")
}

/// The members that claimgate reads.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(field_identifier, rename_all = "snake_case")]
pub(super) enum Member {
    Kty,
    Kid,
    Use,
    KeyOps,
    Alg,
    Crv,
    N,
    E,
    X,
    Y,
    Issuer,
    D,
    P,
    Q,
    Dp,
    Dq,
    Qi,
    Oth,
    K,
    #[serde(other)]
    Other,
}

impl Member {
    /// The members that carry private or secret key material (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
    const PRIVATE: [Self; 8] = [
        Self::D,
        Self::P,
        Self::Q,
        Self::Dp,
        Self::Dq,
        Self::Qi,
        Self::Oth,
        Self::K,
    ];

    /// The name in the document.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kty => "kty",
            Self::Kid => "kid",
            Self::Use => "use",
            Self::KeyOps => "key_ops",
            Self::Alg => "alg",
            Self::Crv => "crv",
            Self::N => "n",
            Self::E => "e",
            Self::X => "x",
            Self::Y => "y",
            Self::Issuer => "issuer",
            Self::D => "d",
            Self::P => "p",
            Self::Q => "q",
            Self::Dp => "dp",
            Self::Dq => "dq",
            Self::Qi => "qi",
            Self::Oth => "oth",
            Self::K => "k",
            Self::Other => "(other)",
        }
    }
}

impl<'d> Jwk<'d> {
    pub(super) fn read(json: &'d RawValue) -> Result<Self, String> {
        serde_json::from_str(json.get()).map_err(|_| "it is not a JSON object".to_owned())
    }

    /// The JSON of a member.
    fn get(&self, member: Member) -> Option<&'d str> {
        self.members.get(&member).copied()
    }

    /// The first member that carries private or secret key material.
    pub(super) fn private_member(&self) -> Option<Member> {
        let given = |member: &Member| self.get(*member).is_some();
        Member::PRIVATE.into_iter().find(given)
    }

    /// A text member.
    pub(super) fn text(&self, member: Member) -> Result<Cow<'d, str>, String> {
        self.optional_text(member)?
            .ok_or_else(|| format!("it has no `{}`", member.name()))
    }

    /// A text member, if present.
    pub(super) fn optional_text(&self, member: Member) -> Result<Option<Cow<'d, str>>, String> {
        self.get(member)
            .map(|json| {
                text(json).ok_or_else(|| format!("its `{}` is not a string", member.name()))
            })
            .transpose()
    }

    /// The operations in `key_ops`: `None` if absent, empty if not an array. An operation that is
    /// not a string is the empty text.
    pub(super) fn operations(&self) -> Option<Vec<Cow<'d, str>>> {
        let json = self.get(Member::KeyOps)?;
        let listed: Option<FirstOf<&RawValue, MAX_OPERATIONS>> = serde_json::from_str(json).ok();
        let listed = listed.map(|listed| listed.elements).unwrap_or_default();
        let operation = |json: &'d RawValue| text(json.get()).unwrap_or_default();
        Some(listed.into_iter().map(operation).collect())
    }
}

/// The value of a JSON string.
fn text(json: &str) -> Option<Cow<'_, str>> {
    #[derive(Deserialize)]
    struct Text<'d>(#[serde(borrow)] Cow<'d, str>);

    serde_json::from_str(json).ok().map(|Text(text)| text)
}

/// The first `MAX` elements of an array. The others are only counted, because a hostile array may
/// have millions.
pub(super) struct FirstOf<T, const MAX: usize> {
    pub(super) elements: Vec<T>,
    /// The number of elements in the document.
    pub(super) count: usize,
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for FirstOf<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements<T, const MAX: usize>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Elements<T, MAX> {
            type Value = FirstOf<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
                let mut elements = Vec::new();
                while elements.len() < MAX {
                    match array.next_element()? {
                        Some(element) => elements.push(element),
                        None => break,
                    }
                }
                let mut count = elements.len();
                while array.next_element::<IgnoredAny>()?.is_some() {
                    count += 1;
                }
                Ok(FirstOf { elements, count })
            }
        }

        deserializer.deserialize_seq(Elements(PhantomData))
    }
}
