//! Configurations of Envoy's own filter for tokens, `jwt_authn`.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::tokens::Provider;

/// The filter's cache of verified tokens, per provider.
#[derive(Clone, Copy, Debug)]
pub enum Cache {
    Off,
    On,
}

/// A token of any of these providers is required. Their keys are in files.
pub fn any_of(providers: &[Provider], directory: &Path, cache: Cache) -> Value {
    let describe = |provider: &Provider| {
        let keys = json!({"filename": provider.key_file(directory)});
        (provider.name.clone(), described(provider, &keys, cache))
    };
    let any: Vec<Value> = providers.iter().map(named).collect();
    let described = providers.iter().map(describe).collect();
    filter(&described, &any_requirement(&any))
}

/// What Istio writes for a `RequestAuthentication` with these providers (`convertToEnvoyJwtConfig`):
/// a valid token of any of them, or no token at all.
pub fn of_istio(providers: &[Provider], cache: Cache) -> Value {
    let or_missing =
        |provider: &Provider| any_requirement(&[named(provider), json!({"allow_missing": {}})]);
    let requirement = match providers {
        [only] => or_missing(only),
        _ => {
            let each: Vec<Value> = providers.iter().map(or_missing).collect();
            let all = json!({"requires_all": {"requirements": each}});
            let any: Vec<Value> = providers.iter().map(named).chain([all]).collect();
            any_requirement(&any)
        }
    };
    with_metadata(providers, cache, &requirement)
}

/// The same providers under a requirement that names none of them, so that the filter finds the
/// token's provider by its issuer. It also lets requests without a token pass.
pub fn by_issuer(providers: &[Provider], cache: Cache) -> Value {
    with_metadata(providers, cache, &json!({"allow_missing": {}}))
}

/// Providers as Istio describes them: with inline keys, and all claims as metadata.
fn with_metadata(providers: &[Provider], cache: Cache, requirement: &Value) -> Value {
    let describe = |provider: &Provider| {
        let keys = json!({"inline_string": provider.key_set().to_string()});
        let mut described = described(provider, &keys, cache);
        described["payload_in_metadata"] = "payload".into();
        described["normalize_payload_in_metadata"] =
            json!({"space_delimited_claims": ["scope", "permission"]});
        (provider.name.clone(), described)
    };
    let described = providers.iter().map(describe).collect();
    let mut filter = filter(&described, requirement);
    filter["typed_config"]["bypass_cors_preflight"] = true.into();
    filter
}

fn filter(providers: &Map<String, Value>, requirement: &Value) -> Value {
    json!({
        "name": "envoy.filters.http.jwt_authn",
        "typed_config": {
            "@type":
                "type.googleapis.com/envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication",
            "providers": providers,
            "rules": [{"match": {"prefix": "/"}, "requires": requirement}],
        },
    })
}

/// The filter's share of what claimgate does: both claims as headers.
fn described(provider: &Provider, keys: &Value, cache: Cache) -> Value {
    let cache = match cache {
        Cache::Off => json!(null),
        Cache::On => json!({"jwt_cache_size": 10_000}),
    };
    json!({
        "issuer": provider.issuer(),
        "audiences": ["orders-api"],
        "local_jwks": keys,
        "claim_to_headers": [
            {"header_name": "x-auth-subject", "claim_name": "sub"},
            {"header_name": "x-auth-roles", "claim_name": "realm_access.roles"},
        ],
        "jwt_cache_config": cache,
    })
}

fn named(provider: &Provider) -> Value {
    json!({"provider_name": provider.name})
}

fn any_requirement(requirements: &[Value]) -> Value {
    json!({"requires_any": {"requirements": requirements}})
}
