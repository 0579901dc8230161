//! Documents that are partly good, or unusual.

use serde_json::{Value, json};

use super::{MAX_BYTES, Scene, jwk};
use crate::support::issuer::{DISCOVERY, JWKS, Reply};

pub struct Document {
    pub what: &'static str,
    pub publish: fn(&Scene),
    /// The keys whose tokens are accepted, and the key ids in these tokens.
    pub passes: &'static [(&'static str, &'static str)],
    pub fails: &'static [(&'static str, &'static str)],
}

const REAL: (&str, &str) = ("real", "real");
const HOSTILE: (&str, &str) = ("hostile", "hostile");

fn publish(scene: &Scene, keys: &[Value]) {
    scene
        .issuer
        .reply(JWKS, Reply::json(&json!({"keys": keys})));
}

/// A set with the real key and these members.
fn publish_text(scene: &Scene, text: &str) {
    let text = text.replace("REAL", &jwk("real", "real").to_string());
    scene.issuer.reply(JWKS, Reply::Http(200, vec![], text));
}

fn metadata(scene: &Scene, more: &str) {
    let url = scene.issuer.url();
    let text = format!(r#"{{"x":{more},"issuer":"{url}","jwks_uri":"{url}/moved"}}"#);
    scene
        .issuer
        .reply(DISCOVERY, Reply::Http(200, vec![], text));
    let keys = json!({"keys": [jwk("moved", "moved")]});
    scene.issuer.reply("/moved", Reply::json(&keys));
}

fn redirect(scene: &Scene, from: &str, to: &str) {
    let reply = Reply::status(302).header(&format!("location: {to}"));
    scene.issuer.reply(from, reply);
}

pub fn all() -> Vec<Document> {
    vec![
        // The document does not say which of the two is meant, so tokens of both are accepted.
        Document {
            what: "two keys with one id",
            publish: |scene| publish(scene, &[jwk("first", "twin"), jwk("second", "twin")]),
            passes: &[("first", "twin"), ("second", "twin")],
            fails: &[("third", "twin"), ("first", "first"), REAL],
        },
        Document {
            what: "five keys with one id",
            publish: |scene| {
                let keys = ["first", "second", "third", "fourth", "fifth"];
                publish(scene, &keys.map(|key| jwk(key, "twin")));
            },
            // Four of them are tried. The order of the document does not matter.
            passes: &[],
            fails: &[("sixth", "twin")],
        },
        Document {
            what: "a private key",
            publish: |scene| {
                let mut private = jwk("hostile", "hostile");
                private["d"] = "AAAA".into();
                publish(scene, &[private, jwk("real", "real")]);
            },
            passes: &[REAL],
            fails: &[HOSTILE],
        },
        Document {
            what: "a numeric kid",
            publish: |scene| publish(scene, &[jwk("hostile", 7), jwk("real", "real")]),
            passes: &[REAL],
            fails: &[("hostile", "7"), ("hostile", "real")],
        },
        Document {
            what: "keys that are not keys",
            publish: |scene| {
                publish(
                    scene,
                    &[
                        json!({"kty": "AKP", "alg": "ML-DSA-44", "kid": "future"}),
                        json!({"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA", "kid": "hostile"}),
                        json!({"kty": "oct", "k": "AAAA", "kid": "hostile"}),
                        json!("not even an object"),
                        json!([jwk("hostile", "hostile")]),
                        json!(null),
                        json!(1.5),
                        json!(true),
                        jwk("real", "real"),
                    ],
                );
            },
            passes: &[REAL],
            fails: &[HOSTILE],
        },
        Document {
            what: "as many bytes as allowed",
            publish: |scene| {
                let set = json!({"keys": [jwk("real", "real")]}).to_string();
                let spaces = " ".repeat(MAX_BYTES - set.len());
                publish_text(scene, &(set + &spaces));
            },
            passes: &[REAL],
            fails: &[HOSTILE],
        },
        Document {
            what: "a million numbers beside the keys",
            publish: |scene| {
                let numbers = "0,".repeat(1_000_000);
                publish_text(scene, &format!("{{\"x\":[{numbers}0],\"keys\":[REAL]}}"));
            },
            passes: &[REAL],
            fails: &[HOSTILE],
        },
        Document {
            what: "small objects in a key",
            publish: |scene| {
                let objects = format!("[{}0]", "{\"a\":0},".repeat(100_000));
                let members = format!("\"x5c\":{objects},\"key_ops\":{objects}");
                publish_text(scene, &format!("{{\"keys\":[{{{members}}},REAL]}}"));
            },
            passes: &[REAL],
            fails: &[HOSTILE],
        },
        Document {
            what: "a bottomless pit beside the keys",
            publish: |scene| {
                let (down, up) = ("[".repeat(500_000), "]".repeat(500_000));
                publish_text(scene, &format!("{{\"x\":{down}{up},\"keys\":[REAL]}}"));
            },
            passes: &[REAL],
            fails: &[HOSTILE],
        },
        // The last one counts (RFC 7517 §4).
        Document {
            what: "keys twice",
            publish: |scene| {
                let hostile = jwk("hostile", "hostile");
                publish_text(scene, &format!("{{\"keys\":[{hostile}],\"keys\":[REAL]}}"));
            },
            passes: &[REAL],
            fails: &[HOSTILE],
        },
        Document {
            what: "a kid twice",
            publish: |scene| {
                let key = jwk("real", "real")
                    .to_string()
                    .replacen('{', "{\"kid\":\"first\",", 1);
                publish_text(scene, &format!("{{\"keys\":[{key}]}}"));
            },
            passes: &[REAL],
            fails: &[("real", "first")],
        },
        Document {
            what: "a short chain of redirects",
            publish: |scene| {
                redirect(scene, JWKS, "/1");
                redirect(scene, "/1", "/2");
                redirect(scene, "/2", "/3");
                let keys = json!({"keys": [jwk("moved", "moved")]});
                scene.issuer.reply("/3", Reply::json(&keys));
            },
            passes: &[("moved", "moved")],
            fails: &[REAL],
        },
        Document {
            what: "a million numbers in the metadata",
            publish: |scene| metadata(scene, &format!("[{}0]", "0,".repeat(1_000_000))),
            passes: &[("moved", "moved")],
            fails: &[REAL],
        },
        Document {
            what: "a bottomless pit in the metadata",
            publish: |scene| {
                let (down, up) = ("[".repeat(500_000), "]".repeat(500_000));
                metadata(scene, &format!("{down}{up}"));
            },
            passes: &[("moved", "moved")],
            fails: &[REAL],
        },
        // The issuer's server decides where its keys are, and many keep them on another host.
        Document {
            what: "keys on another server",
            publish: |scene| {
                let (url, elsewhere) = (scene.issuer.url(), scene.elsewhere.url());
                let keys = format!("{elsewhere}{JWKS}");
                let metadata = json!({"issuer": url, "jwks_uri": keys});
                scene.issuer.reply(DISCOVERY, Reply::json(&metadata));
            },
            passes: &[HOSTILE],
            fails: &[REAL],
        },
    ]
}
