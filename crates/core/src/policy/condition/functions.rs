//! The functions that a condition may call: CEL's standard library, its strings extension, and
//! claimgate's own.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use cel::common::types::{
    CelBool, CelString, DYN_TYPE, INT_TYPE, LIST_TYPE, MAP_TYPE, STRING_TYPE, Type,
};
use cel::common::value::CowVal;
use cel::{Env, ExecutionError, Value};
use ipnet::{IpNet, Ipv4Net};

use super::values::Exact;
use super::work::{self, BOUNDED, CHARGED, bounded, charged};
use crate::policy::pattern::{Pattern, Scope};

/// All functions. Shared by every condition.
pub(super) static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(environment()));

fn environment() -> Env {
    let mut env = Env::stdlib().with_optional_support(false);
    let declared = cel::extensions::strings(&mut env)
        .and_then(|()| {
            env.add_overload(
                "matches",
                "matches",
                vec![STRING_TYPE, STRING_TYPE],
                matches,
            )
        })
        .and_then(|()| {
            let arguments = vec![STRING_TYPE];
            env.add_member_overload("matches", "m_matches", STRING_TYPE, arguments, matches)
        })
        .and_then(|()| {
            env.add_overload(BOUNDED, "bounded_list", vec![LIST_TYPE, INT_TYPE], bounded)
        })
        .and_then(|()| env.add_overload(BOUNDED, "bounded_map", vec![MAP_TYPE, INT_TYPE], bounded))
        .and_then(|()| env.add_overload(CHARGED, "charged", vec![DYN_TYPE, INT_TYPE], charged))
        .and_then(|()| env.add_overload("cidr", "cidr", vec![STRING_TYPE], cidr))
        .and_then(|()| {
            let arguments = vec![Type::new_opaque_type(Exact::TYPE)];
            env.add_overload("string", "exact_to_string", arguments, exact_text)
        })
        .and_then(|()| {
            let arguments = vec![STRING_TYPE];
            env.add_member_overload(
                "containsIP",
                "contains_ip",
                STRING_TYPE,
                arguments,
                contains_ip,
            )
        });
    // Only a duplicate name could fail, and a test calls every function.
    debug_assert!(declared.is_ok(), "{declared:?}");
    env
}

type Arguments<'b, 'v> = Vec<CowVal<'b, 'v>>;
type Outcome<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

fn text<'a>(arguments: &'a Arguments<'_, '_>, index: usize) -> Result<&'a str, ExecutionError> {
    arguments
        .get(index)
        .and_then(|argument| argument.downcast_ref::<CelString<'_>>())
        .map(CelString::inner)
        .ok_or_else(ExecutionError::missing_argument_or_target)
}

fn answer<'b, 'v>(truth: bool) -> CowVal<'b, 'v> {
    CowVal::owned(CelBool::from(truth))
}

/// `text.matches(pattern)`: whether the pattern matches any part of the text (RE2 syntax).
#[expect(clippy::needless_pass_by_value, reason = "the form of a CEL function")]
fn matches<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let (text, pattern) = (text(&arguments, 0)?, text(&arguments, 1)?);
    // Outside an evaluation, the compiler checks a constant, so the pattern is not prepared yet.
    let found = work::matches(pattern, text).map_or_else(
        || Pattern::compile(pattern, Scope::Part).map(|pattern| pattern.is_match(text)),
        Ok,
    );
    found
        .map(answer)
        .map_err(|error| ExecutionError::function_error("matches", error))
}

/// `string(number)` for a number that CEL's own types cannot hold.
#[expect(clippy::needless_pass_by_value, reason = "the form of a CEL function")]
fn exact_text<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let number = arguments
        .first()
        .ok_or_else(ExecutionError::missing_argument_or_target)?;
    match Value::try_from(&**number)? {
        Value::Opaque(number) => number
            .downcast_ref::<Exact>()
            .map(|number| CowVal::owned(CelString::from(number.text().to_owned())))
            .ok_or_else(ExecutionError::missing_argument_or_target),
        _ => Err(ExecutionError::missing_argument_or_target()),
    }
}

/// `cidr(text)`: returns the text. Fails if it is not a network such as `10.0.0.0/8`.
fn cidr<'b, 'v>(mut arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    text(&arguments, 0)?
        .parse::<IpNet>()
        .map_err(|error| ExecutionError::function_error("cidr", error))?;
    arguments
        .pop()
        .ok_or_else(ExecutionError::missing_argument_or_target)
}

/// `cidr(text).containsIP(address)`.
#[expect(clippy::needless_pass_by_value, reason = "the form of a CEL function")]
fn contains_ip<'b, 'v>(arguments: Arguments<'b, 'v>) -> Outcome<'b, 'v> {
    let failed =
        |error: &dyn std::fmt::Display| ExecutionError::function_error("containsIP", error);
    let network: IpNet = text(&arguments, 0)?
        .parse()
        .map_err(|error| failed(&error))?;
    let address: IpAddr = text(&arguments, 1)?
        .parse()
        .map_err(|error| failed(&error))?;
    Ok(answer(canonical(network).contains(&address.to_canonical())))
}

/// Turns a network of IPv4 addresses in IPv6 form into an IPv4 network (RFC 4291 §2.5.5.2).
fn canonical(network: IpNet) -> IpNet {
    match (network.addr().to_canonical(), network.prefix_len()) {
        (IpAddr::V4(address), prefix @ 96..) if matches!(network, IpNet::V6(_)) => {
            Ipv4Net::new(address, prefix - 96).map_or(network, IpNet::V4)
        }
        _ => network,
    }
}
