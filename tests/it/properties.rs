//! Properties that hold for every input, tried with many.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};

use claimgate::dev::signer::Signer;
use claimgate::escaped::Escaped;
use claimgate::keyring::{Algorithm, KeySet};
use claimgate::telemetry::metrics::TokenCacheMetrics;
use claimgate::token::claims::ClaimPath;
use claimgate::token_cache::TokenCache;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::support::gate::NOW;
use crate::support::judge::{ISSUER, Judge};
use crate::support::keys::signer;

/// Judges without a memory, and with one.
struct Both {
    judge: Judge,
    cache: TokenCache,
    key: Arc<Signer>,
    good: String,
}

static JUDGE: LazyLock<Both> = LazyLock::new(|| {
    let key = signer(Algorithm::EdDsa, "property");
    let judge = Judge::trusting(&[key.jwk()], &["api", "other"]);
    let claims = json!({"iss": ISSUER, "aud": "api", "exp": NOW + 60, "sub": "alice"});
    Both {
        cache: TokenCache::new(&judge.token_cache, TokenCacheMetrics::default()),
        judge,
        good: key.token(&claims).unwrap(),
        key,
    }
});

impl Both {
    fn allows(&self, token: &[u8], now: u64) -> bool {
        let fresh = self.judge.allows(&(), token, now);
        for _ in 0..2 {
            let remembered = self.judge.allows(&self.cache, token, now);
            assert_eq!(fresh, remembered, "what is remembered changes no verdict");
        }
        fresh
    }
}

/// Any JSON of limited depth.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            btree_map(".{0,6}", inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// A claim that is right, nearly right, or random.
fn claim(usual: Vec<Value>) -> impl Strategy<Value = Option<Value>> {
    prop_oneof![
        6 => proptest::sample::select(usual).prop_map(Some),
        1 => any_json().prop_map(Some),
        1 => Just(None),
    ]
}

fn claims() -> impl Strategy<Value = Map<String, Value>> {
    let around = |name: &str, usual: Vec<Value>| {
        let name = name.to_owned();
        claim(usual).prop_map(move |value| Some((name.clone(), value?)))
    };
    (
        around(
            "iss",
            vec![ISSUER.into(), "https://idp.example.com/".into()],
        ),
        around(
            "aud",
            vec!["api".into(), json!(["x", "other"]), json!([]), "ap".into()],
        ),
        around(
            "exp",
            vec![(NOW + 60).into(), (NOW - 59).into(), (NOW - 60).into()],
        ),
        around(
            "nbf",
            vec![NOW.into(), (NOW + 60).into(), (NOW + 61).into()],
        ),
        around("iat", vec![NOW.into(), json!(1.5), (NOW + 3600).into()]),
        around("sub", vec!["alice".into(), ISSUER.into()]),
        around("cnf", vec![Value::Null, json!({"jkt": "x"})]),
        btree_map("[a-z_]{1,8}", any_json(), 0..3),
    )
        .prop_map(|(iss, aud, exp, nbf, iat, sub, cnf, more)| {
            let named = [iss, aud, exp, nbf, iat, sub, cnf];
            let more = more.into_iter().filter(|(name, _)| name.len() > 3);
            more.chain(named.into_iter().flatten()).collect()
        })
}

/// The same rules in independent code: RFC 7519 §4.1 and RFC 7800 §3.1.
fn should_be_allowed(claims: &Map<String, Value>) -> bool {
    let given = |name: &str| claims.get(name).filter(|value| !value.is_null());
    let seconds = |name: &str| given(name).map(|value| value.as_f64().unwrap_or(f64::NAN));
    let (now, skew) = (f64::from(u32::try_from(NOW).unwrap()), 60.0);
    let is_time = |time: f64| (0.0..253_402_300_800.0).contains(&time);
    let begun =
        |name: &str| seconds(name).is_none_or(|start| is_time(start) && start <= now + skew);
    let text = |name: &str| given(name).is_none_or(Value::is_string);
    let meant = match &claims.get("aud") {
        Some(Value::String(one)) => one == "api" || one == "other",
        Some(Value::Array(several)) => {
            several.iter().all(Value::is_string)
                && several.iter().any(|one| *one == "api" || *one == "other")
        }
        _ => false,
    };
    claims.get("iss") == Some(&ISSUER.into())
        && text("sub")
        && meant
        && seconds("exp").is_some_and(|exp| is_time(exp) && now < exp + skew)
        && begun("nbf")
        && begun("iat")
        && given("cnf").is_none()
}

