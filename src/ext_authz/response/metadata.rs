//! What other filters of Envoy and its access log may know (`dynamic_metadata`): unlike a header,
//! no client can send it.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use crate::decision::{Decision, Denial, Permit};
use crate::policy::Policy;

/// How deep claims may be nested and still be passed on as they are. Envoy reads messages of a
/// hundred levels at most, of which each level of JSON takes three; what it cannot read is an
/// error to it, which `failure_mode_allow` would turn into an allow.
const MOST_DEPTH: usize = 16;

/// `decision`, and as far as they are known `reason`, `rule`, `provider`, `subject` and `claims`.
/// Numbers are doubles, as a `Struct` has no others; what is nested too deep is JSON text.
pub(super) fn of(decision: &Decision, policy: &Policy) -> Struct {
    let (verdict, reason, rule, provider, token) = match decision {
        Decision::Allow(Permit { rule, bearer }) => {
            let provider = bearer.as_ref().map(|bearer| bearer.provider);
            let token = bearer.as_ref().map(|bearer| &bearer.token);
            ("allow", None, Some(*rule), provider, token)
        }
        Decision::Deny(denial) => {
            let Denial {
                rule,
                provider,
                token,
                fault: _,
            } = denial;
            let reason = Some(denial.reason().code());
            ("deny", reason, *rule, *provider, token.as_ref())
        }
        Decision::Metadata(_) => ("metadata", None, None, None, None),
    };
    let rule = rule.and_then(|id| policy.rule(id));
    let provider = provider.and_then(|id| policy.provider(id));
    let claims = token.map(|token| token.claims());
    let texts = [
        ("decision", Some(verdict)),
        ("reason", reason),
        ("rule", rule.map(|rule| rule.name.as_str())),
        ("provider", provider.map(|provider| provider.name.as_str())),
        ("subject", claims.and_then(|claims| claims.subject())),
    ];
    let texts = texts
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), string(text?))));
    let claims = claims.map(|claims| {
        let claims = Kind::StructValue(object(claims.as_object(), MOST_DEPTH));
        ("claims".to_owned(), value(claims))
    });
    Struct {
        fields: texts.chain(claims).collect(),
    }
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn string(text: &str) -> Value {
    value(Kind::StringValue(text.to_owned()))
}

fn object(members: &serde_json::Map<String, serde_json::Value>, depth: usize) -> Struct {
    let fields = members
        .iter()
        .map(|(name, member)| (name.clone(), json(member, depth)));
    Struct {
        fields: fields.collect(),
    }
}

fn json(member: &serde_json::Value, depth: usize) -> Value {
    let Some(inside) = depth.checked_sub(1) else {
        return string(&member.to_string());
    };
    value(match member {
        serde_json::Value::Null => Kind::NullValue(0),
        serde_json::Value::Bool(truth) => Kind::BoolValue(*truth),
        serde_json::Value::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Kind::StringValue(text.clone()),
        serde_json::Value::Array(elements) => Kind::ListValue(ListValue {
            values: elements
                .iter()
                .map(|element| json(element, inside))
                .collect(),
        }),
        serde_json::Value::Object(members) => Kind::StructValue(object(members, inside)),
    })
}
