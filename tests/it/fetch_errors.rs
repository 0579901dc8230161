//! What operators read if keys cannot be fetched. The text is the same in the log, on `/readyz`,
//! from `check` and from `validate --online`, and says what to do.

use bytes::Bytes;
use claimgate::keyring::Algorithm::{Es256, Rs256};
use serde_json::json;
use tempfile::TempDir;

use crate::support::authority::{OwnAuthority, authority};
use crate::support::command::run;
use crate::support::gate::{Gate, provider};
use crate::support::issuer::{DISCOVERY, Issuer, JWKS, Part, Reply};
use crate::support::keys::signer;
use crate::support::log::Log;

/// A provider whose keys cannot be fetched.
struct Scene {
    issuer: Issuer,
    elsewhere: Issuer,
    directory: TempDir,
}

impl Scene {
    /// `text` with the addresses and files of the scene inserted.
    fn filled(&self, text: &str) -> String {
        text.replace("SELF", &self.issuer.url())
            .replace("PORT", &self.issuer.address().port().to_string())
            .replace("ELSEWHERE", &self.elsewhere.url())
            .replace("DIR", &self.directory.path().display().to_string())
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.directory.path().join(name), text).unwrap();
    }

    fn metadata(&self, issuer: &str, jwks_uri: &str) {
        let metadata = json!({
            "issuer": self.filled(issuer),
            "jwks_uri": self.filled(jwks_uri),
        });
        self.issuer.reply(DISCOVERY, Reply::json(&metadata));
    }

    fn keys(&self, reply: Reply) {
        self.issuer.reply(JWKS, reply);
    }
}

struct Row {
    what: &'static str,
    set: fn(&Scene),
    /// The provider's fields.
    provider: &'static str,
    /// What the text contains.
    says: &'static [&'static str],
    /// What the text does not contain.
    silent: &'static [&'static str],
}

const ACME: &str = "issuer: SELF";

fn text(body: &str) -> Reply {
    Reply::Http(200, vec![], body.to_owned())
}

