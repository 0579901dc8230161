//! Turns pieces that allow and pieces that deny into rules of which the first that matches decides.
//!
//! In a mesh, a piece whose condition fails leaves the request to the others; in claimgate, the rule that
//! matches decides alone. So the condition of each rule also contains what later pieces allow of the requests
//! that it matches, and what they deny of them.

use serde_json::{Map, Value, json};

use super::model::{Access, Example, Kind, Note, Place, Provider, Rule, claim_path, unique};
use super::predicate::{Claim, Predicate, Shape, Test, Text, cel};

mod operation;

use operation::Operation;

/// The maximum length of a condition, in bytes.
const MAX_CONDITION: usize = 8 * 1024;

/// A part of a policy that allows or denies.
#[derive(Clone, Debug)]
pub struct Piece {
    /// The name for its rule.
    pub name: String,
    /// Where the source has it.
    pub place: Place,
    /// The requests that it is about.
    pub predicate: Predicate,
    /// Notes for its rule.
    pub notes: Vec<Note>,
}

/// What becomes of requests that no piece is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Otherwise {
    /// They pass, with a valid token or none.
    Allow,
    /// They are denied.
    Deny,
}

struct Part {
    name: String,
    place: Place,
    operation: Operation,
    rest: Predicate,
    notes: Vec<Note>,
}

impl Part {
    /// The bound of each operand by itself, so that a part that allows nothing still has its operation.
    fn of(piece: Piece, bound: impl Fn(&Predicate) -> Predicate) -> Self {
        let Piece {
            name,
            place,
            predicate,
            notes,
        } = piece;
        let operands = predicate.operands().into_iter().map(bound);
        let (operation, rest) = Operation::split(operands);
        Self {
            name,
            place,
            operation,
            rest,
            notes,
        }
    }

    /// The requests of this part, seen by a rule for the requests of `rule`. `None` if they share none.
    fn among(&self, rule: &Operation) -> Option<Predicate> {
        if !self.operation.overlaps(rule) {
            return None;
        }
        let operation = match self.operation.contains(rule) {
            true => Predicate::True,
            false => self.operation.predicate(),
        };
        Some(Predicate::all([operation, self.rest.clone()]))
    }
}

/// The rules that mean the same: what `denials` say comes first.
pub fn rules(
    denials: Vec<Piece>,
    allowances: Vec<Piece>,
    otherwise: Otherwise,
    providers: &[Provider],
) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    let mut written: Vec<Operation> = Vec::new();
    let denials: Vec<Part> = denials
        .into_iter()
        .map(|piece| Part::of(piece, Predicate::upper))
        .collect();
    let (plain, conditional): (Vec<Part>, Vec<Part>) = denials
        .into_iter()
        .partition(|part| part.rest == Predicate::True);
    for part in plain {
        if is_covered(&part.operation, &written) {
            continue;
        }
        rules.push(Rule {
            name: name(&part.name, &rules),
            matches: part.operation.as_match(),
            access: Access::Deny,
            notes: part.notes,
            ..Rule::default()
        });
        written.push(part.operation);
    }

    let mut allowances: Vec<Part> = allowances
        .into_iter()
        .map(|piece| Part::of(piece, Predicate::lower))
        .filter(|part| part.rest != Predicate::False || !part.notes.is_empty())
        .collect();
    let rest = Part {
        name: "rest".to_owned(),
        place: Place::default(),
        operation: Operation::default(),
        rest: match otherwise {
            Otherwise::Allow => Predicate::True,
            Otherwise::Deny => Predicate::False,
        },
        notes: Vec::new(),
    };
    allowances.push(rest);
    let mut denial_notes: Vec<Note> = conditional
        .iter()
        .flat_map(|part| part.notes.clone())
        .collect();
    for (index, part) in allowances.iter().enumerate() {
        let mut notes = part.notes.clone();
        if is_covered(&part.operation, &written) {
            // Its requests are those of an earlier rule, and so are its notes.
            if let Some(rule) = rules.last_mut() {
                rule.notes.append(&mut notes);
            }
            continue;
        }
        let later = allowances.iter().skip(index + 1);
        let allowed = later.filter_map(|later| later.among(&part.operation));
        let allowed = Predicate::any([part.rest.clone()].into_iter().chain(allowed));
        let denied = conditional
            .iter()
            .filter_map(|denial| denial.among(&part.operation));
        let condition = Predicate::all(
            denied
                .map(Predicate::negated)
                .chain([allowed])
                .collect::<Vec<_>>(),
        );
        notes.append(&mut denial_notes);
        let name = name(&part.name, &rules);
        let condition = condition.simplified();
        let rule = rule(name, &part.operation, condition, providers, notes);
        rules.push(bounded(rule, &part.place));
        written.push(part.operation.clone());
    }
    rules
}

