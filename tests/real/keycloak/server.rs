//! A real Keycloak, whose realms are made by its admin API.

use std::path::Path;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::OnceCell;

use crate::process::{Process, free_port, servers, watched};

/// The password of Keycloak's administrator, of every user, and the secret of every client.
pub const SECRET: &str = "secret";

/// The Keycloak of all tests that do not stop it. Each makes realms of its own.
static SHARED: OnceCell<Keycloak> = OnceCell::const_new();

pub struct Keycloak {
    port: u16,
    process: Process,
    _directory: TempDir,
}

impl Keycloak {
    pub async fn shared() -> &'static Self {
        SHARED
            .get_or_init(|| Self::start(&["start-dev"], &[], None))
            .await
    }

    /// Runs `kc.sh` with these arguments and variables, `{port}` being its port. `realm` is a file for
    /// `--import-realm`.
    pub async fn start(
        arguments: &[&str],
        environment: &[(String, String)],
        realm: Option<&Path>,
    ) -> Self {
        // A home of its own, with the files of the distribution.
        let directory = tempfile::tempdir().unwrap();
        for name in ["lib", "conf", "providers", "themes"] {
            let real = servers().join("bin/keycloak").join(name);
            std::os::unix::fs::symlink(real, directory.path().join(name)).unwrap();
        }
        let import = directory.path().join("data/import");
        std::fs::create_dir_all(&import).unwrap();
        if let Some(realm) = realm {
            std::fs::copy(realm, import.join("realm.json")).unwrap();
        }
        let port = free_port();
        // What `kc.sh` runs. That is a shell script, which cannot end Keycloak if it is killed.
        let mut command = watched("java", directory.path());
        command
            .args(["-Xmx512m", "-XX:TieredStopAtLevel=1", "-Dkc.home.dir=."])
            .arg("-Djava.util.logging.manager=org.jboss.logmanager.LogManager")
            .args(["-cp", "lib/quarkus-run.jar"])
            .arg("io.quarkus.bootstrap.runner.QuarkusEntryPoint")
            .args(arguments)
            .env("KC_BOOTSTRAP_ADMIN_USERNAME", "admin")
            .env("KC_BOOTSTRAP_ADMIN_PASSWORD", SECRET)
            .env("KC_DB", "dev-mem")
            .env("KC_HTTP_HOST", "127.0.0.1")
            .env("KC_HTTP_PORT", port.to_string());
        for (name, value) in environment {
            command.env(name, value.replace("{port}", &port.to_string()));
        }
        let process = Process::start_watched(&mut command, directory.path().join("keycloak.log"));
        let mut this = Self {
            port,
            process,
            _directory: directory,
        };
        let ready = format!("http://127.0.0.1:{port}/realms/master");
        this.process
            .becomes("Keycloak is ready", async || {
                let answer = reqwest::get(&ready).await;
                answer.is_ok_and(|answer| answer.status().is_success())
            })
            .await;
        this
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn issuer(&self, realm: &str) -> String {
        format!("http://127.0.0.1:{}/realms/{realm}", self.port)
    }

    pub async fn kill(&mut self) {
        self.process.kill().await;
    }

    /// Makes a realm, with everything in it.
    pub async fn create(&'static self, name: &'static str, realm: &Value) -> Realm {
        self.admin(Method::POST, "", Some(realm)).await;
        Realm {
            keycloak: self,
            name,
            issuer: self.issuer(name),
        }
    }

    /// What the admin API answers below `/admin/realms`.
    async fn admin(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let form: Form<'_> = &[
            ("grant_type", "password"),
            ("client_id", "admin-cli"),
            ("username", "admin"),
            ("password", SECRET),
        ];
        // It lives for a minute, so each request has its own.
        let url = format!("{}{TOKENS}", self.issuer("master"));
        let token = access(&token_request(&url, form, None).await);
        let url = format!("http://127.0.0.1:{}/admin/realms{path}", self.port);
        let mut request = Client::new().request(method, &url).bearer_auth(token);
        if let Some(body) = body {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        }
        let text = text_of(request).await;
        serde_json::from_str(&text).unwrap_or_default()
    }
}

