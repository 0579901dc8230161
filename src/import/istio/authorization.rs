//! Rules of an `AuthorizationPolicy`. Each `to` of each rule is a piece.

use super::identity::{account, namespace, peer, trust_domain};
use super::mesh::Mesh;
use super::policy::Policy;
use crate::import::decide::Piece;
use crate::import::model::{Kind, Note};
use crate::import::predicate::{Claim, Header, Predicate, Shape, Test, Text, spelling};
use crate::import::source::{Reader, Value};

/// The pieces of a policy. Their predicates are exact, apart from [`Predicate::Unknown`].
pub(super) fn read(policy: &Policy<'_>, context: &Context<'_>) -> Vec<Piece> {
    policy.spec.ignore(&["provider"]);
    let mut pieces = Vec::new();
    for (index, rule) in policy.spec.list("rules").iter().enumerate() {
        let mut own = Vec::new();
        let principal = context.principal(rule, &mut own);
        let operations: Vec<(Predicate, Vec<Note>)> = rule
            .list("to")
            .iter()
            .map(|to| {
                let mut notes = Vec::new();
                let operation = to.get("operation");
                let operation =
                    operation.map_or(Predicate::True, |it| operation_of(&it, &mut notes));
                (Predicate::all([operation, finished(to, &mut notes)]), notes)
            })
            .collect();
        let whole = finished(rule, &mut own);
        let operations = match operations.is_empty() {
            true => vec![(Predicate::True, Vec::new())],
            false => operations,
        };
        for (at, (operation, mut notes)) in operations.into_iter().enumerate() {
            if at == 0 {
                notes.splice(0..0, own.drain(..));
            }
            let name = match at {
                0 => format!("{}-{index}", policy.name.name),
                _ => format!("{}-{index}-{at}", policy.name.name),
            };
            pieces.push(Piece {
                name,
                place: rule.place(),
                predicate: Predicate::all([operation, principal.clone(), whole.clone()]),
                notes,
            });
        }
    }
    pieces
}

/// Ends reading. A field that nobody knows, or a value of the wrong type, may restrict what it stands beside.
fn finished(reader: &Reader<'_>, notes: &mut Vec<Note>) -> Predicate {
    let is_null = matches!(reader.node.value, Value::Null);
    if is_null {
        notes.push(reader.note(Kind::LeftOut, "expected a mapping, found nothing"));
    }
    match reader.finish(notes) && !is_null {
        true => Predicate::True,
        false => Predicate::Unknown,
    }
}

/// `values` and `notValues` of one kind.
fn listed(
    reader: &Reader<'_>,
    name: &'static str,
    negated: &'static str,
    notes: &mut Vec<Note>,
    mut of: impl FnMut(&str) -> Predicate,
) -> Predicate {
    let own = any_of(reader, name, notes, &mut of);
    let not = any_of(reader, negated, notes, &mut of).map(Predicate::negated);
    Predicate::all([own, not].into_iter().flatten())
}

/// One of the values in a list. An empty list says nothing.
fn any_of(
    reader: &Reader<'_>,
    name: &'static str,
    notes: &mut Vec<Note>,
    mut of: impl FnMut(&str) -> Predicate,
) -> Option<Predicate> {
    let mut any = Vec::new();
    for value in reader.list(name) {
        let Some(text) = value.as_text(notes) else {
            any.push(Predicate::Unknown);
            continue;
        };
        let predicate = of(&text);
        let is_none = match &predicate {
            Predicate::Unknown => true,
            Predicate::Between(lower, _) => **lower == Predicate::False,
            _ => false,
        };
        if is_none {
            notes.push(value.note(Kind::LeftOut, format!("claimgate has no test for `{text}`")));
        }
        any.push(predicate);
    }
    (!any.is_empty()).then(|| Predicate::any(any))
}

