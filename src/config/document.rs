//! A YAML document whose every value knows where it stands, and a deserializer over it that
//! reports all that is wrong, not only the first thing.
//!
//! A [`Field`] catches what goes wrong inside it; an unknown name is reported and passed over.
//! So one run over a document finds every misspelt name and every value of the wrong type.

use std::cell::RefCell;
use std::fmt;

use serde::de::value::StringDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess};
use serde::de::{Deserialize, Visitor};
use serde::forward_to_deserialize_any;
use serde_saphyr::Spanned;

/// Where a value stands in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    /// Its line, from 1; 0 when it comes from no file.
    pub line: u64,
    /// Its column, from 1.
    pub column: u64,
    /// Its place among the names: `providers[0].issuer`, or a command-line flag.
    pub path: String,
}

impl Spot {
    /// The spot of a value that was given on the command line.
    pub fn flag(name: &str) -> Self {
        Self {
            path: name.to_owned(),
            ..Self::default()
        }
    }
}

/// Something that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub spot: Spot,
    /// What, and what to do about it.
    pub message: String,
}

impl fmt::Display for Problem {
    /// `3:5: providers[0].isuer: unknown field; did you mean `issuer`?`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spot { line, column, path } = &self.spot;
        if *line > 0 {
            write!(f, "{line}:{column}: ")?;
        }
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            spot: Spot::default(),
            message: message.to_string(),
        }
    }
}

/// A value of the configuration that may be absent or wrong.
#[derive(Clone, Debug, Default)]
pub enum Field<T> {
    /// Not in the document, or `null`.
    #[default]
    Absent,
    /// There, but reported as a problem already.
    Invalid,
    /// There.
    Given(Spot, T),
}

impl<T> Field<T> {
    /// The value with its place, if it is there and right.
    pub fn given(&self) -> Option<(&Spot, &T)> {
        match self {
            Self::Given(spot, value) => Some((spot, value)),
            Self::Absent | Self::Invalid => None,
        }
    }

    /// The value, if it is there and right.
    pub fn value(&self) -> Option<&T> {
        self.given().map(|(_, value)| value)
    }
}

/// What a [`Field`] asks its deserializer for, so that [`Reader`] knows to say where it stands.
const FIELD: &str = "$claimgate::Field";

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Field<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Located<T>(std::marker::PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Located<T> {
            type Value = Field<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value with its place")
            }

            fn visit_unit<E: de::Error>(self) -> Result<Field<T>, E> {
                Ok(Field::Absent)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Field<T>, A::Error> {
                let mut part = || parts.next_element::<u64>().map(Option::unwrap_or_default);
                let (line, column) = (part()?, part()?);
                let path = parts.next_element()?.unwrap_or_default();
                let spot = Spot { line, column, path };
                Ok(match parts.next_element()? {
                    Some(value) => Field::Given(spot, value),
                    None => Field::Invalid,
                })
            }
        }

        deserializer.deserialize_newtype_struct(FIELD, Located(std::marker::PhantomData))
    }
}

/// Reads a document into `T`, with every problem found on the way.
///
/// # Errors
///
/// When it is no YAML at all, or not of `T`'s outer form; then there is one problem.
pub fn read<T: Default + for<'de> Deserialize<'de>>(
    yaml: &str,
) -> Result<(Field<T>, Vec<Problem>), Problem> {
    let root: Node = serde_saphyr::from_str(yaml).map_err(|error| not_yaml(&error))?;
    let problems = RefCell::new(Vec::new());
    let reader = Reader {
        node: &root,
        path: String::new(),
        problems: &problems,
    };
    let field = Field::deserialize(reader)?;
    Ok((field, problems.into_inner()))
}

fn not_yaml(error: &serde_saphyr::Error) -> Problem {
    let (line, column) = error
        .location()
        .map_or((0, 0), |location| (location.line(), location.column()));
    let text = error.to_string();
    // The location is shown in front, as everywhere.
    let message = text.split(" at line").next().unwrap_or(&text);
    Problem {
        spot: Spot {
            line,
            column,
            path: String::new(),
        },
        message: format!(
            "not valid YAML: {}",
            message.lines().next().unwrap_or_default()
        ),
    }
}

/// A value and where it stands.
#[derive(Debug)]
struct Node {
    line: u64,
    column: u64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Null,
    Bool(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Spanned<String>, Node)>),
}

impl Content {
    fn kind(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "true or false",
            Self::Integer(_) | Self::Unsigned(_) | Self::Float(_) => "a number",
            Self::Text(_) => "text",
            Self::List(_) => "a list",
            Self::Map(_) => "a mapping",
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        Ok(Self {
            line: spanned.referenced.line(),
            column: spanned.referenced.column(),
            content: spanned.value,
        })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Content;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("YAML")
            }

            fn visit_unit<E>(self) -> Result<Content, E> {
                Ok(Content::Null)
            }

            fn visit_none<E>(self) -> Result<Content, E> {
                Ok(Content::Null)
            }