/// A realm of the shared Keycloak.
pub struct Realm {
    keycloak: &'static Keycloak,
    name: &'static str,
    pub issuer: String,
}

impl Realm {
    /// Adds a key. Of the keys for an algorithm, that with the highest priority signs.
    pub async fn add_key(&self, kind: KeyKind, value: &str, priority: u8) {
        let (provider, option) = match kind {
            KeyKind::Rsa => ("rsa-generated", "algorithm"),
            KeyKind::Ec => ("ecdsa-generated", "ecdsaEllipticCurveKey"),
            KeyKind::Ed => ("eddsa-generated", "eddsaEllipticCurveKey"),
        };
        let mut config = json!({
            "priority": [priority.to_string()], "enabled": ["true"], "active": ["true"],
        });
        config[option] = json!([value]);
        let component = json!({
            "name": format!("{value}-{priority}"), "config": config,
            "providerId": provider, "providerType": "org.keycloak.keys.KeyProvider",
        });
        self.admin(Method::POST, "components", Some(&component))
            .await;
    }

    /// Takes a key out of the key set.
    pub async fn disable_key(&self, kid: &str) {
        let keys = self.admin(Method::GET, "keys", None).await;
        let keys = keys["keys"].as_array().unwrap();
        let key = keys.iter().find(|key| key["kid"] == kid).unwrap();
        let path = format!("components/{}", key["providerId"].as_str().unwrap());
        let mut component = self.admin(Method::GET, &path, None).await;
        component["config"]["enabled"] = json!(["false"]);
        component["config"]["active"] = json!(["false"]);
        self.admin(Method::PUT, &path, Some(&component)).await;
    }

    /// A token by which a client may register itself.
    pub async fn initial_access_token(&self) -> String {
        let asked = json!({ "count": 1, "expiration": 300 });
        let answer = self
            .admin(Method::POST, "clients-initial-access", Some(&asked))
            .await;
        answer["token"].as_str().unwrap().to_owned()
    }

    /// Gives a client a scope of its own, with these mappers.
    pub async fn add_scope(&self, client: &str, mappers: &[Value]) {
        let name = format!("{client}-audience");
        let scope =
            json!({ "name": name, "protocol": "openid-connect", "protocolMappers": mappers });
        self.admin(Method::POST, "client-scopes", Some(&scope))
            .await;
        let scopes = self.admin(Method::GET, "client-scopes", None).await;
        let scope = id_of(&scopes, "name", &name);
        let clients = self.admin(Method::GET, "clients", None).await;
        let client = id_of(&clients, "clientId", client);
        let path = format!("clients/{client}/default-client-scopes/{scope}");
        self.admin(Method::PUT, &path, None).await;
    }

    /// Registers a further client.
    pub async fn add_client(&self, client: &Value) {
        self.admin(Method::POST, "clients", Some(client)).await;
    }

    async fn admin(&self, method: Method, path: &str, body: Option<&Value>) -> Value {
        let path = format!("/{}/{path}", self.name);
        self.keycloak.admin(method, &path, body).await
    }

    /// The answer to a token request of this client.
    pub async fn tokens(&self, client: &str, form: Form<'_>) -> Value {
        tokens(&self.issuer, client, form, None).await
    }

    /// The answer when a user logs in at this client.
    pub async fn login(&self, client: &str, user: &str, scope: &str) -> Value {
        let form = [
            ("grant_type", "password"),
            ("username", user),
            ("password", SECRET),
            ("scope", scope),
        ];
        self.tokens(client, &form).await
    }

    /// The access token that a client gets for a user.
    pub async fn user_token(&self, client: &str, user: &str) -> String {
        access(&self.login(client, user, "profile").await)
    }

