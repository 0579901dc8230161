//! Names of workloads: what a caller's certificate says.

use super::authorization::pattern;
use super::mesh::Mesh;
use crate::import::predicate::{Peer, Predicate, Test, Text, escape};

/// A principal. Its trust domain stands for those of the mesh, if it is one of them.
pub(super) fn peer(value: &str, mesh: &Mesh<'_>) -> Predicate {
    let own = named_peer(value);
    let Some((domain, rest)) = value
        .split_once('/')
        .filter(|(domain, rest)| *domain != "*" && rest.matches('/').count() == 3)
    else {
        return own;
    };
    if let Some(domains) = mesh.domains_of_principal(domain) {
        let named = domains
            .iter()
            .map(|domain| named_peer(&format!("{domain}/{rest}")));
        return Predicate::any(named);
    }
    let (rest, end) = rest
        .strip_suffix('*')
        .map_or((rest, ""), |rest| (rest, ".*"));
    let regex = format!("{SCHEME}.*/{}{end}", escape(rest));
    Predicate::between(own, Predicate::Test(Test::Peer(Peer::Regex(regex))))
}

const SCHEME: &str = "spiffe://";

fn named_peer(value: &str) -> Predicate {
    Predicate::Test(Test::Peer(match pattern(value) {
        Text::Present => Peer::Regex(".+".to_owned()),
        Text::Suffix(suffix) => Peer::Regex(format!("{SCHEME}.*{}", escape(&suffix))),
        Text::Prefix(prefix) => Peer::Text(Text::Prefix(format!("{SCHEME}{prefix}"))),
        Text::Exact(name) => Peer::Text(Text::Exact(format!("{SCHEME}{name}"))),
    }))
}

/// A namespace, in which each `*` stands for anything.
pub(super) fn namespace(value: &str) -> Predicate {
    let parts: Vec<String> = value.split('*').map(escape).collect();
    let regex = format!(".*/ns/{}/.*", parts.join(".*"));
    Predicate::Test(Test::Peer(Peer::Regex(regex)))
}

/// A trust domain, which stands for all of the mesh if it is one of them.
pub(super) fn trust_domain(value: &str, mesh: &Mesh<'_>) -> Predicate {
    let prefix = |text: String| Predicate::Test(Test::Peer(Peer::Text(Text::Prefix(text))));
    match value.split_once('*') {
        _ if value == "*" => prefix(SCHEME.to_owned()),
        None => match mesh.aliases(value) {
            Some(domains) => {
                let each = domains.iter();
                Predicate::any(each.map(|domain| prefix(format!("{SCHEME}{domain}/"))))
            }
            None => Predicate::between(
                prefix(format!("{SCHEME}{value}/")),
                prefix(SCHEME.to_owned()),
            ),
        },
        Some((before, after)) => {
            let (before, after) = (escape(before), escape(after));
            let regex = format!("{SCHEME}{before}[^/]*{after}/.*");
            Predicate::Test(Test::Peer(Peer::Regex(regex)))
        }
    }
}

/// An account of a namespace, which is `own` if it says none.
pub(super) fn account(value: &str, own: &str) -> Predicate {
    let (namespace, account) = value.split_once('/').unwrap_or((own, value));
    let regex = format!(
        "spiffe://.+/ns/{}/(.+/|)sa/{}(/.+)?",
        escape(namespace),
        escape(account)
    );
    Predicate::Test(Test::Peer(Peer::Regex(regex)))
}