/// No hint repeats a part of the line that carries a token.
fn tells_no_secret(line: &[u8]) {
    const PART: usize = 12;
    let hint = JUDGE.judge.hint(line, NOW).unwrap_or_default();
    assert!(hint.len() < 1000, "{hint}");
    let known: HashSet<&[u8]> = line.windows(PART).collect();
    for part in hint.as_bytes().windows(PART) {
        assert!(!known.contains(part), "{hint}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn noise_is_denied(token in vec(any::<u8>(), 0..200), now in any::<u64>()) {
        prop_assert!(!JUDGE.allows(&token, now));
    }

    #[test]
    fn nearly_a_token_is_denied(token in "[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,40}\\.[A-Za-z0-9_-]{0,90}") {
        prop_assert!(!JUDGE.allows(token.as_bytes(), NOW));
    }

    #[test]
    fn a_changed_token_is_denied(
        from in any::<proptest::sample::Index>(),
        bytes in 0_usize..8,
        new in vec(any::<u8>(), 0..8),
    ) {
        let good = JUDGE.good.as_bytes();
        let from = from.index(good.len());
        let changed = [&good[..from], &new, good.get(from + bytes..).unwrap_or_default()].concat();
        prop_assert_eq!(JUDGE.allows(&changed, NOW), changed == good);
        tells_no_secret(&[b"Bearer ", &changed[..]].concat());
    }

    #[test]
    fn a_hint_tells_no_secret(
        start in "|Bearer |bearer: |Bearer Bearer |Basic |Token |JWT |Bearer \\{\"|Bearer \\$|eyJ",
        secret in "[A-Za-z0-9+/=._~,:{}\" -]{16,300}",
    ) {
        tells_no_secret(format!("{start}{secret}").as_bytes());
    }

    #[test]
    fn a_signed_token_is_judged_by_its_claims(claims in claims()) {
        let token = JUDGE.key.token(&Value::Object(claims.clone())).unwrap();
        prop_assert_eq!(JUDGE.allows(token.as_bytes(), NOW), should_be_allowed(&claims));
    }

    #[test]
    fn a_header_is_read_completely_or_not_at_all(members in btree_map("alg|kid|typ|cty|crit|b64|jwk|x", any_json(), 0..5)) {
        let mut header = JUDGE.key.header();
        header.as_object_mut().unwrap().extend(members.clone());
        let claims = json!({"iss": ISSUER, "aud": "api", "exp": NOW + 60}).to_string();
        let token = JUDGE.key.sign(&header.to_string(), &claims).unwrap();
        let is = |name: &str, fits: fn(&Value) -> bool| members.get(name).is_none_or(fits);
        // An empty `kid` counts as absent, as the cases define.
        // `typ` and `cty` may be any text that names no other kind of token.
        let text = |value: &Value| value.is_null() || value.is_string();
        let unchanged = |name| !members.contains_key(name);
        let expected = unchanged("alg") && unchanged("crit") && unchanged("b64")
            && is("kid", |kid| kid.is_null() || kid == "") && is("typ", text) && is("cty", text);
        prop_assert_eq!(JUDGE.allows(token.as_bytes(), NOW), expected);
    }

    #[test]
    fn a_key_set_keeps_its_good_key(others in vec(any_json(), 0..20), place in any::<proptest::sample::Index>()) {
        let mut keys = others;
        keys.insert(place.index(keys.len() + 1), JUDGE.key.jwk());
        let set = KeySet::from_json(json!({"keys": keys}).to_string().as_bytes()).unwrap();
        prop_assert!(set.iter().any(|key| key.kid() == Some("property")));
        prop_assert_eq!(set.len() + set.unfit().len(), keys.len());
    }

    #[test]
    fn any_document_is_a_key_set_or_not(document in any_json()) {
        prop_assert!(KeySet::from_json(document.to_string().as_bytes()).is_err());
    }

    #[test]
    fn claim_paths_are_read_as_they_are_written(names in vec("[^\\x00]{1,6}", 1..4)) {
        let escaped = names.iter().map(|name| name.replace('~', "~0").replace('/', "~1"));
        let pointer = escaped.fold(String::new(), |pointer, name| pointer + "/" + &name);
        let path: ClaimPath = pointer.parse().unwrap();
        prop_assert_eq!(path.to_string().parse::<ClaimPath>().unwrap(), path);
    }

    #[test]
    fn shown_text_is_short_and_printable(text in any::<String>()) {
        let shown = Escaped::from(text.as_str()).to_string();
        prop_assert!(!shown.chars().any(char::is_control));
        prop_assert!(shown.chars().count() <= 120 * 10 + 1);
    }
}