/// A part that has no test in claimgate at all.
fn unknown(
    reader: &Reader<'_>,
    names: [&'static str; 2],
    why: &str,
    notes: &mut Vec<Note>,
) -> Predicate {
    let found: Vec<Reader<'_>> = names.iter().filter_map(|name| reader.get(name)).collect();
    for field in &found {
        notes.push(field.note(Kind::LeftOut, why));
    }
    match found.is_empty() {
        true => Predicate::True,
        // Both may be there, and each restricts.
        false => Predicate::Unknown,
    }
}

/// `*`, `prefix*`, `*suffix`, or the text.
pub(super) fn pattern(value: &str) -> Text {
    match (value, value.strip_prefix('*'), value.strip_suffix('*')) {
        ("*", ..) => Text::Present,
        (_, Some(suffix), _) => Text::Suffix(suffix.to_owned()),
        (_, None, Some(prefix)) => Text::Prefix(prefix.to_owned()),
        _ => Text::Exact(value.to_owned()),
    }
}

fn operation_of(reader: &Reader<'_>, notes: &mut Vec<Note>) -> Predicate {
    let hosts = hosts_of(reader, notes);
    let methods = listed(
        reader,
        "methods",
        "notMethods",
        notes,
        |value| match pattern(value) {
            Text::Present => Predicate::True,
            text => Predicate::Test(Test::Method(text)),
        },
    );
    let paths = listed(reader, "paths", "notPaths", notes, |value| {
        match value.contains("{*}") || value.contains("{**}") {
            true => spelling::template(value),
            false => spelling::path(&pattern(value)),
        }
    });
    let why = "claimgate is not told the port of the listener";
    let ports = unknown(reader, ["ports", "notPorts"], why, notes);
    Predicate::all([hosts, methods, paths, ports, finished(reader, notes)])
}

/// `hosts` and `notHosts`, compared without case. claimgate knows no ports.
fn hosts_of(reader: &Reader<'_>, notes: &mut Vec<Note>) -> Predicate {
    let given = |name: &'static str| {
        let elements = reader.list(name);
        let texts = elements.iter().filter_map(|element| element.node.text());
        texts.map(str::to_ascii_lowercase).collect::<Vec<String>>()
    };
    let [own, not] = ["hosts", "notHosts"].map(given);
    let has_ports = |all: &[String]| {
        all.iter()
            .any(|value| matches!(host(value, all), Predicate::Between(..)))
    };
    let has_ports = has_ports(&own) || has_ports(&not);
    let own = any_of(reader, "hosts", notes, |value| host(value, &own));
    let not = any_of(reader, "notHosts", notes, |value| match host(value, &not) {
        // Here a name without a port does not stand for each of its ports.
        test @ Predicate::Test(_) if has_ports => Predicate::between(Predicate::False, test),
        other => other,
    });
    Predicate::all([own, not.map(Predicate::negated)].into_iter().flatten())
}

/// A host among others in a list. `api.example.com:*` beside `api.example.com` says nothing more, and alone it has
/// no equivalent.
fn host(value: &str, all: &[String]) -> Predicate {
    let value = value.to_ascii_lowercase();
    let is_said = value
        .rsplit_once(':')
        .is_some_and(|(name, _)| all.iter().any(|other| other == name));
    match pattern(&value) {
        _ if is_said => Predicate::False,
        Text::Present => Predicate::True,
        text => match Predicate::Test(Test::Host(text)) {
            test if test.lower() == Predicate::False => Predicate::between(Predicate::False, test),
            test => test,
        },
    }
}

/// What the rules of a policy depend on.
pub(super) struct Context<'c> {
    /// The policy's.
    namespace: &'c str,
    /// Claims whose texts are words between spaces.
    words: &'c [String],
    mesh: &'c Mesh<'c>,
}

impl<'c> Context<'c> {
    pub(super) fn of(policy: &'c Policy<'_>, words: &'c [String], mesh: &'c Mesh<'_>) -> Self {
        Self {
            namespace: &policy.name.namespace,
            words,
            mesh,
        }
    }

    /// `from` and `when`: one of the sources, and all of the conditions.
    fn principal(&self, rule: &Reader<'_>, notes: &mut Vec<Note>) -> Predicate {
        let mut sources = Vec::new();
        for from in rule.list("from") {
            let source = from.get("source");
            let source = source.map_or(Predicate::True, |source| self.source(&source, notes));
            sources.push(Predicate::all([source, finished(&from, notes)]));
        }
        let mut all = Vec::new();
        if !sources.is_empty() {
            all.push(Predicate::any(sources));
        }
        for when in rule.list("when") {
            let key = when.text("key", notes).unwrap_or_default();
            all.push(self.condition(&when, &key, notes));
            all.push(finished(&when, notes));
        }
        Predicate::all(all)
    }

    fn source(&self, source: &Reader<'_>, notes: &mut Vec<Note>) -> Predicate {
        let principals = listed(source, "principals", "notPrincipals", notes, |value| {
            peer(value, self.mesh)
        });
        let request = listed(
            source,
            "requestPrincipals",
            "notRequestPrincipals",
            notes,
            request_principal,
        );
        let namespaces = listed(source, "namespaces", "notNamespaces", notes, namespace);
        let accounts = listed(
            source,
            "serviceAccounts",
            "notServiceAccounts",
            notes,
            |value| account(value, self.namespace),
        );
        let domains = listed(source, "trustDomains", "notTrustDomains", notes, |value| {
            trust_domain(value, self.mesh)
        });
        let addresses = listed(source, "ipBlocks", "notIpBlocks", notes, address);
        let remote = unknown(
            source,
            ["remoteIpBlocks", "notRemoteIpBlocks"],
            CLIENT_ADDRESS,
            notes,
        );
        let rest = finished(source, notes);
        Predicate::all([
            principals, request, namespaces, accounts, domains, addresses, remote, rest,
        ])
    }

