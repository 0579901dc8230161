//! What other filters of Envoy and its access log may know (`dynamic_metadata`): unlike a header,
//! no client can send it.

use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};

use crate::decision::{Decision, Denial, Permit};
use crate::identity::Bearer;
use crate::keyring::ProviderId;
use crate::policy::Policy;
use crate::policy::rules::RuleId;
use crate::token::VerifiedToken;
use crate::token::json::{Json, Object};

/// How deep claims may be nested and still be passed on as they are. Envoy reads messages of a
/// hundred levels at most, of which each level of JSON takes three; what it cannot read is an
/// error to it, which `failure_mode_allow` would turn into an allow.
const MOST_DEPTH: usize = 16;

/// `decision`, and as far as they are known `reason`, `rule`, `provider`, `subject` and `claims`.
/// Numbers are doubles, as a `Struct` has no others; what is nested too deep is JSON text.
pub(super) fn of(decision: &Decision, policy: &Policy) -> Struct {
    match decision {
        Decision::Allow(Permit { rule, bearer }) => {
            let mut known = of_rule(*rule, policy);
            match bearer {
                Some(bearer) => known.fields.extend(of_bearer(bearer, policy).fields),
                None => known.fields.extend(texts([("decision", Some("allow"))])),
            }
            known
        }
        Decision::Deny(denial) => {
            let Denial {
                rule,
                provider,
                token,
                fault: _,
            } = denial;
            let rule = rule.map(|rule| of_rule(rule, policy)).unwrap_or_default();
            let token = token.iter().flat_map(|token| of_token(token));
            let reason = denial.reason().code();
            Struct {
                fields: texts([
                    ("decision", Some("deny")),
                    ("reason", Some(reason)),
                    ("provider", provider_name(*provider, policy)),
                ])
                .chain(token)
                .chain(rule.fields)
                .collect(),
            }
        }
        Decision::Metadata(_) => Struct {
            fields: texts([("decision", Some("metadata"))]).collect(),
        },
    }
}

/// The part of it that depends on the rule.
pub(super) fn of_rule(rule: RuleId, policy: &Policy) -> Struct {
    let name = policy.rule(rule).map(|rule| rule.name.as_str());
    Struct {
        fields: texts([("rule", name)]).collect(),
    }
}

/// The part of it, of an allow, that depends on the bearer.
pub(super) fn of_bearer(bearer: &Bearer, policy: &Policy) -> Struct {
    let Bearer {
        provider,
        token,
        place: _,
    } = bearer;
    Struct {
        fields: texts([
            ("decision", Some("allow")),
            ("provider", provider_name(Some(*provider), policy)),
        ])
        .chain(of_token(token))
        .collect(),
    }
}

fn provider_name(id: Option<ProviderId>, policy: &Policy) -> Option<&str> {
    policy.provider(id?).map(|provider| provider.name.as_str())
}

fn of_token(token: &VerifiedToken) -> impl Iterator<Item = (String, Value)> {
    let claims = token.claims();
    let all = Kind::StructValue(object(claims.members(), MOST_DEPTH));
    texts([("subject", claims.subject())]).chain([("claims".to_owned(), value(all))])
}

fn texts<const N: usize>(
    texts: [(&'static str, Option<&str>); N],
) -> impl Iterator<Item = (String, Value)> {
    texts
        .into_iter()
        .filter_map(|(name, text)| Some((name.to_owned(), string(text?))))
}

fn value(kind: Kind) -> Value {
    Value { kind: Some(kind) }
}

fn string(text: &str) -> Value {
    value(Kind::StringValue(text.to_owned()))
}

fn object(members: Object<'_>, depth: usize) -> Struct {
    let fields = members
        .iter()
        .map(|(name, member)| (name.to_owned(), json(member, depth)));
    Struct {
        fields: fields.collect(),
    }
}

fn json(member: Json<'_>, depth: usize) -> Value {
    let Some(inside) = depth.checked_sub(1) else {
        return string(&member.to_string());
    };
    value(match member {
        Json::Null => Kind::NullValue(0),
        Json::Bool(truth) => Kind::BoolValue(truth),
        Json::Number(number) => Kind::NumberValue(number.as_f64().unwrap_or(f64::NAN)),
        Json::String(text) => Kind::StringValue(text.to_owned()),
        Json::Array(elements) => Kind::ListValue(ListValue {
            values: elements
                .iter()
                .map(|element| json(element, inside))
                .collect(),
        }),
        Json::Object(members) => Kind::StructValue(object(members, inside)),
    })
}
