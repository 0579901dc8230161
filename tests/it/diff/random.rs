//! Random configurations, random changes of them, and random requests in the same words.

use claimgate::config::Config;
use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::NOW;

const HOSTS: [&str; 3] = ["a.example.com", "*.example.org", "*.b.example.org"];
const METHODS: [&str; 3] = ["GET", "POST", "PUT"];
const SCOPES: [&str; 3] = ["r", "w", "x"];
// One value that reads as the other two: only a comparison by value tells them apart.
const ROLES: [&str; 3] = ["admin", "admin or user", "user"];
const ENVS: [&str; 3] = ["dev", "dev or test", "test"];
const CONDITIONS: [&str; 12] = [
    "claims.level >= 3",
    "claims.level > 3",
    "claims.staff",
    "has(claims.staff) && claims.staff",
    "'ops' in claims.groups",
    "'dev' in claims.groups || claims.level == 1",
    "claims.groups.exists(g, g == 'ops')",
    "source.address == '10.0.0.1'",
    "cidr('10.0.0.0/8').containsIP(source.address)",
    "request.headers['x-env'] == 'dev'",
    "request.method != 'PUT' && claims.level >= 2",
    "request.path.startsWith('/a/b') || claims.role == 'admin'",
];

fn paths(random: &mut Rng) -> Value {
    match random.usize(..9) {
        0 => json!({"exact": "/a"}),
        1 => json!({"exact": "/a/b"}),
        2 => json!({"prefix": "/a"}),
        3 => json!({"prefix": "/a/b"}),
        4 => json!({"prefix": "/b"}),
        5 => json!({"regex": "/a/[0-9]+"}),
        6 => json!({"regex": "/a/[0-9]{2,}"}),
        7 => json!({"regex": "/(a|b)/x(/.*)?"}),
        _ => json!({"exact": ["/b", "/c"], "prefix": "/b/c"}),
    }
}

fn some<T: Copy + Into<Value>>(random: &mut Rng, of: &[T]) -> Value {
    let count = random.usize(1..=2);
    let mut of = of.to_vec();
    random.shuffle(&mut of);
    of.into_iter().take(count).map(Into::into).collect()
}

fn matcher(random: &mut Rng) -> Value {
    let mut own = Map::new();
    own.insert("path".into(), paths(random));
    if random.usize(..4) == 0 {
        own.insert("hosts".into(), some(random, &HOSTS));
    }
    if random.usize(..3) == 0 {
        own.insert("methods".into(), some(random, &METHODS));
    }
    if random.usize(..5) == 0 {
        own.insert("headers".into(), json!({"x-env": some(random, &ENVS)}));
    }
    own.into()
}

/// Sets one field of a rule.
fn set(rule: &mut Map<String, Value>, random: &mut Rng) {
    const OF_TOKENS: [&str; 5] = ["scopes", "any_scope", "claims", "providers", "condition"];
    match random.usize(..9) {
        0 => {
            rule.insert("match".into(), matcher(random));
        }
        1 => {
            for field in OF_TOKENS {
                rule.remove(field);
            }
            let access = ["public", "deny"][random.usize(..2)];
            rule.insert("access".into(), access.into());
        }
        2 => {
            let access = ["required", "optional"][random.usize(..2)];
            rule.insert("access".into(), access.into());
        }
        other => {
            // A public rule takes no requirement.
            if rule
                .get("access")
                .is_some_and(|own| own == "public" || own == "deny")
            {
                rule.remove("access");
            }
            let (field, value) = match other {
                3 => ("scopes", some(random, &SCOPES)),
                4 => ("any_scope", some(random, &SCOPES)),
                5 => ("claims", json!({"role": some(random, &ROLES)})),
                6 => ("providers", some(random, &["acme", "beta"])),
                7 => ("enforce", random.bool().into()),
                _ => (
                    "condition",
                    CONDITIONS[random.usize(..CONDITIONS.len())].into(),
                ),
            };
            match random.usize(..4) {
                0 => rule.remove(field),
                _ => rule.insert(field.into(), value),
            };
        }
    }
}

fn rule(random: &mut Rng, name: &str) -> Value {
    let mut own = Map::new();
    own.insert("name".into(), name.into());
    own.insert("match".into(), matcher(random));
    for _ in 0..random.usize(..3) {
        set(&mut own, random);
    }
    own.into()
}

fn provider(name: &str, random: &mut Rng) -> Value {
    let mut own = Map::new();
    own.insert("name".into(), name.into());
    own.insert(
        "issuer".into(),
        format!("https://{name}.example.com").into(),
    );
    own.insert("audiences".into(), json!(["api"]));
    if random.usize(..4) == 0 {
        own.insert("clock_skew".into(), "30s".into());
    }
    own.into()
}

fn configuration(random: &mut Rng) -> Value {
    let rules = 1 + random.usize(..4);
    let rules: Vec<Value> = (0..rules)
        .map(|at| rule(random, &format!("r{at}")))
        .collect();
    json!({
        "providers": [provider("acme", random), provider("beta", random)],
        "rules": rules,
    })
}

