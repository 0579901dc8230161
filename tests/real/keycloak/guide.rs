//! docs/guides/keycloak-roles.md, followed with a real Keycloak.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::server::{Keycloak, Realm, access, audience_mapper, client, user};
use super::{API, lightweight, realm};
use crate::command::claimgate;
use crate::examples::blocks;
use crate::guarded::{Guarded, part};

const GUIDE: &str = "docs/guides/keycloak-roles.md";
const REALM: &str = "guide";

/// A test of the guide's suite.
struct Case<'c> {
    name: &'c str,
    claims: &'c Value,
    is_refresh: bool,
    request: String,
    expect: &'c Value,
}

impl<'c> Case<'c> {
    fn new(case: &'c Value) -> Self {
        let request = &case["request"];
        Self {
            name: case["name"].as_str().unwrap(),
            claims: &case["token"]["claims"],
            is_refresh: case["token"]["claims"]["typ"] == "Refresh",
            request: format!(
                "{} {}",
                request["method"].as_str().unwrap_or("GET"),
                request["path"].as_str().unwrap()
            ),
            expect: &case["expect"],
        }
    }

    /// The client whose tokens have these claims.
    fn client(&self) -> &'static str {
        let claims = self.claims.as_object().unwrap();
        match (claims.get("aud"), claims.get("sub")) {
            (Some(Value::Null), Some(Value::Null)) => "light",
            (Some(audience), None) if audience == "account" => "unmapped",
            _ => "orders-web",
        }
    }

    /// A user with the roles in the claims. One without roles of the API has those that Keycloak gives to
    /// each user.
    fn user(&self, name: &str) -> Value {
        let realm_roles = match self.client() {
            "unmapped" => json!([format!("default-roles-{REALM}")]),
            _ => self.claims["realm_access"]["roles"].clone(),
        };
        let client_roles = self.client_roles();
        user(REALM, name, &or_empty(&realm_roles), &json!(client_roles))
    }

    fn client_roles(&self) -> BTreeMap<String, Value> {
        let clients = self.claims["resource_access"].as_object();
        let roles = |(client, access): (&String, &Value)| (client.clone(), access["roles"].clone());
        clients.into_iter().flatten().map(roles).collect()
    }
}

fn or_empty(roles: &Value) -> Value {
    match roles {
        Value::Null => json!([]),
        roles => roles.clone(),
    }
}

#[tokio::test]
#[ignore = "needs Keycloak: run `make test-real`"]
async fn the_guide_holds_with_keycloak() {
    let text = std::fs::read_to_string(crate::file(GUIDE)).unwrap();
    let blocks = blocks(&text);
    let block = |info: &str| {
        let found = blocks.iter().find(|(found, _)| found == info);
        &found.unwrap_or_else(|| panic!("no block {info}")).1
    };
    let suite = crate::documents(block("yaml title=claimgate.test.yaml")).remove(0);
    let cases: Vec<_> = suite["cases"]
        .as_array()
        .unwrap()
        .iter()
        .map(Case::new)
        .collect();
    let keycloak = make_realm(&cases).await;

    // Only the issuer differs from the guide.
    let mut configuration = crate::documents(block("yaml title=claimgate.yaml")).remove(0);
    configuration["providers"][0]["issuer"] = keycloak.issuer.as_str().into();
    let api = Guarded::start(&configuration).await;

    let token = keycloak.user_token("orders-web", "alice").await;
    let mut shown: Value = serde_json::from_str(block("json")).unwrap();
    shown["iss"] = keycloak.issuer.as_str().into();
    assert!(
        contains(&part(&token, 1), &shown),
        "{} is not in {}",
        shown,
        part(&token, 1)
    );

    for (number, case) in cases.iter().enumerate() {
        follow(&api, &keycloak, case, &format!("user-{number}")).await;
    }
    mappers_do_what_it_says(&api, &keycloak).await;
    the_command_explains(&api, &keycloak, &text, block("console")).await;
}

