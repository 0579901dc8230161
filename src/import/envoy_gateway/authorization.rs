//! `authorization` of a policy: rules, of which the first that matches allows or denies.

use super::expression::path_and_query;
use super::tokens::Tokens;
use crate::import::model::{Kind, Note};
use crate::import::predicate::{Claim, Header, Predicate, Shape, Test, Text, spelling};
use crate::import::source::Reader;

/// How often the rules may change between `Allow` and `Deny`. Each change nests the condition, and one of more
/// changes than this would be too large for a rule of claimgate.
const MAX_CHANGES: usize = 64;

/// Which requests the rules allow. `tokens` are those of the policy's providers.
pub(super) fn read(
    authorization: &Reader<'_>,
    notes: &mut Vec<Note>,
    tokens: &Tokens,
) -> Predicate {
    let default = authorization.text("defaultAction", notes);
    let mut allowed = match default.as_deref() {
        Some("Allow") => Predicate::True,
        _ => Predicate::False,
    };
    // Rules in a row with one action, so that the condition nests only where the action changes.
    let mut rows: Vec<(bool, Vec<Predicate>)> = Vec::new();
    for rule in authorization.list("rules") {
        let is_allow = match rule.text("action", notes).as_deref() {
            Some("Allow") => true,
            Some("Deny") => false,
            _ => {
                let text = "its `action` is unknown, so it denies";
                notes.push(rule.note(Kind::LeftOut, text));
                false
            }
        };
        let predicate = matched(&rule, notes, tokens);
        match rows.last_mut() {
            Some((is_same, row)) if *is_same == is_allow => row.push(predicate),
            _ => rows.push((is_allow, vec![predicate])),
        }
    }
    if rows.len() > MAX_CHANGES {
        let text = format!(
            "every request is denied, because its rules change more than {MAX_CHANGES} times between `Allow` and \
             `Deny`"
        );
        notes.push(authorization.note(Kind::LeftOut, text));
        return Predicate::False;
    }
    for (is_allow, row) in rows.into_iter().rev() {
        allowed = match is_allow {
            true => Predicate::any(row.into_iter().chain([allowed])),
            false => Predicate::all(row.into_iter().map(Predicate::negated).chain([allowed])),
        };
    }
    match authorization.finish(notes) {
        true => allowed,
        false => Predicate::False,
    }
}

fn matched(rule: &Reader<'_>, notes: &mut Vec<Note>, tokens: &Tokens) -> Predicate {
    rule.ignore(&["name"]);
    let mut all = Vec::new();
    let before = notes.len();
    let mut doubts = Vec::new();
    if let Some(operation) = rule.get("operation") {
        all.push(operation_of(&operation, notes));
    }
    if let Some(principal) = rule.get("principal") {
        all.push(principal_of(&principal, notes, tokens, &mut doubts));
    }
    if let Some(cel) = rule.get("cel") {
        let text = "Envoy's attributes in CEL are not claimgate's: write it as `condition` by hand";
        notes.push(cel.note(Kind::LeftOut, text));
    }
    rule.finish(notes);
    // Whatever is left out may restrict the rule.
    if notes.len() > before {
        all.push(Predicate::Unknown);
    }
    notes.append(&mut doubts);
    Predicate::all(all)
}

/// A part of a rule, which is unknown if anything of it is left out.
fn known(notes: &mut Vec<Note>, read: impl FnOnce(&mut Vec<Note>) -> Predicate) -> Predicate {
    let before = notes.len();
    let predicate = read(notes);
    match notes.len() == before {
        true => predicate,
        false => Predicate::Unknown,
    }
}

fn operation_of(operation: &Reader<'_>, notes: &mut Vec<Note>) -> Predicate {
    let mut all = vec![known(notes, |notes| methods_of(operation, notes))];
    if let Some(path) = operation.get("path") {
        all.push(known(notes, |notes| path_of(&path, notes)));
    }
    operation.finish(notes);
    Predicate::all(all)
}

fn methods_of(operation: &Reader<'_>, notes: &mut Vec<Note>) -> Predicate {
    let methods = operation.texts("methods", notes);
    if methods.is_empty() {
        return Predicate::True;
    }
    // Envoy Gateway compares without case, and claimgate refuses methods in lower case.
    Predicate::any(
        methods
            .iter()
            .map(|method| Predicate::Test(Test::Method(Text::Exact(method.to_ascii_uppercase())))),
    )
}

fn path_of(path: &Reader<'_>, notes: &mut Vec<Note>) -> Predicate {
    let value = path.text("value", notes).unwrap_or_else(|| "/".to_owned());
    let kind = path.text("type", notes);
    let is_inverted = path.flag("invert", notes);
    path.finish(notes);
    let predicate = match kind.as_deref() {
        None | Some("PathPrefix") => spelling::below(&value),
        Some("Exact") => spelling::path(&Text::Exact(value.clone())),
        Some("RegularExpression") => path_and_query(&value),
        Some(_) => Predicate::Unknown,
    };
    if predicate == Predicate::Unknown {
        notes.push(path.note(
            Kind::LeftOut,
            format!("claimgate has no test for `{value}`"),
        ));
    }
    match is_inverted {
        true => predicate.negated(),
        false => predicate,
    }
}

