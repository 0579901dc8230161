//! A deserializer over a tree of nodes that knows its current location.

use std::cell::RefCell;

use serde::de::{Deserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_saphyr::Spanned;

mod access;

use access::{List, Map, Place};

use super::node::{Content, Node};
use super::{FIELD, Location, Problem, SPELLED, Severity, hints};
use claimgate_core::escaped::nearest;
use claimgate_core::token::json::Decimal;

/// The start of messages about a number in place of text. Such messages get a hint.
const EXPECTED_TEXT: &str = "expected text";

/// Deserializes from one node.
#[derive(Clone)]
pub(super) struct Reader<'n> {
    node: &'n Node,
    yaml: &'n str,
    path: String,
    problems: &'n RefCell<Vec<Problem>>,
}

impl<'n> Reader<'n> {
    /// Reads from `node`. Errors that a [`Field`](super::Field) catches, and unknown names, go to
    /// `problems`.
    pub(super) fn new(node: &'n Node, yaml: &'n str, problems: &'n RefCell<Vec<Problem>>) -> Self {
        Self {
            node,
            yaml,
            path: String::new(),
            problems,
        }
    }

    fn problem(&self, message: String) -> Problem {
        Problem {
            severity: Severity::Error,
            location: Location {
                line: self.node.line,
                column: self.node.column,
                path: self.path.clone(),
            },
            message,
        }
    }

    /// Adds the location to problems from a visitor, which does not know it.
    fn place<T>(&self, result: Result<T, Problem>) -> Result<T, Problem> {
        result.map_err(
            |problem| match (problem.location.line, self.hint_for_number()) {
                (0, Some(hint)) if problem.message.starts_with(EXPECTED_TEXT) => {
                    self.problem(format!("{}; {hint}", problem.message))
                }
                (0, _) => self.problem(problem.message),
                _ => problem,
            },
        )
    }

    fn expected<T>(&self, wanted: &str) -> Result<T, Problem> {
        let hint = match (&self.node.content, wanted) {
            (Content::Text(text), "a mapping") => hints::instead_of_text(&self.path, text),
            (Content::Text(text), "a list") => Some(format!("write `[{text}]`")),
            (_, "text") => self.hint_for_number(),
            _ => None,
        };
        let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
        let found = self.node.content.kind();
        Err(self.problem(format!("expected {wanted}, found {found}{hint}")))
    }

    /// What to write instead, if the node is a number or a boolean where text is expected.
    fn hint_for_number(&self) -> Option<String> {
        let number = match &self.node.content {
            Content::Integer(number) => number.to_string(),
            Content::Unsigned(number) => number.to_string(),
            Content::Float(number) => number.to_string(),
            Content::Bool(truth) => truth.to_string(),
            Content::Null | Content::Text(_) | Content::List(_) | Content::Map(_) => return None,
        };
        Some(hints::instead_of_number(&self.path, &number))
    }

    fn element(&self, index: usize, node: &'n Node) -> Self {
        Self {
            node,
            yaml: self.yaml,
            path: format!("{}[{index}]", self.path),
            problems: self.problems,
        }
    }

    fn member(&self, name: &str, node: &'n Node) -> Self {
        let path = match self.path.as_str() {
            "" => name.to_owned(),
            outer => format!("{outer}.{name}"),
        };
        Self {
            node,
            yaml: self.yaml,
            path,
            problems: self.problems,
        }
    }

