//! What callers receive, as the operator writes it.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{self, MapAccess, Visitor};

use super::forms::{
    BodyForm, ClaimPath, DenialHeaderName, HeaderName, HeaderText, OneOrMany, Origin, Realm,
    ResourceId, Scope, Text, WebUrl,
};
use super::values::Texts;
use crate::document::Field;

/// What a refused caller receives.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(
    deny_unknown_fields,
    // If the reason is hidden, a template must not contain it.
    extend(
        "if" = {"required": ["expose_reason"], "properties": {"expose_reason": {"const": false}}},
        "then" = {"properties": {"body": {"additionalProperties": {
            "properties": {"template": {"not": {"pattern": "\\{\\{\\s*reason\\s*\\}\\}"}}},
        }}}},
    )
)]
pub struct Denials {
    /// The body: one form for all denials, or one for each HTTP status. Default: `json`.
    pub body: Field<Bodies>,
    /// The `realm` of challenges. Default: the request's host.
    #[schemars(with = "Realm")]
    pub realm: Field<String>,
    /// The URL of the metadata (RFC 9728) for resources that are not in `protected_resources`.
    #[schemars(with = "WebUrl")]
    pub resource_metadata: Field<String>,
    /// Whether the body and the challenge contain the reason code. Default: `true`.
    pub expose_reason: Field<bool>,
    /// Further headers for every denial.
    pub headers: Field<Vec<Field<DenialHeader>>>,
    /// Pages whose scripts may read denials. Default: only pages of the API's own origin.
    pub cors: Field<Cors>,
}

/// A header of denials.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, extend("required" = ["header", "value"]))]
pub struct DenialHeader {
    /// The header's name.
    #[schemars(with = "DenialHeaderName")]
    pub header: Field<String>,
    /// The header's value.
    #[schemars(with = "HeaderText")]
    pub value: Field<String>,
}

/// Pages whose scripts may read denials (CORS).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(
    deny_unknown_fields,
    extend(
        "required" = ["origins"],
        "if" = {"required": ["credentials"], "properties": {"credentials": {"const": true}}},
        "then" = {"properties": {"origins": {"not": {"const": "any"}}}},
    )
)]
pub struct Cors {
    /// The origins of the pages, as browsers send them: `https://shop.example.com`; or `any`.
    #[schemars(with = "OneOrMany<Origin>")]
    pub origins: Field<Texts>,
    /// Whether the pages may read responses to requests with cookies. Default: `false`.
    pub credentials: Field<bool>,
}

/// One body form for all statuses, or one for each status.
#[derive(Debug)]
pub enum Bodies {
    /// One form for all statuses.
    One(String),
    /// One form for each status; `default` covers the rest.
    ByStatus(BTreeMap<String, Field<Body>>),
}

/// A form of body, or a template.
#[derive(Debug)]
pub enum Body {
    /// A form, by its name.
    Form(String),
    /// A text with placeholders.
    Template {
        /// The media type.
        content_type: String,
        /// The text.
        template: String,
    },
}