/// A rule with this condition, as far as possible in the fields of a rule.
fn rule(
    name: String,
    operation: &Operation,
    condition: Predicate,
    providers: &[Provider],
    notes: Vec<Note>,
) -> Rule {
    let needs_token = condition.needs_token();
    Rule {
        matches: operation.as_match(),
        notes,
        ..rule_of(name, condition, needs_token, providers)
    }
}

/// A rule with this condition for all requests. With `needs_token`, every request needs a token.
pub fn rule_of(
    name: String,
    condition: Predicate,
    needs_token: bool,
    providers: &[Provider],
) -> Rule {
    let mut rule = Rule {
        name,
        example: example(&condition),
        meaning: Some(condition.clone()),
        ..Rule::default()
    };
    if condition == Predicate::False {
        rule.access = Access::Deny;
        return rule;
    }
    if !needs_token && !condition.needs_token() {
        rule.access = Access::Optional;
        rule.condition = text(&condition);
        return rule;
    }
    let mut left = Vec::new();
    for part in condition.conjuncts() {
        if !lift(&part, &mut rule, providers) {
            left.push(part);
        }
    }
    rule.condition = text(&Predicate::all(left).simplified());
    rule
}

/// The rule, which denies if its condition is longer than claimgate accepts.
pub fn bounded(rule: Rule, place: &Place) -> Rule {
    let length = rule.condition.as_ref().map_or(0, String::len);
    if length <= MAX_CONDITION {
        return rule;
    }
    let text = format!(
        "the rule `{}` denies instead, because its condition would have {length} bytes, and claimgate accepts \
         {MAX_CONDITION}",
        rule.name
    );
    let mut notes = rule.notes;
    notes.push(Note {
        kind: Kind::LeftOut,
        place: place.clone(),
        text,
    });
    Rule {
        name: rule.name,
        only_by_name: rule.only_by_name,
        matches: rule.matches,
        access: Access::Deny,
        meaning: Some(Predicate::False),
        notes,
        ..Rule::default()
    }
}

/// A rule with this condition that looks at no token.
pub fn public(name: String, condition: &Predicate) -> Rule {
    let access = match condition {
        Predicate::False => Access::Deny,
        _ => Access::Public,
    };
    Rule {
        name,
        access,
        condition: text(condition),
        meaning: Some(condition.clone()),
        ..Rule::default()
    }
}

fn text(condition: &Predicate) -> Option<String> {
    (*condition != Predicate::True).then(|| cel(condition))
}

/// Puts a part of a condition into a field of the rule. False if there is none with the same meaning.
fn lift(part: &Predicate, rule: &mut Rule, providers: &[Provider]) -> bool {
    if let Some(scope) = scope(part, providers) {
        rule.scopes.push(scope);
        return true;
    }
    let Predicate::Test(Test::Claim(Claim {
        names,
        values,
        shape,
    })) = part
    else {
        return false;
    };
    let Some(values) = exact(values) else {
        return false;
    };
    if names.as_slice() == ["iss"] && rule.providers.is_empty() {
        let named = values.iter().map(|issuer| {
            let mut providers = providers.iter();
            providers.find(|provider| provider.issuer == *issuer)
        });
        let named: Option<Vec<&Provider>> = named.collect();
        rule.providers = named
            .unwrap_or_default()
            .into_iter()
            .map(|provider| provider.name.clone())
            .collect();
        return !rule.providers.is_empty();
    }
    let path = claim_path(names);
    let is_same = *shape == Shape::TextOrList
        && names.iter().all(|name| !name.is_empty())
        && values.iter().all(|value| is_only_text(value))
        && rule.claims.iter().all(|(other, _)| *other != path);
    if is_same {
        rule.claims.push((path, values));
    }
    is_same
}