    /// The access token that a client gets for itself.
    pub async fn client_token(&self, client: &str) -> String {
        access(&self.tokens(client, CLIENT_CREDENTIALS).await)
    }

    /// A signed answer about the user of a token.
    pub async fn user_info(&self, token: &str) -> String {
        let url = format!("{}/protocol/openid-connect/userinfo", self.issuer);
        text_of(Client::new().get(url).bearer_auth(token)).await
    }
}

/// Fields of a token request.
pub type Form<'a> = &'a [(&'a str, &'a str)];

pub const CLIENT_CREDENTIALS: Form<'_> = &[("grant_type", "client_credentials")];

/// The token endpoint below the issuer.
pub const TOKENS: &str = "/protocol/openid-connect/token";

/// The kinds of keys that Keycloak generates.
#[derive(Clone, Copy)]
pub enum KeyKind {
    /// For an algorithm.
    Rsa,
    /// On a curve.
    Ec,
    /// On an Edwards curve.
    Ed,
}

/// Sends a client's token request to an issuer, perhaps with a `DPoP` proof.
pub async fn tokens(issuer: &str, client: &str, form: Form<'_>, proof: Option<&str>) -> Value {
    let mut form = form.to_vec();
    form.extend([("client_id", client), ("client_secret", SECRET)]);
    token_request(&format!("{issuer}{TOKENS}"), &form, proof).await
}

/// Sends a token request.
pub async fn token_request(url: &str, form: Form<'_>, proof: Option<&str>) -> Value {
    let mut encoded = url::form_urlencoded::Serializer::new(String::new());
    let mut request = Client::new()
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(encoded.extend_pairs(form).finish());
    if let Some(proof) = proof {
        request = request.header("DPoP", proof);
    }
    serde_json::from_str(&text_of(request).await).unwrap()
}

/// The body of a successful answer.
async fn text_of(request: reqwest::RequestBuilder) -> String {
    let answer = request.send().await.unwrap();
    let (status, url) = (answer.status(), answer.url().to_string());
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{url}: {status}: {text}");
    text
}

fn id_of(objects: &Value, field: &str, value: &str) -> String {
    let mut objects = objects.as_array().unwrap().iter();
    let found = objects.find(|object| object[field] == value).unwrap();
    found["id"].as_str().unwrap().to_owned()
}

/// The access token of a token answer.
pub fn access(answer: &Value) -> String {
    answer["access_token"].as_str().unwrap().to_owned()
}

/// A client that may ask for tokens of all kinds, with these attributes and mappers.
pub fn client(id: &str, attributes: &Value, mappers: &[Value]) -> Value {
    json!({
        "clientId": id, "secret": SECRET, "standardFlowEnabled": false,
        "directAccessGrantsEnabled": true, "serviceAccountsEnabled": true,
        "attributes": attributes, "protocolMappers": mappers,
    })
}

/// The mapper that makes `aud` name an API.
pub fn audience_mapper(api: &str, in_lightweight: bool) -> Value {
    json!({
        "name": "audience", "protocol": "openid-connect", "protocolMapper": "oidc-audience-mapper",
        "config": {
            "included.client.audience": api,
            "access.token.claim": "true",
            "lightweight.claim": in_lightweight.to_string(),
        },
    })
}

/// A user with these roles of the realm and of its clients, and no others. Its id is `REALM-NAME`.
pub fn user(realm: &str, name: &str, realm_roles: &Value, client_roles: &Value) -> Value {
    json!({
        "id": format!("{realm}-{name}"), "username": name, "enabled": true, "emailVerified": true,
        "email": format!("{name}@acme.example"), "firstName": name, "lastName": "Acme",
        "credentials": [{ "type": "password", "value": SECRET }],
        "realmRoles": realm_roles, "clientRoles": client_roles,
    })
}