const ROWS: &[Row] = &[
    Row {
        what: "the issuer's name inside, and its name outside",
        set: |scene| scene.metadata("https://idp.example.com/realms/acme", "SELF/jwks"),
        provider: ACME,
        says: &[
            "set `issuer: https://idp.example.com/realms/acme` with `discovery_url: \
                 SELF/.well-known/openid-configuration`",
        ],
        silent: &["issuer_aliases"],
    },
    Row {
        what: "a slash",
        set: |scene| scene.metadata("SELF/", "SELF/jwks"),
        provider: ACME,
        says: &["differ by a trailing slash; set `issuer: SELF/`"],
        silent: &["discovery_url"],
    },
    Row {
        what: "keys on localhost",
        set: |scene| {
            scene.metadata(
                "http://0.0.0.0:PORT",
                "http://localhost:8080/realms/a/certs?x",
            );
        },
        provider: "issuer: 'http://0.0.0.0:PORT', fetch: { allow_http: true }",
        says: &[
            "`http://localhost:8080/realms/a/certs?x` is on this machine",
            "`jwks.uri: http://0.0.0.0:PORT/realms/a/certs?x`",
            "`KC_HOSTNAME`",
        ],
        silent: &[],
    },
    Row {
        what: "a provider on localhost that is not there",
        set: |_| {},
        provider: "issuer: http://localhost:1/realms/acme",
        says: &[
            "in a container this address is the container itself",
            "`discovery_url`",
        ],
        silent: &[],
    },
    Row {
        what: "a name that does not exist",
        set: |_| {},
        provider: "issuer: https://idp.invalid",
        says: &[
            "cannot fetch `https://idp.invalid/.well-known/openid-configuration`: dns error: ",
            "this machine cannot resolve `idp.invalid`: check its spelling, DNS",
            "set `discovery_url`",
        ],
        silent: &["fetch.proxy"],
    },
    Row {
        what: "keys at a name that does not exist",
        set: |_| {},
        provider: "issuer: SELF, jwks: { uri: 'https://idp.invalid/jwks' }",
        says: &["cannot resolve `idp.invalid`", "set `jwks.uri`"],
        silent: &["discovery_url"],
    },
    Row {
        what: "no answer",
        set: |scene| scene.keys(Reply::Hang),
        provider: "issuer: SELF, fetch: { timeout: 100ms }",
        says: &["(`fetch.timeout`, 100ms)", "raise `fetch.timeout`"],
        silent: &["DNS"],
    },
    Row {
        what: "no answer to the end",
        set: |scene| {
            let head = "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n";
            let parts = vec![Part::Bytes(head.into()), Part::Silence];
            scene.keys(Reply::Raw(parts));
        },
        provider: "issuer: SELF, fetch: { timeout: 100ms }",
        says: &["(`fetch.timeout`, 100ms)"],
        silent: &[],
    },
    Row {
        what: "a connection that is closed",
        set: |scene| scene.keys(Reply::Raw(vec![])),
        provider: ACME,
        says: &["check egress rules and firewalls", "`fetch.proxy`"],
        silent: &["DNS"],
    },
    Row {
        what: "encryption alone",
        set: |scene| {
            let mut jwk = signer(Es256, "enc").jwk();
            jwk["use"] = "enc".into();
            scene.keys(Reply::json(&json!({"keys": [jwk]})));
        },
        provider: ACME,
        says: &["no usable key in the set: key `enc`: it is for encryption (`use: enc`)"],
        silent: &["DNS", "egress"],
    },
    Row {
        what: "a page for keys",
        set: |scene| scene.keys(text("\n<!DOCTYPE html>")),
        provider: ACME,
        says: &[
            "`SELF/jwks` is not a JWK Set (RFC 7517 §5): it is a web page (HTML or XML)",
            "probably a login page, an error page, or a proxy's",
            "set `jwks.uri` to one that answers with JSON",
        ],
        silent: &["line 1"],
    },
    Row {
        what: "a login page for keys",
        set: |scene| {
            scene.keys(Reply::status(302).header("location: /login"));
            scene.issuer.reply("/login", text("<html>"));
        },
        provider: ACME,
        says: &[
            "`SELF/jwks` (redirected to `SELF/login`) is not a JWK Set",
            "a web page",
        ],
        silent: &[],
    },
    Row {
        what: "gzip for keys",
        set: |scene| {
            let head = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n";
            let body = Bytes::from_static(b"\x1f\x8b\x08\0\0\0\0\0\0\x03");
            let parts = vec![Part::Bytes(head.into()), Part::Bytes(body)];
            scene.keys(Reply::Raw(parts));
        },
        provider: ACME,
        says: &["it is compressed (gzip), although that was not requested"],
        silent: &["line 1"],
    },
    Row {
        what: "metadata for keys",
        set: |scene| scene.metadata("SELF", "SELF/jwks"),
        provider: "issuer: SELF, jwks: { uri: 'SELF/.well-known/openid-configuration' }",
        says: &[
            "it is provider metadata, with `jwks_uri` `SELF/jwks`: set `jwks.uri: SELF/jwks`, or remove",
        ],
        silent: &[],
    },
    Row {
        what: "keys for metadata",
        set: |_| {},
        provider: "issuer: SELF, discovery_url: 'SELF/jwks'",
        says: &["it is a key set; set `jwks.uri: SELF/jwks` instead"],
        silent: &[],
    },
    Row {
        what: "a page for metadata",
        set: |scene| scene.issuer.reply(DISCOVERY, text("<html>")),
        provider: ACME,
        says: &[
            "openid-configuration` is not provider metadata: it is a web page",
            "set `discovery_url` to one",
        ],
        silent: &[],
    },
    Row {
        what: "a key file with PEM in it",
        set: |scene| scene.write("keys.pem", "-----BEGIN PUBLIC KEY-----"),
        provider: "issuer: SELF, jwks: { file: DIR/keys.pem }",
        says: &["`DIR/keys.pem` is not a JWK Set (RFC 7517 §5): it is certificates or keys in PEM"],
        silent: &[],
    },
    Row {
        what: "keys that are elsewhere",
        set: |scene| {
            let to = scene.filled("location: ELSEWHERE/jwks");
            scene.keys(Reply::status(302).header(&to));
        },
        provider: ACME,
        says: &[
            "`SELF/jwks` redirects to `ELSEWHERE/jwks`, another origin, which is not followed",
            "set `jwks.uri: ELSEWHERE/jwks`",
        ],
        silent: &[],
    },
    Row {
        what: "metadata that is elsewhere",
        set: |scene| {
            let to = scene.filled("location: ELSEWHERE/metadata");
            scene
                .issuer
                .reply(DISCOVERY, Reply::status(308).header(&to));
        },
        provider: ACME,
        says: &[
            "redirects to `ELSEWHERE/metadata`, another origin",
            "`discovery_url: ELSEWHERE/metadata`",
            "`jwks.uri`",
        ],
        silent: &[],
    },
    Row {
        what: "keys of the API server at an address of its own",
        set: |scene| {
            scene.write("token", "t0k3n");
            scene.metadata("SELF", "ELSEWHERE/openid/v1/jwks");
            scene.elsewhere.reply("/openid/v1/jwks", Reply::status(403));
        },
        provider: "issuer: SELF, fetch: { bearer_token_file: DIR/token }",
        says: &[
            "answers 403",
            "`fetch.bearer_token_file` is sent only to `SELF`",
            "set `jwks.uri: ELSEWHERE/openid/v1/jwks`",
        ],
        silent: &["t0k3n"],
    },
    Row {
        what: "a token that does not suffice",
        set: |scene| {
            scene.write("token", "t0k3n");
            scene.keys(Reply::status(403));
        },
        provider: "issuer: SELF, fetch: { bearer_token_file: DIR/token }",
        says: &["answers 403", "was sent, but is not sufficient"],
        silent: &["t0k3n", "alone"],
    },
    Row {
        what: "no token",
        set: |scene| scene.keys(Reply::status(401)),
        provider: ACME,
        says: &["answers 401", "set `fetch.bearer_token_file`"],
        silent: &[],
    },
    Row {
        what: "https to a port that speaks http",
        set: |_| {},
        provider: "issuer: 'https://127.0.0.1:PORT'",
        says: &["this port does not speak TLS"],
        silent: &["DNS"],
    },
    Row {
        what: "http to a port that wants https",
        set: |scene| scene.issuer.reply(DISCOVERY, Reply::status(400)),
        provider: ACME,
        says: &["answers 400", "`https://`"],
        silent: &[],
    },
    Row {
        what: "a certificate of a private authority",
        set: |scene| scene.issuer.present(Some(authority("127.0.0.1").1)),
        provider: "issuer: 'https://127.0.0.1:PORT'",
        says: &["UnknownIssuer", "set `fetch.ca_file`"],
        silent: &["egress"],
    },
    Row {
        what: "a certificate of another authority",
        set: |scene| {
            scene.issuer.present(Some(authority("127.0.0.1").1));
            scene.write("ca.pem", &authority("127.0.0.1").0);
        },
        provider: "issuer: 'https://127.0.0.1:PORT', fetch: { ca_file: DIR/ca.pem }",
        says: &[
            "invalid peer certificate",
            "no certificate in `fetch.ca_file` `DIR/ca.pem` has signed",
        ],
        silent: &[],
    },
    Row {
        what: "an authority's certificate that is not listed",
        set: |scene| {
            let server = OwnAuthority::new("127.0.0.1", |_| {});
            scene.issuer.present(Some(server.server()));
            scene.write("ca.pem", &authority("127.0.0.1").0);
        },
        provider: "issuer: 'https://127.0.0.1:PORT', fetch: { ca_file: DIR/ca.pem }",
        says: &[
            "`CA:TRUE`",
            "only if this exact certificate is in `fetch.ca_file` `DIR/ca.pem`",
        ],
        silent: &[],
    },
    Row {
        what: "a certificate for another name",
        set: |scene| {
            let (pem, server) = authority("idp.example.com");
            scene.issuer.present(Some(server));
            scene.write("ca.pem", &pem);
        },
        provider: "issuer: 'https://127.0.0.1:PORT', fetch: { ca_file: DIR/ca.pem }",
        says: &["the host name in the URL must be one that the certificate covers"],
        silent: &[],
    },
    Row {
        what: "a broken certificate in a bundle",
        set: |scene| {
            let good = authority("127.0.0.1").0;
            let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
            scene.write("ca.pem", &format!("{good}{broken}{good}"));
        },
        provider: "issuer: SELF, fetch: { ca_file: DIR/ca.pem }",
        says: &["cannot use `fetch.ca_file` `DIR/ca.pem`: its certificate number 2 is broken"],
        silent: &[],
    },
    Row {
        what: "a certificate in a bundle that is no base64",
        set: |scene| {
            let good = authority("127.0.0.1").0;
            let broken = "-----BEGIN CERTIFICATE-----\n????\n-----END CERTIFICATE-----\n";
            scene.write("ca.pem", &format!("{good}{good}{broken}"));
        },
        provider: "issuer: SELF, fetch: { ca_file: DIR/ca.pem }",
        says: &["`DIR/ca.pem`: its certificate number 3 is broken"],
        silent: &[],
    },
    Row {
        what: "a bundle without certificates",
        set: |scene| {
            let key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
            scene.write("ca.pem", key);
        },
        provider: "issuer: SELF, fetch: { ca_file: DIR/ca.pem }",
        says: &["`DIR/ca.pem`: it contains no PEM certificate"],
        silent: &["BEGIN"],
    },
];

