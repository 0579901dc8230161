//! Responses that arrive completely, but are still useless.

use serde_json::{Value, json};

use super::{Answer, either, keys, metadata, set, text};
use crate::hostile::{MEGABYTE, Scene, jwk};
use crate::support::issuer::Reply;

pub fn statuses() -> Vec<Answer> {
    vec![
        either("204", "answers 204", |_, _| Reply::status(204)),
        either("206", "answers 206", |_, _| Reply::Http(206, vec![], set())),
        // The client did not say that it has a copy.
        either("304", "answers 304", |_, _| Reply::status(304)),
        either("401", "answers 401", |_, _| Reply::Http(401, vec![], set())),
        either("500", "answers 500", |_, _| Reply::Http(500, vec![], set())),
    ]
}

pub fn no_text_of_a_set() -> Vec<Answer> {
    let array = "expected an array `keys`";
    vec![
        keys("nothing", "it is empty", |_, _| text("")),
        keys("a page", "it is a web page", |_, _| {
            text("<html>Sorry</html>")
        }),
        keys("half a set", "EOF", |_, _| text(&set()[..set().len() / 2])),
        keys("a set but for the end", "EOF", |_, _| {
            text(set().trim_end_matches('}'))
        }),
        keys("two sets", "trailing characters", |_, _| {
            text(set() + &set())
        }),
        keys("a list of sets", "it is a JSON array", |_, _| {
            text(format!("[{}]", set()))
        }),
        keys("a long text", "invalid type: string", |_, _| {
            text(json!("x".repeat(MEGABYTE)).to_string())
        }),
        keys("another document", "a JSON error, `maintenance`", |_, _| {
            text(r#"{"error":"maintenance"}"#)
        }),
        keys("a key that is not in a list", array, |_, _| {
            Reply::json(&json!({"keys": jwk("hostile", "hostile")}))
        }),
        keys("a bottomless pit", "it is a JSON array", |_, _| {
            text("[".repeat(MEGABYTE))
        }),
        keys("a pit for keys", "EOF while parsing", |_, _| {
            text("{\"keys\":".repeat(MEGABYTE / 8))
        }),
    ]
}

fn set_of(keys: &[Value]) -> Reply {
    Reply::json(&json!({"keys": keys}))
}

/// Keys as text, so that the test holds no tree of them either.
fn set_of_texts(keys: impl Iterator<Item = String>) -> Reply {
    let keys: Vec<_> = keys.collect();
    text(format!("{{\"keys\":[{}]}}", keys.join(",")))
}

pub fn no_usable_keys() -> Vec<Answer> {
    vec![
        keys("no keys", "empty", |_, _| set_of(&[])),
        keys("too many keys", "201 keys", |_, _| {
            set_of(&vec![jwk("hostile", "hostile"); 201])
        }),
        keys("10,000 keys", "10000 keys", |_, _| {
            let key = |kid: u32| jwk("hostile", kid.to_string()).to_string();
            set_of_texts((0..10_000).map(key))
        }),
        keys("a million numbers for keys", "1000000 keys", |_, _| {
            text(format!("{{\"keys\":[{}0]}}", "0,".repeat(999_999)))
        }),
        keys("small objects for keys", "250001 keys", |_, _| {
            let objects = "{\"a\":0},".repeat(250_000);
            text(format!("{{\"keys\":[{objects}0]}}"))
        }),
        keys("a private key", "private member `d`", |_, _| {
            let mut jwk = jwk("hostile", "hostile");
            jwk["d"] = "AAAA".into();
            set_of(&[jwk])
        }),
        keys("a symmetric key", "private member `k`", |_, _| {
            set_of(&[json!({"kty": "oct", "k": "AAAA", "kid": "hostile"})])
        }),
        keys("a numeric kid", "`kid` is not a string", |_, _| {
            set_of(&[jwk("hostile", 7)])
        }),
        keys("a pit for a kid", "`kid` is not a string", |_, _| {
            let half = MEGABYTE / 2;
            let pit = format!("\"kid\":{}{}", "[".repeat(half), "]".repeat(half));
            text(set().replace("\"kid\":\"hostile\"", &pit))
        }),
    ]
}

pub fn no_metadata() -> Vec<Answer> {
    /// The body with the addresses of both servers inserted.
    fn written(scene: &Scene, body: &str) -> Reply {
        let body = body.replace("SELF", &scene.issuer.url());
        text(body.replace("ELSEWHERE", &scene.elsewhere.url()))
    }
    fn keys_at(scene: &Scene, uri: &str) -> Reply {
        Reply::json(&json!({"issuer": scene.issuer.url(), "jwks_uri": uri}))
    }
    let none = "is not provider metadata";
    vec![
        metadata("no metadata", none, |_, _| text("")),
        metadata("a page for metadata", none, |_, _| text("<html>")),
        metadata("a pit for metadata", none, |_, _| {
            text("[".repeat(MEGABYTE))
        }),
        metadata("no issuer", "missing field `issuer`", |scene, _| {
            written(scene, r#"{"jwks_uri":"ELSEWHERE/jwks"}"#)
        }),
        metadata("two issuers", "duplicate field `issuer`", |scene, _| {
            let issuers = r#""issuer":"ELSEWHERE","issuer":"SELF""#;
            written(
                scene,
                &format!(r#"{{{issuers},"jwks_uri":"ELSEWHERE/jwks"}}"#),
            )
        }),
        metadata("another issuer", "is the metadata of issuer", |scene, _| {
            written(
                scene,
                r#"{"issuer":"ELSEWHERE","jwks_uri":"ELSEWHERE/jwks"}"#,
            )
        }),
        metadata("a slash more", "trailing slash", |scene, _| {
            written(scene, r#"{"issuer":"SELF/","jwks_uri":"ELSEWHERE/jwks"}"#)
        }),
        metadata("keys in plain text", "not https", |scene, _| {
            keys_at(scene, "http://idp.example.com/jwks")
        }),
        metadata("keys in a file", "scheme `file`", |scene, _| {
            keys_at(scene, "file:///etc/passwd")
        }),
        metadata("keys in the URL", "scheme `data`", |scene, _| {
            keys_at(scene, "data:application/json,{}")
        }),
        metadata("keys behind a password", "password", |scene, _| {
            let address = scene.elsewhere.address();
            keys_at(scene, &format!("http://x:y@{address}/jwks"))
        }),
        metadata("keys at no URL", "is not a URL", |scene, _| {
            keys_at(scene, "/jwks")
        }),
    ]
}