    fn condition(&self, when: &Reader<'_>, key: &str, notes: &mut Vec<Note>) -> Predicate {
        let mut of =
            |test: &dyn Fn(&str) -> Predicate| listed(when, "values", "notValues", notes, test);
        let claim = |names: &[String]| {
            let names = names.to_vec();
            let shape = match names.as_slice() {
                [name] if self.is_words(name) => Shape::Words,
                _ => Shape::TextOrList,
            };
            move |value: &str| {
                Predicate::Test(Test::Claim(Claim {
                    names: names.clone(),
                    values: vec![pattern(value)],
                    shape,
                }))
            }
        };
        match key {
            "source.ip" => of(&address),
            "source.namespace" => of(&namespace),
            "source.trustDomain" => of(&|value| trust_domain(value, self.mesh)),
            "source.principal" => of(&|value| peer(value, self.mesh)),
            "source.serviceAccount" => of(&|value| account(value, self.namespace)),
            "request.auth.principal" => of(&request_principal),
            "request.auth.audiences" => of(&claim(&["aud".to_owned()])),
            "request.auth.presenter" => of(&claim(&["azp".to_owned()])),
            _ => match (
                bracketed(key, "request.auth.claims"),
                bracketed(key, "request.headers"),
            ) {
                (Some(names), _) => of(&claim(&names)),
                (None, Some(names)) if names.len() == 1 => {
                    let name = names.concat().to_ascii_lowercase();
                    of(&|value| header(&name, value))
                }
                _ => {
                    when.ignore(&["values", "notValues"]);
                    let why = match key {
                        "remote.ip" => CLIENT_ADDRESS.to_owned(),
                        _ => format!("claimgate has no test for `{key}`"),
                    };
                    notes.push(when.note(Kind::LeftOut, why));
                    Predicate::Unknown
                }
            },
        }
    }

    fn is_words(&self, name: &str) -> bool {
        ["scope", "permission"].contains(&name) || self.words.iter().any(|other| other == name)
    }
}

const CLIENT_ADDRESS: &str =
    "claimgate sees the address of the connection only, not the one in `x-forwarded-for`";

/// The names in `prefix[a][b]`. If the brackets do not fit, everything between the outer ones is one name.
fn bracketed(key: &str, prefix: &str) -> Option<Vec<String>> {
    let inner = key
        .strip_prefix(prefix)?
        .strip_prefix('[')?
        .strip_suffix(']')?;
    let names: Vec<&str> = inner.split("][").collect();
    let fits = names.iter().all(|name| !name.contains(['[', ']']));
    Some(match fits {
        true => names.into_iter().map(str::to_owned).collect(),
        false => vec![inner.to_owned()],
    })
}

fn header(name: &str, value: &str) -> Predicate {
    match name {
        "" => Predicate::Unknown,
        // Envoy sends claimgate no such headers.
        _ if name.starts_with(':') || name == "host" => Predicate::Unknown,
        _ => Predicate::Test(Test::Header(Header {
            name: name.to_owned(),
            value: pattern(value),
            is_any_line: false,
        })),
    }
}

/// An address or a network.
fn address(value: &str) -> Predicate {
    let network = match value.contains('/') {
        true => value.to_owned(),
        false if value.contains(':') => format!("{value}/128"),
        false => format!("{value}/32"),
    };
    let (address, prefix) = network.split_once('/').unwrap_or((value, ""));
    let is_network = address.parse::<std::net::IpAddr>().is_ok_and(|address| {
        let most = if address.is_ipv4() { 32 } else { 128 };
        prefix.parse::<u8>().is_ok_and(|prefix| prefix <= most)
    });
    match is_network {
        true => Predicate::Test(Test::Address(vec![network])),
        false => Predicate::Unknown,
    }
}

/// `ISSUER/SUBJECT`. The last slash divides them, because an issuer may be a URL.
fn request_principal(value: &str) -> Predicate {
    let (issuer, subject) = match value.rsplit_once('/') {
        _ if value == "*" => (Text::Present, Text::Present),
        Some(("*", subject)) if value.starts_with('*') => {
            (Text::Present, Text::Exact(subject.to_owned()))
        }
        Some((issuer, subject)) if value.starts_with('*') => (
            Text::Suffix(issuer.strip_prefix('*').unwrap_or(issuer).to_owned()),
            Text::Exact(subject.to_owned()),
        ),
        None if value.starts_with('*') => (
            Text::Present,
            Text::Suffix(value.strip_prefix('*').unwrap_or(value).to_owned()),
        ),
        Some((issuer, "*")) => (Text::Exact(issuer.to_owned()), Text::Present),
        Some((issuer, subject)) => match subject.strip_suffix('*') {
            Some(prefix) => (
                Text::Exact(issuer.to_owned()),
                Text::Prefix(prefix.to_owned()),
            ),
            None => (
                Text::Exact(issuer.to_owned()),
                Text::Exact(subject.to_owned()),
            ),
        },
        None => match value.strip_suffix('*') {
            Some(prefix) => (Text::Prefix(prefix.to_owned()), Text::Present),
            None => (Text::Exact(value.to_owned()), Text::Exact(String::new())),
        },
    };
    let claim = |name: &str, value: Text| {
        Predicate::Test(Test::Claim(Claim {
            names: vec![name.to_owned()],
            values: vec![value],
            shape: Shape::Text,
        }))
    };
    // Every token that claimgate accepts has an issuer.
    match issuer {
        Text::Present => claim("sub", subject),
        issuer => Predicate::all([claim("iss", issuer), claim("sub", subject)]),
    }
}
