//! Cached tokens are found again, and are never trusted longer than fresh ones.

use claimgate::dev::signer::Signer;
use claimgate::keyring::Algorithm::Es256;
use serde_json::{Value, json};

use crate::support::gate::{Gate, NOW};
use crate::support::keys::signer;

/// A gate that trusts these keys, from a file that may change.
struct Fixture {
    gate: Gate,
    file: tempfile::NamedTempFile,
}

impl Fixture {
    async fn start(keys: &[&Signer], more: &str) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        write(
            file.path(),
            &json!(keys.iter().map(|key| key.jwk()).collect::<Vec<_>>()),
        );
        let path = file.path().display();
        let gate = Gate::start(&format!(
            "providers: [{{ name: acme, issuer: https://idp.example.com, audiences: [api], \
             jwks: {{ file: {path} }} }}]\n{more}"
        ))
        .await;
        Self { gate, file }
    }

    async fn publish(&self, keys: &Value) {
        write(self.file.path(), keys);
        // Long enough for the change to be noticed.
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    }

    async fn status(&self, token: &str) -> i32 {
        self.gate.check(token).await.status()
    }

    /// The numbers of hits, misses, evictions and cached tokens.
    fn counts(&self) -> [String; 4] {
        ["hits_total", "misses_total", "evictions_total", "entries"]
            .map(|name| self.gate.metric(&format!("claimgate_token_cache_{name} ")))
    }
}

fn write(file: &std::path::Path, keys: &Value) {
    std::fs::write(file, json!({"keys": keys}).to_string()).unwrap();
}