            fn visit_some<D: Deserializer<'de>>(self, inner: D) -> Result<Content, D::Error> {
                Content::deserialize(inner)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
                Ok(Content::Bool(value))
            }

            fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
                Ok(Content::Integer(value))
            }

            fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
                Ok(Content::Unsigned(value))
            }

            fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
                Ok(Content::Float(value))
            }

            fn visit_str<E>(self, value: &str) -> Result<Content, E> {
                Ok(Content::Text(value.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Content, A::Error> {
                let mut nodes = Vec::new();
                while let Some(node) = list.next_element()? {
                    nodes.push(node);
                }
                Ok(Content::List(nodes))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Content, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Content::Map(entries))
            }
        }

        deserializer.deserialize_any(Any)
    }
}

/// Deserializes from one node.
#[derive(Clone)]
struct Reader<'n> {
    node: &'n Node,
    path: String,
    problems: &'n RefCell<Vec<Problem>>,
}

impl<'n> Reader<'n> {
    fn problem(&self, message: String) -> Problem {
        Problem {
            spot: Spot {
                line: self.node.line,
                column: self.node.column,
                path: self.path.clone(),
            },
            message,
        }
    }

    /// Gives problems raised by a visitor, which does not know where it is, their place.
    fn place<T>(&self, result: Result<T, Problem>) -> Result<T, Problem> {
        result.map_err(|problem| match problem.spot.line {
            0 => self.problem(problem.message),
            _ => problem,
        })
    }

    fn expected<T>(&self, wanted: &str) -> Result<T, Problem> {
        let hint = match (&self.node.content, wanted) {
            (
                Content::Integer(_) | Content::Unsigned(_) | Content::Float(_) | Content::Bool(_),
                "text",
            ) => "; put it in quotes",
            (Content::Text(_), "a list") => "; write `[value]`",
            _ => "",
        };
        let found = self.node.content.kind();
        Err(self.problem(format!("expected {wanted}, found {found}{hint}")))
    }

    fn element(&self, index: usize, node: &'n Node) -> Self {
        Self {
            node,
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
            path,
            problems: self.problems,
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

    /// Members whose name is not among `known` are reported and left out; `None` knows all.
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
                .problem(unknown_name(&name.value, known.unwrap_or_default()));
            problem.spot.line = name.referenced.line();
            problem.spot.column = name.referenced.column();
            self.problems.borrow_mut().push(problem);
        }
        self.place(visitor.visit_map(Map {
            reader: self,
            entries: read.into_iter(),
            value: None,
        }))
    }
}

fn unknown_name(name: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min();
    match near {
        Some((_, candidate)) => format!("unknown field; did you mean `{candidate}`?"),
        None => format!("unknown field; known here: {}", known.join(", ")),
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
            Content::Float(value) => visitor.visit_f64(*value),
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
        i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct
        tuple tuple_struct enum identifier ignored_any
    }
}

/// The four parts of a [`Field`]: line, column, path and the value, which is left out when it is
/// wrong.
struct Place<'n> {
    reader: Reader<'n>,
    part: u8,
}

impl<'de> SeqAccess<'de> for Place<'_> {
    type Error = Problem;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Problem> {
        self.part += 1;
        match self.part {
            1 => seed
                .deserialize(self.reader.node.line.into_deserializer())
                .map(Some),
            2 => seed
                .deserialize(self.reader.node.column.into_deserializer())
                .map(Some),
            3 => {
                let path = StringDeserializer::<Problem>::new(self.reader.path.clone());
                seed.deserialize(path).map(Some)
            }
            4 => Ok(
                match self.reader.place(seed.deserialize(self.reader.clone())) {
                    Ok(value) => Some(value),
                    Err(problem) => {
                        self.reader.problems.borrow_mut().push(problem);
                        None
                    }
                },
            ),
            _ => Ok(None),
        }
    }
}

struct List<'r, 'n> {
    reader: &'r Reader<'n>,
    nodes: std::iter::Enumerate<std::slice::Iter<'n, Node>>,
}

impl<'de> SeqAccess<'de> for List<'_, '_> {
    type Error = Problem;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Problem> {
        self.nodes
            .next()
            .map(|(index, node)| seed.deserialize(self.reader.element(index, node)))
            .transpose()
    }
}

struct Map<'r, 'n> {
    reader: &'r Reader<'n>,
    entries: std::vec::IntoIter<&'n (Spanned<String>, Node)>,
    value: Option<Reader<'n>>,
}

impl<'de> MapAccess<'de> for Map<'_, '_> {
    type Error = Problem;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Problem> {
        let Some((name, node)) = self.entries.next() else {
            return Ok(None);
        };
        self.value = Some(self.reader.member(&name.value, node));
        seed.deserialize(name.value.as_str().into_deserializer())
            .map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Problem> {
        match self.value.take() {
            Some(reader) => seed.deserialize(reader),
            None => Err(de::Error::custom("a value was read before its name")),
        }
    }
}