    /// The node's text in the file.
    fn text(&self) -> Option<&'n str> {
        let (start, length) = self.node.text?;
        let start = usize::try_from(start).ok()?;
        let end = start.checked_add(length.try_into().ok()?)?;
        self.yaml.get(start..end)
    }

    /// The node as it is spelled. A spelling that only YAML understands is an error, such as `yes`
    /// for true or `0x10` for 16.
    fn spelled(&self) -> Result<&'n str, Problem> {
        let wrong = |what: &str| {
            let spelling = self.text().unwrap_or_default();
            Err(self.problem(format!(
                "`{spelling}` is {what}; write it like that, or in quotes if it is text"
            )))
        };
        let text = self.text().unwrap_or_default();
        let is_number = |same: bool| same && Decimal::parse(text).is_some();
        match &self.node.content {
            Content::Text(text) => Ok(text),
            Content::Bool(truth) if text == truth.to_string() => Ok(text),
            Content::Bool(truth) => wrong(&format!("read as {truth}")),
            Content::Integer(value) if is_number(text.parse() == Ok(*value)) => Ok(text),
            Content::Unsigned(value) if is_number(text.parse() == Ok(*value)) => Ok(text),
            Content::Float(value) if is_number(text.parse() == Ok(*value)) => Ok(text),
            Content::Integer(_) | Content::Unsigned(_) | Content::Float(_) => {
                wrong("a number that is not written as in JSON")
            }
            Content::Null | Content::List(_) | Content::Map(_) => {
                Err(self.problem("expected a value, or a list of values".to_owned()))
            }
        }
    }

    /// The number as a double. Fails if that would silently change it to another number.
    fn double(&self, value: f64) -> Result<f64, Problem> {
        let nearest = value.to_string();
        let canonical = |text| Some(Decimal::parse(text)?.canonical());
        match self.text().and_then(canonical) {
            Some(written) if canonical(&nearest).as_ref() != Some(&written) => {
                Err(self.problem(format!(
                    "the nearest number that can be read here is {nearest}; write it as text in quotes"
                )))
            }
            _ => Ok(value),
        }
    }

    fn unknown_name(&self, name: &str, known: &[&str]) -> String {
        if let Some(hint) = hints::misnamed(&self.path, name, known) {
            return format!("unknown field; {hint}");
        }
        match nearest(name, known.iter().copied()) {
            Some(near) => format!("unknown field; did you mean `{near}`?"),
            None => format!("unknown field; known here: {}", known.join(", ")),
        }
    }

    fn list<'de, V: Visitor<'de>>(
        &self,
        nodes: &'n [Node],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        self.place(visitor.visit_seq(List {
            reader: self,
            nodes: nodes.iter().enumerate(),
        }))
    }

    /// Reads a mapping. Members outside `known` are reported and skipped; `None` accepts every
    /// name.
    fn map<'de, V: Visitor<'de>>(
        &self,
        entries: &'n [(Spanned<String>, Node)],
        known: Option<&'static [&'static str]>,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        let (read, unknown): (Vec<_>, Vec<_>) = entries
            .iter()
            .partition(|(name, _)| known.is_none_or(|known| known.contains(&name.value.as_str())));
        for (name, node) in unknown {
            let mut problem = self
                .member(&name.value, node)
                .problem(self.unknown_name(&name.value, known.unwrap_or_default()));
            problem.location.line = name.referenced.line();
            problem.location.column = name.referenced.column();
            self.problems.borrow_mut().push(problem);
        }
        // A section without a value is probably commented out by mistake, so it is not taken as
        // absent.
        let (read, empty): (Vec<_>, Vec<_>) = read
            .into_iter()
            .partition(|(_, node)| known.is_none() || !matches!(node.content, Content::Null));
        for (name, node) in empty {
            let problem = self
                .member(&name.value, node)
                .problem("has no value; give it one, or remove it".to_owned());
            self.problems.borrow_mut().push(problem);
        }
        self.place(visitor.visit_map(Map {
            reader: self,
            entries: read.into_iter(),
            value: None,
        }))
    }
}

impl<'de> Deserializer<'de> for Reader<'_> {
    type Error = Problem;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        let result = match &self.node.content {
            Content::Null => visitor.visit_unit(),
            Content::Bool(value) => visitor.visit_bool(*value),
            Content::Integer(value) => visitor.visit_i64(*value),
            Content::Unsigned(value) => visitor.visit_u64(*value),
            Content::Float(value) => visitor.visit_f64(self.double(*value)?),
            Content::Text(value) => visitor.visit_str(value),
            Content::List(nodes) => return self.list(nodes, visitor),
            Content::Map(entries) => return self.map(entries, None, visitor),
        };
        self.place(result)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match (name, &self.node.content) {
            (FIELD, Content::Null) => visitor.visit_unit(),
            (FIELD, _) => visitor.visit_seq(Place {
                reader: self,
                part: 0,
            }),
            (SPELLED, Content::List(nodes)) => self.list(nodes, visitor),
            (SPELLED, _) => self.spelled().and_then(|text| visitor.visit_str(text)),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.content {
            Content::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.content {
            Content::Text(text) => self.place(visitor.visit_str(text)),
            _ => self.expected("text"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        self.deserialize_str(visitor)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.content {
            Content::Bool(value) => self.place(visitor.visit_bool(*value)),
            _ => self.expected("true or false"),
        }
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.content {
            Content::Integer(_) | Content::Unsigned(_) | Content::Float(_) => {
                self.deserialize_any(visitor)
            }
            _ => self.expected("a number"),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.content {
            Content::List(nodes) => self.list(nodes, visitor),
            _ => self.expected("a list"),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Problem> {
        match &self.node.content {
            Content::Map(entries) => self.map(entries, None, visitor),
            _ => self.expected("a mapping"),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Problem> {
        match &self.node.content {
            Content::Map(entries) => self.map(entries, Some(fields), visitor),
            _ => self.expected("a mapping"),
        }
    }

    forward_to_deserialize_any! {
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 char bytes byte_buf unit unit_struct
        tuple tuple_struct enum identifier ignored_any
    }
}
