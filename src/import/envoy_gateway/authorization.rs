//! `authorization` of a policy: rules, of which the first that matches allows or denies.

use crate::import::model::{Kind, Note};
use crate::import::predicate::{Claim, Header, Path, Predicate, Shape, Test, Text, spelling};
use crate::import::source::Reader;

/// Which requests the rules allow. `token_of` says what a token of a provider of the policy is.
pub(super) fn read(
    authorization: &Reader<'_>,
    notes: &mut Vec<Note>,
    token_of: impl Fn(&str) -> Predicate,
) -> Predicate {
    let default = authorization.text("defaultAction", notes);
    let mut allowed = match default.as_deref() {
        Some("Allow") => Predicate::True,
        _ => Predicate::False,
    };
    let mut rules = Vec::new();
    for rule in authorization.list("rules") {
        let action = rule.text("action", notes);
        let predicate = matched(&rule, notes, &token_of);
        rules.push((action, predicate));
    }
    for (action, predicate) in rules.into_iter().rev() {
        allowed = match action.as_deref() {
            Some("Allow") => Predicate::any([predicate, allowed]),
            _ => Predicate::all([predicate.negated(), allowed]),
        };
    }
    match finished(authorization, notes) {
        Predicate::True => allowed,
        _ => Predicate::False,
    }
}

/// Ends reading. A field that nobody knows, or a value of the wrong type, may restrict what it stands beside.
fn finished(reader: &Reader<'_>, notes: &mut Vec<Note>) -> Predicate {
    match reader.finish(notes) {
        true => Predicate::True,
        false => Predicate::Unknown,
    }
}

/// Ends reading of a test with a list of values. If one of them is not understood, so is the whole test.
fn sealed(predicate: Predicate, reader: &Reader<'_>, notes: &mut Vec<Note>) -> Predicate {
    match finished(reader, notes) {
        Predicate::True => predicate,
        unknown => unknown,
    }
}

fn matched(
    rule: &Reader<'_>,
    notes: &mut Vec<Note>,
    token_of: &impl Fn(&str) -> Predicate,
) -> Predicate {
    rule.ignore(&["name"]);
    let mut all = Vec::new();
    if let Some(operation) = rule.get("operation") {
        all.push(operation_of(&operation, notes));
    }
    if let Some(principal) = rule.get("principal") {
        all.push(principal_of(&principal, notes, token_of));
    }
    if let Some(cel) = rule.get("cel") {
        let text = "Envoy's attributes in CEL are not claimgate's: write it as `condition` by hand";
        notes.push(cel.note(Kind::LeftOut, text));
        all.push(Predicate::Unknown);
    }
    all.push(finished(rule, notes));
    Predicate::all(all)
}

fn operation_of(operation: &Reader<'_>, notes: &mut Vec<Note>) -> Predicate {
    let methods = operation.texts("methods", notes);
    let mut all = Vec::new();
    if !methods.is_empty() {
        // Envoy Gateway compares without case, and claimgate refuses methods in lower case.
        all.push(Predicate::any(methods.iter().map(|method| {
            Predicate::Test(Test::Method(Text::Exact(method.to_ascii_uppercase())))
        })));
    }
    if let Some(path) = operation.get("path") {
        all.push(path_of(&path, notes));
    }
    sealed(Predicate::all(all), operation, notes)
}

fn path_of(path: &Reader<'_>, notes: &mut Vec<Note>) -> Predicate {
    let value = path.text("value", notes).unwrap_or_else(|| "/".to_owned());
    let kind = path.text("type", notes);
    let predicate = match kind.as_deref() {
        None | Some("PathPrefix") => spelling::below(&value),
        Some("Exact") => spelling::path(&Text::Exact(value.clone())),
        Some("RegularExpression") => Predicate::Test(Test::Path(Path::WithQuery(value.clone()))),
        Some(_) => Predicate::Unknown,
    };
    if predicate == Predicate::Unknown {
        notes.push(path.note(
            Kind::LeftOut,
            format!("claimgate has no test for `{value}`"),
        ));
    }
    let is_inverted = path.flag("invert", notes);
    let predicate = match is_inverted {
        true => predicate.negated(),
        false => predicate,
    };
    Predicate::all([predicate, finished(path, notes)])
}

fn principal_of(
    principal: &Reader<'_>,
    notes: &mut Vec<Note>,
    token_of: &impl Fn(&str) -> Predicate,
) -> Predicate {
    let mut all = Vec::new();
    if let Some(networks) = principal.get("clientCIDRs") {
        all.push(client(&networks, notes));
    }
    if let Some(geography) = principal.get("clientIPGeoLocations") {
        notes.push(geography.note(Kind::LeftOut, "claimgate knows no places of addresses"));
        all.push(Predicate::Unknown);
    }
    for header in principal.list("headers") {
        let name = header
            .text("name", notes)
            .unwrap_or_default()
            .to_ascii_lowercase();
        let values = header.texts("values", notes);
        let values = Predicate::any(values.into_iter().map(|value| match name.as_str() {
            "" | "host" => Predicate::Unknown,
            _ if name.starts_with(':') => Predicate::Unknown,
            _ => Predicate::Test(Test::Header(Header {
                name: name.clone(),
                value: Text::Exact(value),
                is_any_line: false,
            })),
        }));
        all.push(sealed(values, &header, notes));
    }
    if let Some(jwt) = principal.get("jwt") {
        all.push(token(&jwt, notes, token_of));
    }
    all.push(finished(principal, notes));
    Predicate::all(all)
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
    token_of: &impl Fn(&str) -> Predicate,
) -> Predicate {
    let provider = jwt.text("provider", notes).unwrap_or_default();
    let mut all = vec![token_of(&provider)];
    for scope in jwt.texts("scopes", notes) {
        let of = |name: &str| claim(vec![name.to_owned()], vec![scope.clone()], Shape::Words);
        all.push(Predicate::any([of("scope"), of("scp")]));
    }
    for entry in jwt.list("claims") {
        let name = entry.text("name", notes).unwrap_or_default();
        let names: Vec<String> = name.split('.').map(str::to_owned).collect();
        let values = entry.texts("values", notes);
        let kind = entry.text("valueType", notes);
        let is_words = name == "scope" || name == "scp";
        let values = match kind.as_deref() {
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
        };
        all.push(sealed(values, &entry, notes));
    }
    all.push(finished(jwt, notes));
    Predicate::all(all)
}

fn claim(names: Vec<String>, values: Vec<String>, shape: Shape) -> Predicate {
    Predicate::Test(Test::Claim(Claim {
        names,
        values: values.into_iter().map(Text::Exact).collect(),
        shape,
    }))
}