fn change(config: &mut Value, random: &mut Rng) {
    let kind = random.usize(..12);
    if kind >= 9 {
        let providers = config["providers"].as_array_mut().unwrap();
        let at = random.usize(..providers.len());
        let own = providers[at].as_object_mut().unwrap();
        match random.usize(..5) {
            0 => own.insert("audiences".into(), some(random, &["api", "web", "cli"])),
            1 => own.insert("clock_skew".into(), "50s".into()),
            2 => own.insert("max_lifetime".into(), "5m".into()),
            3 => own.insert("required_claims".into(), json!({"ver": "2"})),
            _ => own.insert("enforce".into(), false.into()),
        };
        return;
    }
    let rules = config["rules"].as_array_mut().unwrap();
    let at = random.usize(..rules.len());
    match kind {
        0 if rules.len() > 1 => {
            rules.remove(at);
        }
        1 => {
            let name = format!("new{}", random.usize(..100));
            rules.insert(at, rule(random, &name));
        }
        2 if rules.len() > 1 => {
            let other = random.usize(..rules.len());
            rules.swap(at, other);
        }
        3 => {
            config["enforce"] = random.bool().into();
        }
        _ => set(rules[at].as_object_mut().unwrap(), random),
    }
}

/// Two valid configurations as YAML: the second is the first one after some changes, or in one of ten
/// cases the same in other words.
pub fn pair(seed: u64) -> (String, String) {
    let (old, new) = pair_of_values(seed);
    (old.to_string(), in_other_words(&new))
}

/// JSON is YAML too.
fn in_other_words(config: &Value) -> String {
    format!("# Changed.\n{config:#}")
}

/// The same as values.
pub fn pair_of_values(seed: u64) -> (Value, Value) {
    let mut random = Rng::with_seed(seed);
    loop {
        let old = configuration(&mut random);
        let mut new = old.clone();
        if !seed.is_multiple_of(10) {
            for _ in 0..random.usize(1..=3) {
                change(&mut new, &mut random);
            }
        }
        let is_valid = |config: &Value| Config::from_yaml(&config.to_string()).is_ok();
        if is_valid(&old) && is_valid(&new) {
            return (old, new);
        }
    }
}

/// Random requests, in the form of the examples.
pub fn requests(seed: u64) -> Vec<Value> {
    const PATHS: [&str; 12] = [
        "/", "/a", "/a/", "/a/b", "/a/b/c", "/a/1", "/a/12", "/a/x", "/b", "/b/c/d", "/b/x/y", "/c",
    ];
    let mut random = Rng::with_seed(seed + 1_000_000);
    let random = &mut random;
    let mut all = Vec::new();
    for _ in 0..40 {
        let hosts = [
            "a.example.com",
            "x.example.org",
            "x.b.example.org",
            "other.example.com",
        ];
        let mut request = json!({
            "method": METHODS[random.usize(..3)],
            "host": hosts[random.usize(..4)],
            "path": PATHS[random.usize(..PATHS.len())],
        });
        if random.usize(..3) == 0 {
            request["headers"] = json!({"x-env": ENVS[random.usize(..3)]});
        }
        if random.usize(..3) == 0 {
            let address = ["10.0.0.1", "10.1.2.3"][random.usize(..2)];
            request["source"] = json!({"address": address});
        }
        let token = match random.usize(..8) {
            0 => Value::Null,
            _ => token(random),
        };
        all.push(json!({"request": request, "token": token}));
    }
    all
}

fn token(random: &mut Rng) -> Value {
    let issuer = ["https://acme.example.com", "https://beta.example.com"][random.usize(..2)];
    let audience = ["api", "api", "web"][random.usize(..3)];
    let lifetime = [60, 290, 500][random.usize(..3)];
    let scopes = some(random, &SCOPES);
    let scopes = scopes.as_array().unwrap().iter();
    let scopes: Vec<&str> = scopes.map(|scope| scope.as_str().unwrap()).collect();
    let mut claims = json!({
        "iss": issuer,
        "aud": audience,
        "iat": NOW.as_secs(),
        "exp": NOW.as_secs() + lifetime,
        "scope": scopes.join(" "),
    });
    let add = |name: &str, value: Value, claims: &mut Value| claims[name] = value;
    if random.bool() {
        add("role", ROLES[random.usize(..3)].into(), &mut claims);
    }
    if random.bool() {
        add("level", random.u8(..5).into(), &mut claims);
    }
    if random.usize(..3) == 0 {
        add("staff", random.bool().into(), &mut claims);
    }
    if random.usize(..3) == 0 {
        let group = ["ops", "dev"][random.usize(..2)];
        add("groups", json!([group]), &mut claims);
    }
    if random.usize(..3) == 0 {
        add("ver", "2".into(), &mut claims);
    }
    json!({"alg": "ES256", "typ": "at+jwt", "claims": claims, "place": "`Authorization: Bearer` header"})
}
