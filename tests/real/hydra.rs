//! Tokens of a real Ory Hydra, judged by deploy/providers/ory-hydra.yaml.

use reqwest::Client;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::guarded::{Guarded, part, provider};
use crate::keycloak::server::{Form, access, token_request};
use crate::process::{Process, free_port, server};

const FILE: &str = "deploy/providers/ory-hydra.yaml";
const SECRET: &str = "a secret of the tests";

struct Hydra {
    issuer: String,
    admin: String,
    process: Process,
    _directory: TempDir,
}

impl Hydra {
    async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (public, admin) = (free_port(), free_port());
        let issuer = format!("http://127.0.0.1:{public}");
        let host = "127.0.0.1";
        let configuration = json!({
            "dsn": "memory",
            "serve": { "public": { "host": host, "port": public }, "admin": { "host": host, "port": admin } },
            "urls": { "self": { "issuer": issuer } },
            "strategies": { "access_token": "jwt" },
            "secrets": { "system": [SECRET] },
        });
        let file = directory.path().join("hydra.json");
        std::fs::write(&file, configuration.to_string()).unwrap();
        let mut command = server("hydra");
        command
            .args(["serve", "all", "--dev", "--config"])
            .arg(&file)
            // It would tell its makers about this machine.
            .env("SQA_OPT_OUT", "true");
        let process = Process::start(&mut command, directory.path().join("hydra.log"));
        let mut this = Self {
            issuer: String::new(),
            admin: format!("http://127.0.0.1:{admin}"),
            process,
            _directory: directory,
        };
        let url = format!("{issuer}/.well-known/openid-configuration");
        this.process
            .becomes("Hydra answers", async || {
                let Ok(answer) = reqwest::get(&url).await else {
                    return false;
                };
                let metadata = answer.text().await.unwrap_or_default();
                let metadata: Value = serde_json::from_str(&metadata).unwrap_or_default();
                // As the file says: compare, because of the slash.
                metadata["issuer"]
                    .as_str()
                    .unwrap_or_default()
                    .clone_into(&mut this.issuer);
                !this.issuer.is_empty()
            })
            .await;
        this
    }

    async fn create(&self, what: &str, body: &Value) {
        let url = format!("{}/admin/{what}", self.admin);
        let answer = Client::new()
            .post(url)
            .header("content-type", "application/json")
            .body(body.to_string())
            .send()
            .await;
        let answer = answer.unwrap();
        assert!(answer.status().is_success(), "{what}: {answer:?}");
    }

    async fn token(&self, client: &str, more: Form<'_>) -> String {
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", client),
            ("client_secret", SECRET),
            ("scope", "orders:read orders:write"),
        ];
        form.extend(more);
        let url = format!("{}/oauth2/token", self.issuer.trim_end_matches('/'));
        access(&token_request(&url, &form, None).await)
    }
}

#[tokio::test]
#[ignore = "needs Ory Hydra: run `make test-real`"]
async fn tokens_of_hydra_are_judged_through_a_change_of_the_algorithm() {
    let hydra = Hydra::start().await;
    for (id, strategy) in [("basket", "jwt"), ("opaque", "opaque")] {
        let client = json!({
            "client_id": id, "client_secret": SECRET, "access_token_strategy": strategy,
            "grant_types": ["client_credentials"], "token_endpoint_auth_method": "client_secret_post",
            "audience": ["orders-api", "billing-api"], "scope": "orders:read orders:write",
        });
        hydra.create("clients", &client).await;
    }
    let api = Guarded::start(&provider(FILE, &hydra.issuer)).await;

    let ours: Form<'_> = &[("audience", "orders-api")];
    let first = hydra.token("basket", ours).await;
    let seen = api
        .passes("client credentials", "GET /orders", &first)
        .await;
    let expected = [
        ("x-auth-subject", json!("basket")),
        ("x-auth-client", json!("basket")),
        ("x-auth-scope", json!("orders:read orders:write")),
        ("x-auth-roles", Value::Null),
    ];
    for (header, value) in expected {
        assert_eq!(seen[header], value, "{header}");
    }

    let other = hydra.token("basket", &[("audience", "billing-api")]).await;
    let (signed, _) = first.rsplit_once('.').unwrap();
    let (_, signature) = other.rsplit_once('.').unwrap();
    let refused = [
        (
            "no audience",
            hydra.token("basket", &[]).await,
            "wrong_audience",
            "names no audience",
        ),
        (
            "for another API",
            other.clone(),
            "wrong_audience",
            "the token is for another API",
        ),
        (
            "with another's signature",
            format!("{signed}.{signature}"),
            "bad_signature",
            "changed or cut in transit",
        ),
        (
            "opaque",
            hydra.token("opaque", ours).await,
            "malformed_token",
            "an opaque token of Ory Hydra",
        ),
    ];
    for (what, token, reason, hint) in refused {
        api.refuses(what, &token, reason, hint).await;
    }

    // A second key, by the command in the file. Hydra signs with it from now on.
    let text = std::fs::read_to_string(crate::file(FILE)).unwrap();
    let (_, command) = text.split_once("`hydra ").unwrap();
    let (arguments, _) = command.split_once('`').unwrap();
    let created = server("hydra")
        .args(arguments.split(' '))
        .args(["--endpoint", &hydra.admin])
        .output()
        .await;
    let created = created.unwrap();
    assert!(created.status.success(), "{created:?}");
    let second = hydra.token("basket", ours).await;
    let algorithms = [&first, &second].map(|token| part(token, 0)["alg"].clone());
    assert_eq!(algorithms, ["RS256", "ES256"]);
    api.passes("the first token of the new key", "GET /orders", &second)
        .await;
    api.passes("a token of the old key", "GET /orders", &first)
        .await;
}
