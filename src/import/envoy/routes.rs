//! Settings of the filter for routes, which become rules that routes name.

use std::collections::BTreeMap;

use super::changes::RouteChange;
use super::find::PerRoute;
use super::requirement::Requirement;
use super::rules::{self, Providers};
use super::{RequirementMap, by_name};
use crate::import::model::{Kind, Note, Rule, unique};
use crate::import::source::{Reader, Value};

/// What the settings of a route say.
enum Wanted<'n> {
    /// They switch the filter on, and nothing else.
    On,
    /// They switch it off.
    Off,
    /// A requirement of the map.
    Named(String, Reader<'n>),
    /// Nobody knows.
    Unknown,
}

impl<'n> Wanted<'n> {
    fn read(reader: &Reader<'n>, notes: &mut Vec<Note>) -> Self {
        if type_of(reader) != "FilterConfig" {
            return Self::settings(reader, notes);
        }
        let is_off = reader.flag("disabled", notes);
        reader.ignore(&["is_optional"]);
        let inner = match reader.get("config") {
            None => Self::On,
            Some(config) if matches!(&config.node.value, Value::Map(map) if map.is_empty()) => {
                Self::On
            }
            Some(config) => Self::settings(&config, notes),
        };
        reader.finish(notes);
        match (reader.is_understood(), is_off) {
            (false, _) => Self::Unknown,
            (true, true) => Self::Off,
            (true, false) => inner,
        }
    }

    /// A `PerRouteConfig`, or a `TypedStruct` in its place.
    fn settings(reader: &Reader<'n>, notes: &mut Vec<Note>) -> Self {
        let inner = match type_of(reader) {
            "PerRouteConfig" => None,
            "TypedStruct" => match struct_of(reader) {
                Some(inner) => Some(inner),
                None => return Self::Unknown,
            },
            _ => return Self::Unknown,
        };
        let own = inner.as_ref().unwrap_or(reader);
        let found = own.one_of(&["disabled", "requirement_name"]);
        let wanted = match found {
            Some(("requirement_name", name)) => name
                .as_text(notes)
                .map_or(Self::Unknown, |text| Self::Named(text, name)),
            _ if own.flag("disabled", notes) => Self::Off,
            _ => Self::On,
        };
        own.finish(notes);
        match own.is_understood() {
            true => wanted,
            false => Self::Unknown,
        }
    }

    /// The name for its rule. `None` if the rules of the filter apply.
    fn name(&self) -> Option<&str> {
        match self {
            Self::On => None,
            Self::Off => Some("no-token"),
            Self::Named(name, _) => Some(name),
            Self::Unknown => Some("not-understood"),
        }
    }
}

/// The last part of the name of its type.
fn type_of<'n>(reader: &Reader<'n>) -> &'n str {
    let typed = reader.node.text_of("@type").unwrap_or_default();
    typed.rsplit('.').next().unwrap_or_default()
}

/// The message in a `TypedStruct`, if it is one of settings for routes.
fn struct_of<'n>(reader: &Reader<'n>) -> Option<Reader<'n>> {
    let typed = reader
        .get("type_url")
        .and_then(|it| it.as_text(&mut Vec::new()));
    let is_ours = typed.is_some_and(|typed| typed.ends_with(".jwt_authn.v3.PerRouteConfig"));
    reader.get("value").filter(|_| is_ours)
}

/// Rules for routes with their own settings, which name them.
pub(super) fn named_rules(
    routes: &[PerRoute<'_>],
    requirements: &RequirementMap,
    known: &Providers,
    others: &[Rule],
) -> (Vec<Rule>, Vec<RouteChange>) {
    let mut rules: Vec<Rule> = Vec::new();
    let mut names: BTreeMap<(bool, String), String> = BTreeMap::new();
    let mut changes = Vec::new();
    for route in routes {
        let mut notes = Vec::new();
        let wrapper = &route.message;
        let wanted = Wanted::read(wrapper, &mut notes);
        let Some(wanted_name) = wanted.name() else {
            changes.push(RouteChange::of(route, None));
            continue;
        };
        let key = (matches!(wanted, Wanted::Named(..)), wanted_name.to_owned());
        let name = match names.get(&key) {
            Some(name) => name.clone(),
            None => {
                let mut rule = match &wanted {
                    Wanted::Named(_, name) => {
                        let requirement = by_name(name, requirements, &mut notes);
                        rules::rule(&requirement, known, name)
                    }
                    Wanted::Off | Wanted::On => rules::rule(&Requirement::Nothing, known, wrapper),
                    Wanted::Unknown => rules::rule(&Requirement::Unknown, known, wrapper),
                };
                rule.only_by_name = true;
                rule.place = wrapper.place();
                let taken = others.iter().chain(&rules).map(|rule| rule.name.as_str());
                rule.name = unique(wanted_name, taken);
                names.insert(key, rule.name.clone());
                rule.notes.splice(0..0, notes.drain(..));
                let name = rule.name.clone();
                rules.push(rule);
                name
            }
        };
        if let Some(rule) = rules.iter_mut().find(|rule| rule.name == name) {
            rule.notes.append(&mut notes);
            rule.notes.push(wrapper.note(
                Kind::Differs,
                format!("this {} has to name the rule, see --changes", route.kind),
            ));
        }
        changes.push(RouteChange::of(route, Some(name)));
    }
    (rules, changes)
}