/// The realm of the guide, with a user for each test, and two users more.
async fn make_realm(cases: &[Case<'_>]) -> Realm {
    let mut wanted = BTreeMap::from([(API.to_owned(), BTreeSet::from(["editor".to_owned()]))]);
    for (client, roles) in cases.iter().flat_map(Case::client_roles) {
        let roles = roles.as_array().unwrap().iter();
        let roles = roles.map(|role| role.as_str().unwrap().to_owned());
        wanted.entry(client).or_default().extend(roles);
    }
    // Each realm has it, with its roles.
    wanted.remove("account");
    let roles = |names: &BTreeSet<String>| -> Vec<_> {
        names.iter().map(|name| json!({ "name": name })).collect()
    };
    let narrow = |id: &str| {
        let mut narrow = client(id, &json!({}), &[audience_mapper(API, false)]);
        narrow["fullScopeAllowed"] = false.into();
        narrow
    };
    let mut clients = vec![
        client("orders-web", &json!({}), &[]),
        client("unmapped", &json!({}), &[]),
        client("light", &lightweight(), &[audience_mapper(API, false)]),
        narrow("narrow"),
        narrow("narrow-with-editor"),
    ];
    let others = wanted.keys().filter(|name| *name != API);
    clients.extend(others.map(|name| client(name, &json!({}), &[])));
    let mut realm = realm(REALM, clients);
    realm["roles"]["client"] = wanted
        .iter()
        .map(|(id, names)| (id.clone(), json!(roles(names))))
        .collect();
    realm["clientScopeMappings"] =
        json!({ API: [{ "client": "narrow-with-editor", "roles": ["editor"] }] });
    let mut users = vec![
        user(
            REALM,
            "alice",
            &json!(["orders-admin", format!("default-roles-{REALM}")]),
            &json!({ API: ["editor"] }),
        ),
        user(REALM, "bob", &json!([]), &json!({})),
    ];
    users.extend(
        cases
            .iter()
            .enumerate()
            .map(|(number, case)| case.user(&format!("user-{number}"))),
    );
    realm["users"] = users.into();
    let keycloak = Keycloak::shared().await.create(REALM, &realm).await;
    keycloak
        .add_scope("orders-web", &[audience_mapper(API, false)])
        .await;
    keycloak
}

/// Sends the request of a test, with a real token.
async fn follow(api: &Guarded, keycloak: &Realm, case: &Case<'_>, user: &str) {
    let what = case.name;
    let tokens = keycloak.login(case.client(), user, "profile").await;
    let token = match case.is_refresh {
        true => tokens["refresh_token"].as_str().unwrap().to_owned(),
        false => access(&tokens),
    };
    let expect = case.expect;
    if expect["decision"] == "allow" {
        let seen = api.passes(what, &case.request, &token).await;
        let headers = expect["headers"].as_object().into_iter().flatten();
        for (header, value) in headers {
            assert_eq!(set(&seen[header]), set(value), "{what}: {header}");
        }
        if let Some(removed) = expect["removed"].as_str() {
            assert_eq!(seen[removed], Value::Null, "{what}: {removed}");
        }
        return;
    }
    let answer = api.ask(&case.request, &token).await;
    assert_eq!(answer.status, expect["status"], "{what}: {answer:?}");
    let why = api.why(&answer).await;
    assert_eq!(why.reason, expect["reason"], "{what}: {}", why.hint);
    if let Some(rule) = expect["rule"].as_str() {
        assert_eq!(why.rule, rule, "{what}");
    }
    for (header, value) in expect["headers"].as_object().into_iter().flatten() {
        let host = format!("realm=\"{}\"", api.address());
        let expected = value
            .as_str()
            .unwrap()
            .replace("realm=\"localhost\"", &host);
        assert_eq!(
            answer.header(header),
            Some(expected.as_str()),
            "{what}: {header}"
        );
    }
}

/// What the guide says about mappers and scopes.
async fn mappers_do_what_it_says(api: &Guarded, keycloak: &Realm) {
    let of = async |client: &str, user: &str| keycloak.user_token(client, user).await;
    let change = "POST /orders";
    let resolved = of("unmapped", "alice").await;
    api.passes("the audience of a role", change, &resolved)
        .await;
    let unresolved = of("unmapped", "bob").await;
    api.refuses(
        "no role and no mapper",
        &unresolved,
        "missing_claim",
        "audience mapper",
    )
    .await;
    let narrow = of("narrow", "alice").await;
    let answer = api.ask(change, &narrow).await;
    assert_eq!(api.why(&answer).await.reason, "access_denied", "{answer:?}");
    let mapped = of("narrow-with-editor", "alice").await;
    api.passes("a role in the scope mappings", change, &mapped)
        .await;
}

/// The command for the token of a real user prints what the guide shows of it.
async fn the_command_explains(api: &Guarded, keycloak: &Realm, guide: &str, console: &str) {
    let (_, after) = guide.split_once("`claimgate check ").unwrap();
    let (arguments, _) = after.split_once('`').unwrap();
    let arguments: Vec<_> = arguments.split_whitespace().collect();
    let token = keycloak.user_token("orders-web", "bob").await;
    std::fs::write(api.directory().join("token.txt"), token).unwrap();
    let mut command = claimgate(&["check"]);
    command.args(arguments).current_dir(api.directory());
    let printed = command.output().await.unwrap();
    let printed = String::from_utf8(printed.stdout).unwrap();
    let (_, shown) = console.split_once("FAIL  access_denied").unwrap();
    let bob_lacks = printed.lines().map(str::trim).collect::<Vec<_>>();
    let mut compared = 0;
    for line in shown.lines().skip(1).take(2).map(str::trim) {
        assert!(bob_lacks.contains(&line), "{line} is not in\n{printed}");
        compared += 1;
    }
    assert_eq!(compared, 2);
    assert!(printed.starts_with("DENY"), "{printed}");
}

/// Whether `part` is in `whole`: its members in an object, its items in an array.
fn contains(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(name, part)| whole.get(name).is_some_and(|whole| contains(whole, part))),
        (Value::Array(whole), Value::Array(part)) => part
            .iter()
            .all(|part| whole.iter().any(|whole| contains(whole, part))),
        _ => whole == part,
    }
}

fn set(header: &Value) -> BTreeSet<&str> {
    header.as_str().unwrap_or_default().split(',').collect()
}
