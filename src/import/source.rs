//! The files to import, as trees whose values know their line.
//!
//! JSON is YAML, so one reader serves both. Depth, nodes and bytes are bounded.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::fmt;
use std::rc::Rc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use super::model::{Kind, Note, Place};

/// The maximum size of one file. A `config_dump` of a large mesh has tens of megabytes.
pub const MAX_BYTES: usize = 64 * 1024 * 1024;

/// The maximum nesting. Envoy's own messages stay below 50.
const MAX_DEPTH: usize = 64;

/// The maximum number of values in one file.
const MAX_NODES: usize = 4_000_000;

/// A file to import.
#[derive(Clone, Debug)]
pub struct Source {
    /// The name for messages.
    pub name: String,
    /// The content: YAML or JSON, of one document or several.
    pub text: String,
}

/// A value and where it is.
#[derive(Debug)]
pub struct Node {
    /// The line, from 1.
    pub line: u64,
    /// The value.
    pub value: Value,
}

/// A value of YAML or JSON.
#[derive(Debug)]
pub enum Value {
    /// `null`, or nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number, as text.
    Number(String),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the file.
    Map(Vec<(String, Node)>),
}

/// One document of a file.
#[derive(Debug)]
pub struct Document {
    /// The name of its file.
    pub file: String,
    /// Its content.
    pub root: Node,
}

impl Source {
    /// The documents of the file. A Kubernetes `List` counts as one document for each item.
    ///
    /// # Errors
    ///
    /// Fails if the text is neither YAML nor JSON, or exceeds a limit. The message has file and line.
    pub fn documents(&self) -> Result<Vec<Document>, String> {
        if self.text.len() > MAX_BYTES {
            let max = MAX_BYTES / (1024 * 1024);
            return Err(format!("{}: larger than {max} MiB", self.name));
        }
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! {
                max_depth: MAX_DEPTH,
                max_nodes: MAX_NODES,
                max_events: 2 * MAX_NODES,
            },
        };
        let read = serde_saphyr::from_multiple_with_options::<Node>(&self.text, options);
        let nodes = read.map_err(|error| self.not_yaml(&error))?;
        let mut documents = Vec::new();
        for root in nodes {
            let is_list = root
                .text_of("kind")
                .is_some_and(|kind| kind.ends_with("List"));
            let items = match root.value {
                Value::Null => continue,
                Value::Map(entries) if is_list && has_items(&entries) => items(entries),
                value => vec![Node { value, ..root }],
            };
            documents.extend(items.into_iter().map(|root| Document {
                file: self.name.clone(),
                root,
            }));
        }
        Ok(documents)
    }

    fn not_yaml(&self, error: &serde_saphyr::Error) -> String {
        let line = error.location().map_or(0, |location| location.line());
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        let what = first.strip_prefix("error: ").unwrap_or(first);
        let what = match what.split_once(": ") {
            Some((place, what)) if place.starts_with("line ") => what,
            _ => what,
        };
        // This advice is for callers of the parser, not for the author of the file.
        let what = what.split(", set DuplicateKeyPolicy").next();
        let what = what.unwrap_or_default();
        let what = match what.strip_prefix("budget breached: ") {
            Some(limit) => too_much(limit),
            None => what.to_owned(),
        };
        format!("{}:{line}: not valid YAML or JSON: {what}", self.name)
    }
}

/// In words what the parser names by its types: `Depth { depth: 65 }`.
fn too_much(limit: &str) -> String {
    match limit.split([' ', '{']).next().unwrap_or_default() {
        "Depth" => format!("values are nested more than {MAX_DEPTH} deep"),
        "Nodes" | "Events" => format!("more than {MAX_NODES} values"),
        _ => "too many aliases, or too much that they repeat".to_owned(),
    }
}

fn has_items(entries: &[(String, Node)]) -> bool {
    entries
        .iter()
        .any(|(name, node)| name == "items" && matches!(node.value, Value::List(_)))
}

fn items(entries: Vec<(String, Node)>) -> Vec<Node> {
    let items = entries.into_iter().find(|(name, _)| name == "items");
    match items.map(|(_, node)| node.value) {
        Some(Value::List(items)) => items,
        _ => Vec::new(),
    }
}

