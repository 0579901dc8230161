//! A YAML document whose values know their location, with a deserializer that reports every problem
//! and not only the first.
//!
//! A [`Field`] catches the errors inside it, and unknown names are reported and skipped. So one
//! pass over a document finds every misspelt name and every value of the wrong type.

use std::cell::RefCell;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{self, Deserialize, Deserializer, SeqAccess, Visitor};

mod hints;
mod node;
mod reader;

use node::Node;
use reader::Reader;

/// The location of a value in the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Location {
    /// The line, from 1; 0 if the value is not from a file.
    pub line: u64,
    /// The column, from 1.
    pub column: u64,
    /// The path of names, such as `providers[0].issuer`, or a command-line flag.
    pub path: String,
}

impl Location {
    /// The location of a value from the command line.
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
    /// Whether the configuration is still usable.
    pub severity: Severity,
    /// Where the problem is.
    pub location: Location,
    /// What is wrong and what to do about it.
    pub message: String,
}

/// Whether a configuration with the problem is usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It is not usable.
    Error,
    /// It is usable and does what it says, but that is probably not what the operator wants.
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
    /// The document does not have it, or it is `null`.
    #[default]
    Absent,
    /// The document has it, but it is wrong and already reported.
    Invalid,
    /// The document has it.
    Given(Location, T),
}

impl<T> Field<T> {
    /// The value with its location, if it is present and correct.
    pub fn given(&self) -> Option<(&Location, &T)> {
        match self {
            Self::Given(location, value) => Some((location, value)),
            Self::Absent | Self::Invalid => None,
        }
    }

    /// The value, if it is present and correct.
    pub fn value(&self) -> Option<&T> {
        self.given().map(|(_, value)| value)
    }
}

/// The name by which a [`Field`] identifies itself to [`Reader`], which then provides its location.
const FIELD: &str = "$claimgate::Field";

/// The name by which [`Spelled`] identifies itself to [`Reader`].
const SPELLED: &str = "$claimgate::Spelled";

/// Text, a number, true or false, exactly as the file spells it: `1.0` stays `1.0`, and a number of
/// any length is exact. Numbers must be spelled as in JSON.
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

/// In a schema, a field looks like its value.
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

/// Reads a document into `T` and collects every problem on the way.
///
/// # Errors
///
/// Fails with a single problem if the text is not YAML, or does not have the outer form of `T`.
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
    // The location is printed in front of every message, so it is removed here.
    let what = first.strip_prefix("error: ").unwrap_or(first);
    let what = match what.split_once(": ") {
        Some((place, what)) if place.starts_with("line ") => what,
        _ => what,
    };
    let several = "multiple YAML documents";
    let what = if what.starts_with(several) {
        "it contains several documents; remove `---`"
    } else {
        what
    };
    // This advice is for callers of the parser, not for the author of the file.
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