#[tokio::test]
async fn it_says_what_to_do() {
    let mut wrong = Vec::new();
    for row in ROWS {
        let Row {
            what,
            set,
            provider,
            says,
            silent,
        } = row;
        let scene = Scene {
            issuer: Issuer::start(&[&*signer(Es256, "real")]).await,
            elsewhere: Issuer::start(&[]).await,
            directory: tempfile::tempdir().unwrap(),
        };
        set(&scene);
        let provider = scene.filled(provider);
        let yaml = format!("providers: [{{ name: acme, audiences: [orders-api], {provider} }}]");
        let log = Log::start("info");
        let gate = Gate::start(&yaml).await;
        let error = loop {
            match gate.error() {
                Some(error) => break error,
                None => tokio::task::yield_now().await,
            }
        };
        for text in *says {
            let text = scene.filled(text);
            if !error.contains(&text) {
                wrong.push(format!("{what}: no {text:?} in: {error}"));
            }
        }
        for text in *silent {
            if error.contains(text) {
                wrong.push(format!("{what}: {text:?} in: {error}"));
            }
        }
        assert!(log.text().contains(&error), "{what}: {}", log.text());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The commands print what the service logs, and a denial's line does not guess otherwise.
#[tokio::test]
async fn the_commands_say_the_same() {
    let real = signer(Es256, "real");
    let issuer = Issuer::start(&[&real]).await;
    issuer.reply(JWKS, text("<html>"));
    let yaml = provider(&issuer, "acme", "");
    let claims = json!({"iss": issuer.url(), "aud": "orders-api", "exp": 4_102_444_800_u64});
    let token = real.token(&claims).unwrap();
    let error = {
        let gate = Gate::start(&yaml).await;
        issuer.asked_at_least(JWKS, 1).await;
        let error = loop {
            match gate.error() {
                Some(error) => break error,
                None => tokio::task::yield_now().await,
            }
        };
        let log = Log::start("info");
        assert_eq!(gate.check(&token).await.status(), 503);
        let lines = log.take();
        let denied = lines.iter().find(|line| line["message"] == "denied");
        assert_eq!(denied.unwrap()["hint"], error);
        error
    };
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("claimgate.yaml");
    std::fs::write(&file, yaml).unwrap();
    let file = file.to_str().unwrap();
    let validated = run(&["validate", file, "--online"], "").await;
    assert_eq!(validated.code, Some(1));
    let expected = format!("provider `acme`: {error}\n");
    assert!(validated.err.contains(&expected), "{}", validated.err);

    let check = ["check", "--config", file, "--token", "-"];
    let checked = run(&check, &token).await;
    assert_eq!(checked.code, Some(2), "{}", checked.out);
    assert!(checked.out.contains(&error), "{}", checked.out);
    assert!(!checked.out.contains("likely cause"), "{}", checked.out);

    // If nobody responds, the error says where to look.
    drop(issuer);
    let checked = run(&check, &token).await;
    assert_eq!(checked.code, Some(2), "{}", checked.out);
    assert!(checked.out.contains("in a container"), "{}", checked.out);
}

/// Keys that exist but are useless: `validate` and the log report them before the first token.
#[tokio::test]
async fn keys_that_verify_nothing() {
    let (rsa, ec) = (signer(Rs256, "rsa"), signer(Es256, "ec"));
    let nameless = |signer: &claimgate::dev::signer::Signer| {
        let mut jwk = signer.jwk();
        jwk.as_object_mut().unwrap().remove("kid");
        jwk
    };
    let misfit = "no key is for an algorithm that `algorithms` lists (ES256); the keys are for";
    let no_kid = "no key has a `kid`, so a token whose header names one is refused";
    for (keys, more, code, says) in [
        (vec![rsa.jwk(), ec.jwk()], "algorithms: [ES256]", 0, None),
        (vec![rsa.jwk()], "algorithms: [ES256]", 1, Some(misfit)),
        (vec![rsa.jwk()], "", 0, None),
        (vec![nameless(&rsa)], "", 0, Some(no_kid)),
        (vec![nameless(&rsa), ec.jwk()], "", 0, None),
        (vec![nameless(&rsa)], "algorithms: [ES256]", 1, Some(misfit)),
    ] {
        let issuer = Issuer::start(&[]).await;
        issuer.reply(JWKS, Reply::json(&json!({"keys": keys})));
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("claimgate.yaml");
        std::fs::write(&file, provider(&issuer, "acme", more)).unwrap();
        let arguments = ["validate", file.to_str().unwrap(), "--online"];
        let validated = run(&arguments, "").await;
        let said = format!("{}{}", validated.out, validated.err);
        assert_eq!(validated.code, Some(code), "{said}");

        let log = Log::start("info");
        let _gate = Gate::trusting(&issuer, more).await;
        for (where_, text) in [("validate", said), ("log", log.text())] {
            for known in [misfit, no_kid] {
                if Some(known) == says {
                    assert!(text.contains(known), "{where_}: {text}");
                } else if says.is_none() {
                    assert!(!text.contains(known), "{where_}: {text}");
                }
            }
        }
    }
}