impl<'de> Deserialize<'de> for Bodies {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Bodies;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`json`, `problem`, `text`, `none`, or a mapping by HTTP status")
            }

            fn visit_str<E>(self, text: &str) -> Result<Bodies, E> {
                Ok(Bodies::One(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Bodies, A::Error> {
                let mut bodies = BTreeMap::new();
                while let Some((status, body)) = map.next_entry()? {
                    bodies.insert(status, body);
                }
                Ok(Bodies::ByStatus(bodies))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Body;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`json`, `problem`, `text`, `none`, or `{ content_type, template }`")
            }

            fn visit_str<E>(self, text: &str) -> Result<Body, E> {
                Ok(Body::Form(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Body, A::Error> {
                let (mut content_type, mut template) = (None, None);
                while let Some((name, text)) = map.next_entry::<String, String>()? {
                    match name.as_str() {
                        "content_type" => content_type = Some(text),
                        "template" => template = Some(text),
                        _ => {
                            return Err(de::Error::custom(format_args!(
                                "unknown field `{name}`; known here: content_type, template"
                            )));
                        }
                    }
                }
                match (content_type, template) {
                    (Some(content_type), Some(template)) => Ok(Body::Template {
                        content_type,
                        template,
                    }),
                    (None, _) => Err(de::Error::missing_field("content_type")),
                    (_, None) => Err(de::Error::missing_field("template")),
                }
            }
        }

        deserializer.deserialize_any(Either)
    }
}

impl JsonSchema for Bodies {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Bodies".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let form = generator.subschema_for::<BodyForm>();
        let body = generator.subschema_for::<Body>();
        schemars::json_schema!({
            "description": "One form for all statuses, or one for each HTTP status.",
            "anyOf": [
                form,
                {
                    "type": "object",
                    "description": "By HTTP status of the denial; `default` covers the rest.",
                    "minProperties": 1,
                    "patternProperties": {"^(default|400|401|403|413|500|503)$": body},
                    "additionalProperties": false,
                },
            ],
        })
    }
}

impl JsonSchema for Body {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Body".into()
    }

    fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let form = generator.subschema_for::<BodyForm>();
        let text = generator.subschema_for::<HeaderText>();
        schemars::json_schema!({
            "description": "A form, or a custom template.",
            "anyOf": [
                form,
                {
                    "type": "object",
                    "description": "A custom text.",
                    "properties": {
                        "content_type": {
                            "description": "The media type, such as `text/html; charset=utf-8`.",
                            "allOf": [text],
                        },
                        "template": {
                            "description": "The text, with the placeholders `{{status}}`, \
                                `{{error}}`, `{{reason}}` and `{{request_id}}`.",
                            "type": "string",
                        },
                    },
                    "required": ["content_type", "template"],
                    "additionalProperties": false,
                },
            ],
        })
    }
}

/// A header to set on the upstream's response: to a fixed `value`, or to a `claim`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(
    deny_unknown_fields,
    extend(
        "required" = ["header"],
        "oneOf" = [{"required": ["value"]}, {"required": ["claim"]}],
    )
)]
pub struct ResponseHeader {
    /// The header's name.
    #[schemars(with = "HeaderName")]
    pub header: Field<String>,
    /// The fixed value.
    #[schemars(with = "HeaderText")]
    pub value: Field<String>,
    /// The claim to send. Without the claim, the header is not set.
    #[schemars(with = "ClaimPath")]
    pub claim: Field<String>,
}

/// An API with metadata (RFC 9728).
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(deny_unknown_fields, extend("required" = ["resource"]))]
pub struct ProtectedResource {
    /// The resource's identifier: the https URL by which clients know it. Its metadata is served on
    /// its host at `/.well-known/oauth-protected-resource`, followed by its path.
    #[schemars(with = "ResourceId")]
    pub resource: Field<String>,
    /// The names of the providers that issue tokens for it. Default: all.
    #[schemars(with = "OneOrMany<Text>")]
    pub providers: Field<Texts>,
    /// The issuers of its tokens, if they differ from the issuers of its providers.
    #[schemars(with = "OneOrMany<WebUrl>")]
    pub authorization_servers: Field<Texts>,
    /// The scopes that clients may request.
    #[schemars(with = "OneOrMany<Scope>")]
    pub scopes_supported: Field<Texts>,
    /// The resource's name, for people.
    #[schemars(with = "Text")]
    pub resource_name: Field<String>,
    /// The URL of its documentation.
    #[schemars(with = "WebUrl")]
    pub resource_documentation: Field<String>,
    /// The URL of its policy on how clients may use its data.
    #[schemars(with = "WebUrl")]
    pub resource_policy_uri: Field<String>,
    /// The URL of its terms of service.
    #[schemars(with = "WebUrl")]
    pub resource_tos_uri: Field<String>,
}
