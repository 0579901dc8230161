//! Why a token's audience may be wrong.

use serde_json::Value;

use super::{GRAPH, GRAPH_TOKEN, ID_TOKEN, UnverifiedParts};
use crate::escaped::Escaped;

/// The maximum number of audiences compared on each side, so that a hint stays cheap.
const MAX_COMPARED: usize = 16;

pub(super) fn wrong(accepted: &[String], token: &UnverifiedParts<'_>) -> Option<String> {
    let found: Vec<&str> = match token.claims.get("aud")? {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => return None,
    };
    if found.iter().any(|audience| GRAPH.contains(audience)) {
        return Some(GRAPH_TOKEN.to_owned());
    }
    for own in accepted.iter().take(MAX_COMPARED) {
        for other in found.iter().take(MAX_COMPARED) {
            if let Some(difference) = difference(own, other) {
                let other = Escaped::from(*other);
                return Some(format!(
                    "`{other}` and `{own}` differ only in {difference}; have the client request `{own}`, or \
                     add `{other}` to `audiences`"
                ));
            }
        }
    }
    let text = match found.as_slice() {
        ["account"] => {
            "`account` is Keycloak's default audience: add an audience mapper for your API \
             to the client scope"
        }
        [one] if one.ends_with("/userinfo") => {
            "the client did not request an API: have it name yours as `audience`"
        }
        [one] if Some(*one) == client(token) && token.claim("token_use").is_none() => {
            return Some(format!(
                "the audience is the client itself: {ID_TOKEN}, and add the client to `audiences`"
            ));
        }
        [] => "the token names no audience: have the provider name your API",
        _ => {
            "the token is for another API: have the client request one for yours; if your API goes by \
             that name, add it to `audiences`"
        }
    };
    Some(text.to_owned())
}

fn client<'t>(token: &'t UnverifiedParts<'_>) -> Option<&'t str> {
    ["azp", "client_id", "cid", "appid"]
        .into_iter()
        .find_map(|name| token.claim(name))
}

fn difference(own: &str, other: &str) -> Option<&'static str> {
    if own.trim_end_matches('/') == other.trim_end_matches('/') {
        Some("a trailing slash")
    } else if own.eq_ignore_ascii_case(other) {
        Some("upper and lower case")
    } else if own.trim_start_matches("api://") == other.trim_start_matches("api://") {
        Some("`api://`: Entra ID writes it in tokens of version 1.0, but not in those of 2.0")
    } else {
        None
    }
}