impl Node {
    /// The member with this name, spelled `like_this` or `likeThis`.
    pub fn get(&self, name: &str) -> Option<&Self> {
        let Value::Map(entries) = &self.value else {
            return None;
        };
        let found = entries
            .iter()
            .find(|(key, _)| snake(key) == name || key == name);
        found.map(|(_, node)| node)
    }

    /// The text of the member with this name.
    pub fn text_of(&self, name: &str) -> Option<&str> {
        self.get(name)?.text()
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The elements, if it is a list.
    pub fn list(&self) -> &[Self] {
        match &self.value {
            Value::List(nodes) => nodes,
            _ => &[],
        }
    }

    /// The members, if it is a mapping.
    pub fn map(&self) -> &[(String, Self)] {
        match &self.value {
            Value::Map(entries) => entries,
            _ => &[],
        }
    }

    fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "nothing",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::Text(_) => "text",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }
}

/// A name in the spelling of proto files: `remote_jwks` for `remoteJwks`.
pub fn snake(name: &str) -> String {
    let mut text = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            text.push('_');
        }
        text.push(c.to_ascii_lowercase());
    }
    text
}

/// A value together with its place, and the notes about it. Importing reads every member by name. Members that
/// nothing has read, and values that are not what their reader expects, are notes at the end, so no field is
/// ever ignored silently.
#[derive(Debug)]
pub struct Reader<'n> {
    /// The value.
    pub node: &'n Node,
    file: &'n str,
    path: String,
    dialect: Dialect,
    read: RefCell<Vec<&'static str>>,
    defects: Rc<Defects>,
}

/// Which spellings a format accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dialect {
    /// Envoy's files: a single value counts as a list of one, and names may be in camel case.
    Proto,
    /// Objects of Kubernetes, which refuses a single value in place of a list.
    Kubernetes,
}

/// What was not understood in a value and in everything below it.
#[derive(Debug, Default)]
struct Defects {
    count: Cell<usize>,
    /// Those of them that no [`Reader::finish`] has reported.
    unreported: Cell<usize>,
    /// Notes that the next [`Reader::finish`] adds.
    pending: RefCell<Vec<Note>>,
    outer: Option<Rc<Self>>,
}

impl Defects {
    fn below(outer: &Rc<Self>) -> Rc<Self> {
        Rc::new(Self {
            outer: Some(Rc::clone(outer)),
            ..Self::default()
        })
    }

    /// Counts one more, here and in everything around it.
    fn add(&self) {
        self.count.set(self.count.get() + 1);
        self.unreported.set(self.unreported.get() + 1);
        if let Some(outer) = &self.outer {
            outer.add();
        }
    }

    /// The number that nothing has reported before.
    fn report(&self) -> usize {
        let number = self.unreported.get();
        let mut at = Some(self);
        while let Some(defects) = at {
            defects.unreported.set(defects.unreported.get() - number);
            at = defects.outer.as_deref();
        }
        number
    }
}

impl<'n> Reader<'n> {
    /// Reads a value of Envoy's configuration at a path.
    pub fn at(node: &'n Node, file: &'n str, path: String) -> Self {
        Self {
            node,
            file,
            path,
            dialect: Dialect::Proto,
            read: RefCell::default(),
            defects: Rc::default(),
        }
    }

    /// Reads a value of an object of Kubernetes at a path.
    pub fn kubernetes(node: &'n Node, file: &'n str, path: String) -> Self {
        Self {
            dialect: Dialect::Kubernetes,
            ..Self::at(node, file, path)
        }
    }

    /// Where the value is.
    pub fn place(&self) -> Place {
        Place {
            file: self.file.to_owned(),
            line: self.node.line,
            path: self.path.clone(),
        }
    }

    /// A note about this value.
    pub fn note(&self, kind: Kind, text: impl Into<String>) -> Note {
        Note {
            kind,
            place: self.place(),
            text: text.into(),
        }
    }

