//! The forms of texts in the configuration, for the JSON Schema. The code that reads the
//! configuration checks them again, and more strictly.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use claimgate_core::identity::HeaderName as ClaimHeaderName;
use claimgate_core::keyring;

/// Defines a text that matches a regular expression, and not another one. Without look-ahead, which tools
/// in Go cannot read (Helm among them).
macro_rules! pattern {
    ($($name:ident $pattern:literal $(not $other:literal)? $description:literal;)*) => {$(
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
                    $("not": {"pattern": $other},)?
                    "description": $description,
                })
            }
        }
    )*};
}

/// Defines a text that is one of several words.
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
    ListenAddress "^((localhost|[0-9.]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}|unix:(///.+|/[^/].*|[^/].*))$"
        "An IP address and port, or `unix:///path`.";
    FileMode "^0?[0-7]{3}$" "The mode of a file, octal: `0660`.";
    ClientName "^([A-Za-z0-9_-]+\\.)*[A-Za-z0-9_-]+$|^[A-Za-z][A-Za-z0-9+.-]*://[!-~]+$"
        "A DNS name or a URI in a client's certificate.";
    HostName "^([A-Za-z0-9_-]+\\.)*[A-Za-z0-9_-]+$" "A DNS name.";
    KeyUrl "^https?://[^/@]+.*$" "An https URL; plain http only on this machine, or with `allow_http`.";
    Proxy "^(from_environment|https?://[^/?#]+/?)$"
        "The http or https URL of a proxy, with or without credentials, or `from_environment`.";
    OtlpEndpoint "^https?://[^/?#@\\s]+(/[^?#@\\s]*)?$"
        "An http or https URL without user name, query and fragment.";
    WebUrl "^https?://[^\\s\"\\\\]+$" "A URL.";
    ResourceId "^https?://[^?#@]+$" "An https URL without query and fragment.";
    ProviderName "^[A-Za-z0-9_.:-]{1,64}$" "1 to 64 letters, digits and `-_.:`.";
    RuleName "^[A-Za-z0-9_.:-]{1,64}$" not "^(default|none)$"
        "1 to 64 letters, digits and `-_.:`; not `default` or `none`.";
    ClaimPath "^(/[^/]+)+$|^[^/.]+(\\.[^/.]+)*$|^[^/.][^.]*$" not "^urn:.*\\."
        "A claim: names separated by dots, or a JSON pointer (RFC 6901).";
    HeaderNameAsSent "^[A-Za-z0-9-]+$" "The name of a header.";
    Scheme "^[A-Za-z0-9-]+$" "A scheme, such as `Bearer`.";
    CookieName "^[A-Za-z0-9_.~!#$&'*^`|-]+$" "The name of a cookie.";
    CookiePattern "^[A-Za-z0-9_.~!#$&'^`|-]*\\*?$" not "^$"
        "The name of a cookie, or a prefix followed by `*`.";
    QueryName "^[A-Za-z0-9_.~-]+$" "The name of a query parameter.";
    Origin "^(any|[a-z][a-z0-9+.-]*://[^/?#@\\sA-Z\"\\\\]+)$"
        "An origin: `https://shop.example.com`, or `any`.";
    DenialHeaderName "^[A-Za-z0-9-]+$" not "^(www-authenticate|retry-after|vary|access-control-.*)$"
        "The name of a header that denials do not already have.";
    HeaderText "^[!-~]([ -~]*[!-~])?$" "Text that a header can carry.";
    Realm "^[ !#-\\[\\]-~]+$" "Printable ASCII without `\"` and `\\`.";
    Scope "^[!#-\\[\\]-~]+$" "A scope (RFC 6749 §3.3).";
    Acr "^[!#-\\[\\]-~]+$" "An authentication context class reference.";
    Method "^[A-Z0-9-]+$" "A method, in upper case.";
    HostPattern "^(\\*\\.)?([A-Za-z0-9_-]+\\.)*[A-Za-z0-9_-]+$|^\\[[0-9A-Fa-f:.]+\\]$"
        "A host, or `*.` and a domain.";
    Path "^/[^?#*{}<>\\[\\]^|]*$" not "/:[A-Za-z_]|[^/]\\$$"
        "A path that begins with `/`, without a query and without placeholders.";
}

choice! {
    Access ["public", "optional", "required", "deny"], "Which requests may pass.";
    Paths ["strict", "as_is"], "How paths are compared with rules.";
    CorsPreflight ["judge", "allow"], "How CORS preflight requests are treated.";
    Spoofed ["remove", "refuse"], "What happens to a header that must not reach the upstream.";
    LogLevel crate::LogLevel::ALL.map(crate::LogLevel::name), "The importance of log lines.";
    LogSubject ["plain", "hash", "omit"], "How callers are named.";
    LoggedAllows ["all", "none", "sampled"], "Which requests that pass are written.";
    Audit ["always"], "Which decisions the decision log always has.";
    OtlpProtocol crate::OtlpProtocol::ALL.map(crate::OtlpProtocol::name), "A transport of OTLP.";
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
            "description": "The name of a header: letters, digits and hyphens, and not one that \
                already has a meaning.",
        })
    }
}

/// Matches one of these words in upper or lower case, because JSON Schema patterns have no flag for
/// that.
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

/// One value, or a list of values.
pub struct OneOrMany<T>(std::marker::PhantomData<T>);

impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn schema_name() -> Cow<'static, str> {
        format!("OneOrMany{}", T::schema_name()).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let one = generator.subschema_for::<T>();
        json_schema!({
            "description": "One value, or a list.",
            "anyOf": [one, {"type": "array", "items": one, "minItems": 1}],
        })
    }
}