fn principal_of(
    principal: &Reader<'_>,
    notes: &mut Vec<Note>,
    tokens: &Tokens,
    doubts: &mut Vec<Note>,
) -> Predicate {
    let mut all = Vec::new();
    if let Some(networks) = principal.get("clientCIDRs") {
        all.push(client(&networks, notes));
    }
    if let Some(geography) = principal.get("clientIPGeoLocations") {
        notes.push(geography.note(Kind::LeftOut, "claimgate knows no places of addresses"));
    }
    for header in principal.list("headers") {
        all.push(known(notes, |notes| header_of(&header, notes)));
    }
    if let Some(jwt) = principal.get("jwt") {
        all.push(token(&jwt, notes, tokens, doubts));
    }
    principal.finish(notes);
    Predicate::all(all)
}

fn header_of(header: &Reader<'_>, notes: &mut Vec<Note>) -> Predicate {
    let name = header.text("name", notes).unwrap_or_default();
    let name = name.to_ascii_lowercase();
    let values = values_of(header, notes);
    header.finish(notes);
    if name.is_empty() || name == "host" || name.starts_with(':') {
        let text = format!("claimgate has no test for the header `{name}`");
        notes.push(header.note(Kind::LeftOut, text));
    }
    Predicate::any(values.into_iter().map(|value| {
        Predicate::Test(Test::Header(Header {
            name: name.clone(),
            value: Text::Exact(value),
            is_any_line: false,
        }))
    }))
}

/// At least one value.
fn values_of(reader: &Reader<'_>, notes: &mut Vec<Note>) -> Vec<String> {
    let values = reader.texts("values", notes);
    if values.is_empty() {
        notes.push(reader.note(Kind::LeftOut, "it has no values"));
    }
    values
}

/// Envoy Gateway may take the client's address from a header or from the PROXY protocol, as a
/// `ClientTrafficPolicy` says. claimgate sees that of the connection.
fn client(networks: &Reader<'_>, notes: &mut Vec<Note>) -> Predicate {
    let texts: Vec<&str> = networks
        .node
        .list()
        .iter()
        .filter_map(|network| network.text())
        .collect();
    let is_every = ["0.0.0.0/0", "::/0"].iter().all(|all| texts.contains(all));
    if is_every {
        return Predicate::True;
    }
    let tests: Vec<String> = texts
        .iter()
        .map(|network| format!("cidr(\"{network}\").containsIP(source.address)"))
        .collect();
    let text = format!(
        "claimgate sees the address of the connection, which may be a load balancer's; if clients connect to the \
         gateway themselves, add the condition `{}`",
        tests.join(" || ")
    );
    notes.push(networks.note(Kind::LeftOut, text));
    Predicate::Unknown
}

fn token(
    jwt: &Reader<'_>,
    notes: &mut Vec<Note>,
    tokens: &Tokens,
    doubts: &mut Vec<Note>,
) -> Predicate {
    let mut all = Vec::new();
    match jwt.text("provider", notes) {
        Some(provider) => {
            let (named, is_doubtful) = tokens.named(&provider);
            all.push(named);
            if is_doubtful {
                let text = format!(
                    "several providers of the policy have the issuer of `{provider}`, so a token counts as its only \
                     where no earlier one accepts it, and each token of the issuer counts where the rule denies"
                );
                doubts.push(jwt.note(Kind::LeftOut, text));
            }
        }
        None => notes.push(jwt.note(Kind::LeftOut, "it has no provider")),
    }
    for scope in jwt.texts("scopes", notes) {
        let of = |name: &str| claim(vec![name.to_owned()], vec![scope.clone()], Shape::Words);
        all.push(Predicate::any([of("scope"), of("scp")]));
    }
    for entry in jwt.list("claims") {
        all.push(known(notes, |notes| claim_of(&entry, notes)));
    }
    jwt.finish(notes);
    Predicate::all(all)
}

fn claim_of(entry: &Reader<'_>, notes: &mut Vec<Note>) -> Predicate {
    let name = entry.text("name", notes).unwrap_or_default();
    let names: Vec<String> = name.split('.').map(str::to_owned).collect();
    let values = values_of(entry, notes);
    let kind = entry.text("valueType", notes);
    entry.finish(notes);
    let is_words = name == "scope" || name == "scp";
    match kind.as_deref() {
        // Envoy Gateway makes lists of these two.
        None | Some("String") if is_words => Predicate::False,
        None | Some("String") => claim(names, values, Shape::Text),
        Some("StringArray") if is_words => claim(names, values, Shape::Words),
        Some("StringArray") => claim(names, values, Shape::List),
        Some(other) => {
            let text = format!("claimgate has no test for values of type `{other}`");
            notes.push(entry.note(Kind::LeftOut, text));
            Predicate::Unknown
        }
    }
}

fn claim(names: Vec<String>, values: Vec<String>, shape: Shape) -> Predicate {
    Predicate::Test(Test::Claim(Claim {
        names,
        values: values.into_iter().map(Text::Exact).collect(),
        shape,
    }))
}