/// A scope that the part requires where all providers have scopes: in `scope`, or in `scope` or `scp`.
fn scope(part: &Predicate, providers: &[Provider]) -> Option<String> {
    let of = |part: &Predicate| match part {
        Predicate::Test(Test::Claim(Claim {
            names,
            values,
            shape: Shape::Words,
        })) => match (names.as_slice(), values.as_slice()) {
            ([name], [Text::Exact(value)]) => Some((name.clone(), value.clone())),
            _ => None,
        },
        _ => None,
    };
    let is_scope = |text: &str| {
        let fits = |c: char| matches!(c, '!' | '#'..='[' | ']'..='~');
        !text.is_empty() && text.chars().all(fits)
    };
    let has = |claims: &[&str]| {
        providers
            .iter()
            .all(|provider| provider.scope_claims == claims)
    };
    let (names, values): (Vec<String>, Vec<String>) = part
        .disjuncts()
        .iter()
        .map(of)
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .unzip();
    match (names.as_slice(), values.as_slice()) {
        ([first], [value]) if first == "scope" && has(&["scope"]) && is_scope(value) => {
            Some(value.clone())
        }
        ([first, second], [value, same])
            if first == "scope"
                && second == "scp"
                && value == same
                && has(&[])
                && is_scope(value) =>
        {
            Some(value.clone())
        }
        _ => None,
    }
}

fn exact(values: &[Text]) -> Option<Vec<String>> {
    let exact = values.iter().map(|text| match text {
        Text::Exact(value) => Some(value.clone()),
        _ => None,
    });
    exact.collect()
}

/// Whether claimgate's `claims` compares the value as text only: it spells neither a number nor a boolean.
fn is_only_text(value: &str) -> bool {
    let begins = value.starts_with(|first: char| first.is_alphabetic() || "/_".contains(first));
    let is_word = ["true", "false", "null", "nan", "inf", "any"]
        .iter()
        .any(|word| value.eq_ignore_ascii_case(word));
    begins && !is_word
}

fn is_covered(operation: &Operation, written: &[Operation]) -> bool {
    written.iter().any(|earlier| earlier.contains(operation))
}

fn name(wanted: &str, rules: &[Rule]) -> String {
    unique(wanted, rules.iter().map(|rule| rule.name.as_str()))
}

/// Claims that make a condition true, as far as claims can.
fn example(condition: &Predicate) -> Vec<Example> {
    let mut claims = Map::new();
    fill(condition, &mut claims);
    let example = |(claim, value)| Example {
        provider: None,
        claim,
        value,
    };
    claims.into_iter().map(example).collect()
}

fn fill(predicate: &Predicate, claims: &mut Map<String, Value>) {
    match predicate {
        Predicate::All(parts) => parts.iter().for_each(|part| fill(part, claims)),
        Predicate::Any(parts) => parts.iter().take(1).for_each(|part| fill(part, claims)),
        Predicate::Test(Test::Claim(claim)) => fill_claim(claim, claims),
        _ => {}
    }
}

fn fill_claim(claim: &Claim, claims: &mut Map<String, Value>) {
    // The provider of a token decides its issuer.
    let Some((last, outer)) = claim.names.split_last().filter(|_| claim.names != ["iss"]) else {
        return;
    };
    let text = match claim.values.first() {
        Some(Text::Exact(text)) => text.clone(),
        Some(Text::Prefix(text)) => format!("{text}example"),
        Some(Text::Suffix(text)) => format!("example{text}"),
        Some(Text::Present) => "example".to_owned(),
        None => return,
    };
    let mut at = claims;
    for name in outer {
        let member = at.entry(name.clone()).or_insert_with(|| json!({}));
        match member.as_object_mut() {
            Some(member) => at = member,
            None => return,
        }
    }
    let value = match claim.shape {
        Shape::List => json!([text]),
        // Only an element of a list has a space.
        Shape::Words if text.contains(' ') => json!([text]),
        Shape::Text | Shape::TextOrList | Shape::Words => text.into(),
    };
    at.entry(last.clone()).or_insert(value);
}

#[cfg(test)]
mod tests;
