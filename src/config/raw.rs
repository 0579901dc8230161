//! What the operator wrote, before anyone asks what it means. Field for field the YAML file.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, SeqAccess, Visitor};

use super::document::Field;
use crate::token::claims::scalar_text;

/// The whole file.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Root {
    pub server: Field<Server>,
    pub admin: Field<Admin>,
    pub providers: Field<Vec<Field<Provider>>>,
    pub token_cache: Field<TokenCache>,
    pub upstream: Field<Upstream>,
    pub denials: Field<Denials>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Server {
    pub listen: Field<Texts>,
    pub drain: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Admin {
    pub listen: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Provider {
    pub name: Field<String>,
    pub issuer: Field<String>,
    pub issuer_aliases: Field<Texts>,
    pub tenants: Field<Texts>,
    pub audiences: Field<Texts>,
    pub audience_claim: Field<String>,
    pub discovery_url: Field<String>,
    pub jwks: Field<Jwks>,
    pub fetch: Field<Fetch>,
    pub refresh: Field<Refresh>,
    pub algorithms: Field<Vec<Field<String>>>,
    pub token_types: Field<Texts>,
    pub also_accept: Field<Texts>,
    pub clock_skew: Field<String>,
    pub max_lifetime: Field<String>,
    pub required_claims: Field<BTreeMap<String, Field<Values>>>,
    pub scope_claims: Field<Texts>,
    pub token_from: Field<Vec<Field<TokenSource>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TokenSource {
    pub header: Field<String>,
    pub scheme: Field<String>,
    pub cookie: Field<String>,
    pub query: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct TokenCache {
    pub max_entries: Field<u32>,
    pub max_bytes: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Jwks {
    pub uri: Field<String>,
    pub file: Field<String>,
    pub inline: Field<Inline>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Fetch {
    pub timeout: Field<String>,
    pub ca_file: Field<String>,
    pub bearer_token_file: Field<String>,
    pub allow_http: Field<bool>,
    pub max_bytes: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Refresh {
    pub min: Field<String>,
    pub max: Field<String>,
    pub max_stale: Field<String>,
    pub unknown_key_cooldown: Field<String>,
    pub unknown_key_wait: Field<String>,
    pub cache_dir: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Upstream {
    pub claim_headers: Field<Vec<Field<ClaimHeader>>>,
    pub scope_header: Field<String>,
    pub payload_header: Field<String>,
    pub forward_token: Field<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct ClaimHeader {
    pub header: Field<String>,
    pub claim: Field<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Denials {
    pub realm: Field<String>,
    pub expose_reason: Field<bool>,
}

/// One text, or a list of texts.
#[derive(Clone, Debug)]
pub enum Texts {
    One(String),
    Many(Vec<Field<String>>),
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text or a list of texts")
            }

            fn visit_str<E>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts::One(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Texts, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts::Many(texts))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

/// One value, or a list of values: text, a number, true or false.
#[derive(Clone, Debug)]
pub struct Values(pub Vec<String>);

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let values = match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::Array(values) => values,
            value => vec![value],
        };
        let texts: Option<Vec<_>> = values.iter().map(scalar_text).collect();
        texts
            .filter(|texts| !texts.is_empty())
            .map(Self)
            .ok_or_else(|| de::Error::custom("expected a value, or a list of values"))
    }
}

/// A key set written into the file: as a mapping, or as JSON text.
#[derive(Clone, Debug)]
pub struct Inline(pub serde_json::Value);

impl<'de> Deserialize<'de> for Inline {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(json) => serde_json::from_str(&json)
                .map(Self)
                .map_err(|error| de::Error::custom(format_args!("not JSON: {error}"))),
            value => Ok(Self(value)),
        }
    }
}
