//! The addresses of both listeners and their TLS, as the operator writes them.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, SeqAccess, Visitor};

use super::forms::{ClientName, FileMode, ListenAddress, OneOrMany, Text};
use super::values::Texts;
use crate::document::Field;

/// The message for a number, which is probably a port. The reader appends what to write.
const FOUND_NUMBER: &str = "expected text or a mapping, found a number";

/// One address, or a list.
#[derive(Clone, Debug)]
pub enum Listens {
    /// One place.
    One(Listen),
    /// Several places.
    Many(Vec<Field<Listen>>),
}

/// An address, or a Unix domain socket with its settings.
#[derive(Clone, Debug)]
pub enum Listen {
    /// `host:port` or `unix:PATH`.
    Address(String),
    /// A Unix domain socket with its mode and group.
    Socket(Socket),
}

/// A Unix domain socket.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(deny_unknown_fields, extend("required" = ["unix"]))]
pub struct Socket {
    /// The socket's path.
    #[schemars(with = "Text")]
    pub unix: Field<String>,
    /// The file mode in octal, which decides who may connect. Default: `0660` with a `group`,
    /// otherwise what the process's umask leaves.
    #[schemars(with = "FileMode")]
    pub mode: Field<String>,
    /// The group that owns the socket, by name or number. Default: the process's group.
    #[schemars(with = "Text")]
    pub group: Field<String>,
}

/// TLS over TCP. The files are read again when they change.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(
    deny_unknown_fields,
    extend(
        "required" = ["certificate", "key"],
        "dependentRequired" = {"allowed_clients": ["client_ca"]},
    )
)]
pub struct Tls {
    /// The file (PEM) with the server's certificate, followed by its intermediate certificates.
    #[schemars(with = "Text")]
    pub certificate: Field<String>,
    /// The file (PEM) with the certificate's private key, not encrypted.
    #[schemars(with = "Text")]
    pub key: Field<String>,
    /// The file (PEM) with the authorities that sign clients' certificates. With it, each client
    /// must present such a certificate. Default: clients need no certificate.
    #[schemars(with = "Text")]
    pub client_ca: Field<String>,
    /// The clients that may connect: DNS names or URIs, such as `spiffe://example.org/envoy`, of
    /// which the certificate's subject alternative names must contain one exactly. Default: every
    /// client with a certificate from `client_ca`.
    #[schemars(with = "OneOrMany<ClientName>")]
    pub allowed_clients: Field<Texts>,
}

impl<'de> Deserialize<'de> for Listens {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Listens;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address, `{ unix, mode, group }`, or a list of these")
            }

            fn visit_str<E>(self, text: &str) -> Result<Listens, E> {
                Ok(Listens::One(Listen::Address(text.to_owned())))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Listens, E> {
                Err(E::custom(FOUND_NUMBER))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Listens, E> {
                Err(E::custom(FOUND_NUMBER))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Listens, A::Error> {
                let socket = Socket::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Listens::One(Listen::Socket(socket)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Listens, A::Error> {
                let mut listens = Vec::new();
                while let Some(listen) = list.next_element()? {
                    listens.push(listen);
                }
                Ok(Listens::Many(listens))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Listen;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address, or `{ unix, mode, group }`")
            }

            fn visit_str<E>(self, text: &str) -> Result<Listen, E> {
                Ok(Listen::Address(text.to_owned()))
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Listen, E> {
                Err(E::custom(FOUND_NUMBER))
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Listen, E> {
                Err(E::custom(FOUND_NUMBER))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Listen, A::Error> {
                Socket::deserialize(MapAccessDeserializer::new(map)).map(Listen::Socket)
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Listen {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Listen".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let address = generator.subschema_for::<ListenAddress>();
        let socket = generator.subschema_for::<Socket>();
        json_schema!({"description": "An address.", "anyOf": [address, socket]})
    }
}

/// The address of the admin listener, for the schema.
pub enum AdminListen {}

impl JsonSchema for AdminListen {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "AdminListen".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Listen>();
        json_schema!({"description": "An address, or `off`.", "anyOf": [one, {"const": "off"}]})
    }
}

impl JsonSchema for Listens {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Listens".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<Listen>();
        json_schema!({
            "description": "One address, or a list.",
            "anyOf": [one, {"type": "array", "items": one, "minItems": 1}],
        })
    }
}