fn token(key: &Signer, change: &Value) -> String {
    let mut claims =
        json!({"iss": "https://idp.example.com", "aud": "api", "sub": "alice", "exp": NOW + 600});
    claims
        .as_object_mut()
        .unwrap()
        .extend(change.as_object().unwrap().clone());
    key.token(&claims).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_token_is_verified_once() {
    let key = signer(Es256, "a");
    let fixture = Fixture::start(&[&key], "").await;
    let token = token(&key, &json!({}));
    for _ in 0..3 {
        assert_eq!(fixture.status(&token).await, 200);
    }
    assert_eq!(fixture.counts(), ["2", "1", "0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn cached_tokens_answer_the_same() {
    let key = signer(Es256, "a");
    let more = "upstream: { claim_headers: [{ header: x-auth-subject, claim: sub }], \
                payload_header: x-auth-claims, scope_header: x-auth-scope, forward_token: false }";
    let fixture = Fixture::start(&[&key], more).await;
    let token = token(&key, &json!({"scope": "read write"}));
    let first = fixture.gate.check(&token).await;
    let second = fixture.gate.check(&token).await;
    assert!(first.is_allow());
    assert_eq!(format!("{first:?}"), format!("{second:?}"));
    assert_eq!(fixture.counts()[0], "1");
}

#[tokio::test(start_paused = true)]
async fn a_cached_token_is_never_valid_longer() {
    let key = signer(Es256, "a");
    let fixture = Fixture::start(&[&key], "").await;
    let token = token(&key, &json!({"nbf": NOW, "iat": NOW}));
    for (now, expected) in [
        (NOW, 200),
        (NOW + 659, 200),
        (NOW + 660, 401),
        // The clock is corrected.
        (NOW - 60, 200),
        (NOW - 61, 401),
        (NOW, 200),
    ] {
        fixture.gate.clock.set(now);
        assert_eq!(fixture.status(&token).await, expected, "{now}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_key_invalidates_its_tokens() {
    let (a, b) = (signer(Es256, "a"), signer(Es256, "b"));
    let fixture = Fixture::start(&[&a, &b], "").await;
    let tokens = [token(&a, &json!({})), token(&b, &json!({}))];
    for token in &tokens {
        assert_eq!(fixture.status(token).await, 200);
        assert_eq!(fixture.status(token).await, 200);
    }
    fixture.publish(&json!([b.jwk()])).await;
    assert_eq!(fixture.status(&tokens[0]).await, 401);
    assert_eq!(fixture.status(&tokens[1]).await, 200);

    // The same id, another key.
    let mut other = signer(Es256, "another").jwk();
    other["kid"] = "b".into();
    fixture.publish(&json!([other])).await;
    assert_eq!(fixture.status(&tokens[1]).await, 401);

    // The key is back, but for another algorithm.
    fixture.publish(&json!([b.jwk()])).await;
    assert_eq!(fixture.status(&tokens[1]).await, 200);
    let mut encryption = b.jwk();
    encryption["use"] = "enc".into();
    fixture.publish(&json!([encryption, a.jwk()])).await;
    assert_eq!(fixture.status(&tokens[1]).await, 401);
}

#[tokio::test(start_paused = true)]
async fn only_the_exact_token_is_found() {
    let (a, stranger) = (signer(Es256, "a"), signer(Es256, "stranger"));
    let fixture = Fixture::start(&[&a], "").await;
    let good = token(&a, &json!({}));
    assert_eq!(fixture.status(&good).await, 200);
    let (signed, _) = good.rsplit_once('.').unwrap();
    let forged = stranger
        .sign(
            &a.header().to_string(),
            &json!({"iss": "https://idp.example.com"}).to_string(),
        )
        .unwrap();
    let (_, signature) = forged.rsplit_once('.').unwrap();
    for near in [
        format!("{signed}.{signature}"),
        good[..good.len() - 1].to_owned(),
        format!("{good}A"),
        good.to_lowercase(),
        format!("{good}="),
    ] {
        assert_eq!(fixture.status(&near).await, 401, "{near}");
    }
    assert_eq!(fixture.counts(), ["0", "6", "0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn bad_tokens_displace_no_good_one() {
    let (a, stranger) = (signer(Es256, "a"), signer(Es256, "stranger"));
    let fixture = Fixture::start(&[&a], "token_cache: { max_entries: 100 }").await;
    let good = token(&a, &json!({}));
    assert_eq!(fixture.status(&good).await, 200);
    for number in 0..1_000 {
        let header = a.header().to_string();
        let claims = json!({"iss": "https://idp.example.com", "aud": "api", "jti": number});
        let forged = stranger.sign(&header, &claims.to_string()).unwrap();
        assert_eq!(fixture.status(&forged).await, 401);
    }
    assert_eq!(fixture.status(&good).await, 200);
    assert_eq!(fixture.counts(), ["1", "1001", "0", "1"]);
}

#[tokio::test(start_paused = true)]
async fn it_is_bounded() {
    let key = signer(Es256, "a");
    for (bounds, most) in [
        ("max_entries: 64", 64),
        ("max_bytes: 64KiB", 64),
        ("max_entries: 0", 0),
    ] {
        let fixture = Fixture::start(&[&key], &format!("token_cache: {{ {bounds} }}")).await;
        for number in 0..300 {
            let token = token(&key, &json!({"jti": number, "pad": "x".repeat(700)}));
            assert_eq!(fixture.status(&token).await, 200);
        }
        let [hits, misses, evictions, entries] =
            fixture.counts().map(|count| count.parse::<u64>().unwrap());
        assert!(entries <= most, "{bounds}: {entries}");
        assert_eq!(hits, 0);
        match most {
            0 => assert_eq!((misses, evictions), (0, 0), "{bounds}"),
            _ => assert_eq!((misses, evictions), (300, 300 - entries), "{bounds}"),
        }
    }
}

/// The order in which a provider lists its keys changes no verdict, cached or fresh.
#[tokio::test(start_paused = true)]
async fn the_order_of_keys_does_not_matter() {
    let signers: Vec<_> = (0..5).map(|n| signer(Es256, &format!("s{n}"))).collect();
    let mut keys: Vec<Value> = signers.iter().map(|key| key.jwk()).collect();
    for key in &mut keys {
        key["kid"] = "same".into();
    }
    let claims = json!({"iss": "https://idp.example.com", "aud": "api", "exp": NOW + 600});
    let header = json!({"alg": "ES256", "kid": "same"}).to_string();
    let remembers = Fixture::start(&[], "").await;
    let forgets = Fixture::start(&[], "token_cache: { max_entries: 0 }").await;
    let mut verdicts = Vec::new();
    for _ in 0..5 {
        keys.rotate_left(1);
        for fixture in [&remembers, &forgets] {
            fixture.publish(&json!(keys)).await;
            for signer in &signers {
                let token = signer.sign(&header, &claims.to_string()).unwrap();
                verdicts.push(fixture.status(&token).await);
            }
        }
    }
    assert!(
        verdicts.chunks(5).all(|chunk| chunk == &verdicts[..5]),
        "{verdicts:?}"
    );
    assert_eq!(
        verdicts[..5]
            .iter()
            .filter(|status| **status == 200)
            .count(),
        4
    );
}

/// The accounted size of a token equals its memory, even for tokens made to be large.
#[test]
fn cached_tokens_take_the_accounted_memory() {
    let key = signer(Es256, "a");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let fixture = runtime.block_on(Fixture::start(&[&key], "token_cache: { max_bytes: 8MiB }"));
    for (what, pad) in [
        (
            "small objects",
            json!((0..700).map(|_| json!({"": 0})).collect::<Vec<_>>()),
        ),
        ("numbers", json!(vec![0; 2_900])),
        (
            "names",
            json!(
                (0..500)
                    .map(|n| (n.to_string(), json!(0)))
                    .collect::<serde_json::Map<_, _>>()
            ),
        ),
        ("text", json!("x".repeat(5_500))),
        (
            "the usual",
            json!({"realm_access": {"roles": ["a", "b"]}, "name": "Alice", "groups": ["c"]}),
        ),
    ] {
        let tokens: Vec<_> = (0..1_500)
            .map(|number| {
                token(
                    &key,
                    &json!({"jti": format!("{what} {number}"), "pad": pad}),
                )
            })
            .collect();
        let measured = allocation_counter::measure(|| {
            for token in &tokens {
                assert_eq!(runtime.block_on(fixture.status(token)), 200, "{what}");
            }
        });
        let entries: i64 = fixture.counts()[3].parse().unwrap();
        assert!(
            measured.bytes_current < 10 * 1024 * 1024,
            "{what}: {} bytes for {entries} tokens",
            measured.bytes_current
        );
    }
}

/// Keys, issuers and subjects that strangers invent do not stay in memory.
#[test]
fn refused_tokens_leave_nothing_behind() {
    let (key, stranger) = (signer(Es256, "a"), signer(Es256, "stranger"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let fixture = runtime.block_on(Fixture::start(&[&key], ""));
    let forged = |number: usize| {
        let issuer = [
            "https://idp.example.com".to_owned(),
            format!("https://{number}.example"),
        ];
        let header = json!({"alg": "ES256", "kid": format!("kid-{}", number / 2)}).to_string();
        let claims = json!({"iss": issuer[number % 2], "aud": "api", "sub": number.to_string(), "exp": NOW + 60});
        stranger.sign(&header, &claims.to_string()).unwrap()
    };
    let refused = |numbers: std::ops::Range<usize>| {
        for number in numbers {
            // 503 if no fetch has covered the key yet.
            let status = runtime.block_on(fixture.status(&forged(number)));
            assert!([401, 503].contains(&status), "{status}");
        }
    };
    // Buffers grow to the size that they need, and the last 1,024 denials are kept.
    refused(0..1_100);
    let measured = allocation_counter::measure(|| refused(1_100..4_000));
    assert!(
        measured.bytes_current < 16 * 1024,
        "{} bytes",
        measured.bytes_current
    );
}
