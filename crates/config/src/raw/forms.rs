//! What texts of the configuration look like, for the JSON Schema. Whoever reads the configuration
//! checks them anew, and more.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use claimgate_core::identity::HeaderName as ClaimHeaderName;
use claimgate_core::keyring;

/// A text that this expression describes.
macro_rules! pattern {
    ($($name:ident $pattern:literal $description:literal;)*) => {$(
        #[doc = $description]
        pub enum $name {}

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "pattern": $pattern,
                    "description": $description,
                })
            }
        }
    )*};
}

/// One of these texts.
macro_rules! choice {
    ($($name:ident $choices:expr, $description:literal;)*) => {$(
        #[doc = $description]
        pub enum $name {}

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({
                    "type": "string",
                    "enum": $choices,
                    "description": $description,
                })
            }
        }
    )*};
}

pattern! {
    Text "^[^\\x00]+$" "Text.";
    Duration "^[0-9]+ ?[a-zµ]+( ?[0-9]+ ?[a-z]+)*$"
        "A duration: `30s`, `100ms`, `24h`, `1h 30m`.";
    Size "^[0-9]+ ?(KiB|MiB)?$" "A size: `65536`, `512KiB`, `1MiB`.";
    SocketAddress "^(localhost|[0-9.]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$"
        "An IP address and port, or `localhost` and port.";
    ListenAddress "^((localhost|[0-9.]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}|unix:(///.+|/[^/].*|[^/].*))$"
        "An IP address and port, or `unix:///path`.";
    FileMode "^0?[0-7]{3}$" "The mode of a file, octal: `0660`.";
    KeyUrl "^https?://[^/@]+.*$" "An https URL; plain http on this machine, or as `allow_http` says.";
    Proxy "^(from_environment|https?://[^/?#]+/?)$"
        "The http or https URL of a proxy, with or without credentials, or `from_environment`.";
    WebUrl "^https?://[^\\s\"\\\\]+$" "A URL.";
    ResourceId "^https?://[^?#@]+$" "An https URL without query and fragment.";
    ProviderName "^[A-Za-z0-9_.:-]{1,64}$" "1 to 64 letters, digits and `-_.:`.";
    RuleName "^(?!(default|none)$)[A-Za-z0-9_.:-]{1,64}$"
        "1 to 64 letters, digits and `-_.:`; not `default` or `none`.";
    ClaimPath "^(/[^/]+)+$|^(?!urn:)[^/.]+(\\.[^/.]+)*$|^[^/.][^.]*$"
        "A claim: names with dots between them, or a JSON pointer (RFC 6901).";
    HeaderNameAsSent "^[A-Za-z0-9-]+$" "The name of a header.";
    Scheme "^[A-Za-z0-9-]+$" "A scheme, such as `Bearer`.";
    CookieName "^[A-Za-z0-9_.~!#$%&'*+^`|-]+$" "The name of a cookie.";
    QueryName "^[A-Za-z0-9_.~-]+$" "The name of a query parameter.";
    Origin "^(any|[a-z][a-z0-9+.-]*://[^/?#@\\sA-Z\"\\\\]+)$"
        "An origin: `https://shop.example.com`, or `any`.";
    DenialHeaderName "^(?!(www-authenticate|retry-after|vary|access-control-.*)$)[A-Za-z0-9-]+$"
        "The name of a header that denials do not have by themselves.";
    HeaderText "^[!-~]([ -~]*[!-~])?$" "Text that a header can carry.";
    Realm "^[ !#-\\[\\]-~]+$" "Printable ASCII without `\"` and `\\`.";
    Scope "^[!#-\\[\\]-~]+$" "A scope (RFC 6749 §3.3).";
    Acr "^[!#-\\[\\]-~]+$" "An authentication context class reference.";
    Method "^[A-Z0-9-]+$" "A method, in upper case.";
    HostPattern "^(\\*\\.)?([A-Za-z0-9_-]+\\.)*[A-Za-z0-9_-]+$|^\\[[0-9A-Fa-f:.]+\\]$"
        "A host, or `*.` and a domain.";
    Path "^(?!.*/:[A-Za-z_])(?!.*[^/]\\$$)/[^?#*{}<>\\[\\]^|]*$"
        "A path that begins with `/`, without a query and without placeholders.";
}

choice! {
    Access ["public", "optional", "required", "deny"], "Who may pass.";
    Paths ["strict", "as_is"], "How paths are compared with rules.";
    CorsPreflight ["judge", "allow"], "What becomes of CORS preflight requests.";
    BodyForm ["json", "problem", "text", "none"],
        "The form of a body; `problem` is RFC 9457.";
    OtherKind ["id_token", "assertion"], "A kind of token besides access tokens.";
    Algorithm keyring::Algorithm::ALL.map(keyring::Algorithm::name), "A signature algorithm (JWA).";
}

/// The name of a header that claimgate sets.
pub enum HeaderName {}

impl JsonSchema for HeaderName {
    fn schema_name() -> Cow<'static, str> {
        "HeaderName".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let (names, prefixes) = ClaimHeaderName::reserved();
        let reserved = format!("^(({})$|{})", any_case(names), any_case(prefixes));
        json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z0-9-]+$",
            "not": {"pattern": reserved},
            "description": "The name of a header: letters, digits and hyphens, and none that has a \
                meaning of its own.",
        })
    }
}

/// One of these words, in upper or lower case: JSON Schema has no flag for that.
fn any_case(words: &[&str]) -> String {
    let spelt = |letter: char| match letter {
        'a'..='z' => format!("[{letter}{}]", letter.to_ascii_uppercase()),
        other => other.to_string(),
    };
    let words: Vec<String> = words
        .iter()
        .map(|word| word.chars().map(spelt).collect())
        .collect();
    words.join("|")
}

/// One text, or a list of texts.
pub struct OneOrMany<T>(std::marker::PhantomData<T>);

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({
            "description": "One, or a list.",
            "anyOf": [one, {"type": "array", "items": one, "minItems": 1}],
        })
    }
}
