//! A YAML document whose every value knows where it stands, and a deserializer over it that
//! reports all that is wrong, not only the first thing.
//!
//! A [`Field`] catches what goes wrong inside it; an unknown name is reported and passed over.
//! So one run over a document finds every misspelt name and every value of the wrong type.

use std::cell::RefCell;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

mod hints;
mod node;
mod reader;

use node::Node;
use reader::Reader;

/// Where a value stands in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// Its line, from 1; 0 when it comes from no file.
    pub line: u64,
    /// Its column, from 1.
    pub column: u64,
    /// Its place among the names: `providers[0].issuer`, or a command-line flag.
    pub path: String,
}

impl Location {
    /// The location of a value that was given on the command line.
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
    /// Whether it can be used all the same.
    pub severity: Severity,
    /// Where.
    pub location: Location,
    /// What, and what to do about it.
    pub message: String,
}

/// Whether a configuration with a problem can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It cannot.
    Error,
    /// It can, and does what it says; that is likely not what is meant.
    Warning,
}

impl fmt::Display for Problem {
    /// `3:5: providers[0].isuer: unknown field; did you mean `issuer`?`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Location { line, column, path } = &self.location;
        if *line > 0 {
            write!(f, "{line}:{column}: ")?;
        }
        if !path.is_empty() {
            write!(f, "{path}: ")?;
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl de::Error for Problem {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self {
            severity: Severity::Error,
            location: Location::default(),
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
    Given(Location, T),
}

impl<T> Field<T> {
    /// The value with its place, if it is there and right.
    pub fn given(&self) -> Option<(&Location, &T)> {
        match self {
            Self::Given(location, value) => Some((location, value)),
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

/// What [`Spelled`] asks its deserializer for.
const SPELLED: &str = "$claimgate::Spelled";

/// Text, a number, true or false, as the file spells it: `1.0` stays `1.0`, and a number of any
/// length is exact. Numbers must be spelled as in JSON.
#[derive(Clone, Debug)]
pub struct Spelled(pub String);

/// One [`Spelled`], or a list of them.
#[derive(Clone, Debug)]
pub struct SpelledList(pub Vec<String>);

impl<'de> Deserialize<'de> for Spelled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;

        impl Visitor<'_> for One {
            type Value = Spelled;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text, a number, true or false")
            }

            fn visit_str<E>(self, text: &str) -> Result<Spelled, E> {
                Ok(Spelled(text.to_owned()))
            }
        }

        deserializer.deserialize_newtype_struct(SPELLED, One)
    }
}

impl<'de> Deserialize<'de> for SpelledList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = SpelledList;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a value, or a list of values")
            }

            fn visit_str<E>(self, text: &str) -> Result<SpelledList, E> {
                Ok(SpelledList(vec![text.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<SpelledList, A::Error> {
                let mut texts = Vec::new();
                while let Some(Spelled(text)) = list.next_element()? {
                    texts.push(text);
                }
                Ok(SpelledList(texts))
            }
        }

        deserializer.deserialize_newtype_struct(SPELLED, OneOrMany)
    }
}

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
                let location = Location { line, column, path };
                Ok(match parts.next_element()? {
                    Some(value) => Field::Given(location, value),
                    None => Field::Invalid,
                })
            }
        }

        deserializer.deserialize_newtype_struct(FIELD, Located(std::marker::PhantomData))
    }
}

/// To a schema, a field is what is in it.
impl<T: JsonSchema> JsonSchema for Field<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
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
    let field = Field::deserialize(Reader::new(&root, yaml, &problems))?;
    Ok((field, problems.into_inner()))
}

fn not_yaml(error: &serde_saphyr::Error) -> Problem {
    let (line, column) = error
        .location()
        .map_or((0, 0), |location| (location.line(), location.column()));
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    // The location is shown in front, as everywhere.
    let what = first.strip_prefix("error: ").unwrap_or(first);
    let what = match what.split_once(": ") {
        Some((place, what)) if place.starts_with("line ") => what,
        _ => what,
    };
    let several = "multiple YAML documents";
    let what = if what.starts_with(several) {
        "it holds several documents; remove `---`"
    } else {
        what
    };
    // Advice for whoever calls the parser, not for whoever wrote the file.
    let what = what
        .split(", set DuplicateKeyPolicy")
        .next()
        .unwrap_or(what);
    Problem {
        severity: Severity::Error,
        location: Location {
            line,
            column,
            path: String::new(),
        },
        message: format!("not valid YAML: {what}"),
    }
}