    /// The member with this name in the spelling of proto files, unless it is absent or `null`.
    pub fn get(&self, name: &'static str) -> Option<Reader<'n>> {
        self.read.borrow_mut().push(name);
        let node = self.node.get(name)?;
        match node.value {
            Value::Null => None,
            _ => Some(self.member(name, node)),
        }
    }

    /// The first of these members that is present, with its name. They exclude each other, like those of a
    /// `oneof`, so a second one is a defect.
    pub fn one_of(&self, names: &[&'static str]) -> Option<(&'static str, Reader<'n>)> {
        let found = names
            .iter()
            .filter_map(|name| Some((*name, self.get(name)?)));
        let mut found = found.collect::<Vec<_>>().into_iter();
        let first = found.next();
        for (name, second) in found {
            let other = first.as_ref().map_or("", |(name, _)| *name);
            let text = format!("`{name}` and `{other}` exclude each other");
            self.later(second.note(Kind::LeftOut, text));
        }
        first
    }

    /// Every member of a mapping whose names are data, such as `providers`.
    pub fn members(&self) -> Vec<(&'n str, Reader<'n>)> {
        if !matches!(self.node.value, Value::Map(_)) {
            self.outer_later(self.expectation("a mapping"));
        }
        let members = self.node.map().iter();
        members
            .map(|(name, node)| (name.as_str(), self.member(name, node)))
            .collect()
    }

    /// Every element of a list. In Envoy's files, another value counts as a list of one, as in Envoy. In an
    /// object of Kubernetes it is a defect of what contains it, because Kubernetes refuses it.
    pub fn elements(&self) -> Vec<Reader<'n>> {
        let element = |node, path| Self {
            dialect: self.dialect,
            defects: Defects::below(&self.defects),
            ..Self::at(node, self.file, path)
        };
        match (&self.node.value, self.dialect) {
            (Value::List(nodes), _) => nodes
                .iter()
                .enumerate()
                .map(|(index, node)| element(node, format!("{}[{index}]", self.path)))
                .collect(),
            (_, Dialect::Proto) => vec![element(self.node, self.path.clone())],
            (_, Dialect::Kubernetes) => {
                self.outer_later(self.expectation("a list"));
                Vec::new()
            }
        }
    }

    /// The elements of the list with this name; none if it is absent.
    pub fn list(&self, name: &'static str) -> Vec<Reader<'n>> {
        self.get(name)
            .map(|list| list.elements())
            .unwrap_or_default()
    }

    /// The texts of the list with this name. Other values are notes.
    pub fn texts(&self, name: &'static str, notes: &mut Vec<Note>) -> Vec<String> {
        let elements = self.list(name);
        elements
            .iter()
            .filter_map(|element| element.as_text(notes))
            .collect()
    }

    /// The text of the member with this name. Empty text counts as absent, as in proto.
    pub fn text(&self, name: &'static str, notes: &mut Vec<Note>) -> Option<String> {
        let text = self.get(name)?.as_text(notes)?;
        (!text.is_empty()).then_some(text)
    }

    /// The truth of the member with this name; absent is false, as in proto.
    pub fn flag(&self, name: &'static str, notes: &mut Vec<Note>) -> bool {
        self.flag_or(name, false, notes)
    }

    /// The truth of the member with this name, and what it is if it is absent.
    pub fn flag_or(&self, name: &'static str, absent: bool, notes: &mut Vec<Note>) -> bool {
        let Some(member) = self.get(name) else {
            return absent;
        };
        match &member.node.value {
            Value::Bool(truth) => *truth,
            Value::Text(text) if text == "true" => true,
            Value::Text(text) if text == "false" => false,
            _ => {
                notes.push(member.expected("true or false"));
                absent
            }
        }
    }

    /// The whole number of the member with this name.
    pub fn number(&self, name: &'static str, notes: &mut Vec<Note>) -> Option<u64> {
        let member = self.get(name)?;
        // Numbers of 64 bits are texts in proto's JSON.
        let number = match &member.node.value {
            Value::Number(text) | Value::Text(text) => text.parse().ok(),
            _ => None,
        };
        if number.is_none() {
            notes.push(member.expected("a whole number"));
        }
        number
    }

    /// The duration of the member with this name, in milliseconds: `1.5s`, or `{ seconds, nanos }`.
    pub fn millis(&self, name: &'static str, notes: &mut Vec<Note>) -> Option<u64> {
        let member = self.get(name)?;
        let millis = match &member.node.value {
            Value::Text(text) => text.strip_suffix('s').and_then(millis_of),
            Value::Map(_) => {
                let seconds = member.number("seconds", notes).unwrap_or(0);
                let nanos = member.number("nanos", notes).unwrap_or(0);
                seconds
                    .checked_mul(1000)
                    .and_then(|millis| millis.checked_add(nanos / 1_000_000))
            }
            _ => None,
        };
        if millis.is_none() {
            notes.push(member.expected("a duration, such as `600s`"));
        }
        millis
    }

    /// Text; a note if it is something else.
    pub fn as_text(&self, notes: &mut Vec<Note>) -> Option<String> {
        let is_whole = |text: &str| {
            text.bytes()
                .all(|byte| byte.is_ascii_digit() || byte == b'-')
        };
        match &self.node.value {
            Value::Text(text) => Some(text.clone()),
            // Other numbers have several spellings, and only the file knows which one was meant.
            Value::Number(text) if is_whole(text) => Some(text.clone()),
            _ => {
                notes.push(self.expected("text"));
                None
            }
        }
    }

    /// A note that this is something else than its reader expects. It counts as a defect.
    fn expected(&self, wanted: &str) -> Note {
        self.defects.add();
        self.expectation(wanted)
    }

    fn expectation(&self, wanted: &str) -> Note {
        let found = self.node.kind();
        self.note(Kind::LeftOut, format!("expected {wanted}, found {found}"))
    }

    /// A defect whose note [`finish`](Self::finish) adds.
    fn later(&self, note: Note) {
        self.defects.add();
        self.defects.pending.borrow_mut().push(note);
    }

    /// The same, but for the `finish` of what contains this value, because nothing finishes a list.
    fn outer_later(&self, note: Note) {
        self.defects.add();
        let outer = self.defects.outer.as_ref().unwrap_or(&self.defects);
        outer.pending.borrow_mut().push(note);
    }

    /// Members that are known and change nothing here.
    pub fn ignore(&self, names: &[&'static str]) {
        self.read.borrow_mut().extend(names);
    }

    /// Adds a note for each member that nothing has read, and for each list or choice with another value. Returns
    /// whether everything was understood, apart from what has said so by its own `finish`. What was not may
    /// restrict what is beside it.
    pub fn finish(&self, notes: &mut Vec<Note>) -> bool {
        notes.append(&mut self.defects.pending.borrow_mut());
        let read = self.read.borrow();
        if !matches!(self.node.value, Value::Map(_) | Value::Null) {
            notes.push(self.expected("a mapping"));
        }
        let mut names: BTreeSet<String> = BTreeSet::new();
        for (name, node) in self.node.map() {
            let spelled = snake(name);
            let is_read = read.iter().any(|read| *read == spelled || *read == name);
            let member = || self.member(name, node);
            if !is_read && name != "@type" && !matches!(node.value, Value::Null) {
                self.defects.add();
                notes.push(member().note(Kind::LeftOut, format!("unknown field `{name}`")));
            } else if self.dialect == Dialect::Proto && !names.insert(spelled) {
                self.defects.add();
                let text = format!("`{name}` is the second spelling of a field");
                notes.push(member().note(Kind::LeftOut, text));
            }
        }
        self.defects.report() == 0
    }

    /// Whether everything that was read here and below was what its reader expected.
    pub fn is_understood(&self) -> bool {
        self.defects.count.get() == 0
    }

    fn member(&self, name: &str, node: &'n Node) -> Reader<'n> {
        let path = match self.path.as_str() {
            "" => name.to_owned(),
            outer => format!("{outer}.{name}"),
        };
        Self {
            dialect: self.dialect,
            defects: Defects::below(&self.defects),
            ..Self::at(node, self.file, path)
        }
    }
}

/// Milliseconds of a decimal number of seconds.
fn millis_of(seconds: &str) -> Option<u64> {
    let (whole, fraction) = seconds.split_once('.').unwrap_or((seconds, "0"));
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: String = fraction.chars().chain("000".chars()).take(3).collect();
    let whole: u64 = whole.parse().ok()?;
    whole.checked_mul(1000)?.checked_add(fraction.parse().ok()?)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Value>::deserialize(deserializer)?;
        Ok(Self {
            line: spanned.referenced.line(),
            value: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyValue)
    }
}

struct AnyValue;

impl<'de> Visitor<'de> for AnyValue {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML or JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Value, D::Error> {
        Value::deserialize(inner)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Value::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Value::Map(entries))
    }
}
