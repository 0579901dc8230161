//! Parts of Envoy's configuration as a control plane writes them, for the module that reads them.

use super::source::{Node, Value};

/// Makes values that all stand in one line of the source.
#[derive(Clone, Copy)]
pub struct Maker {
    /// The line.
    pub line: u64,
}

impl Maker {
    fn of(self, value: Value) -> Node {
        let line = self.line;
        Node { line, value }
    }

    /// Text.
    pub fn text(self, text: &str) -> Node {
        self.of(Value::Text(text.to_owned()))
    }

    /// A boolean.
    pub fn flag(self, truth: bool) -> Node {
        self.of(Value::Bool(truth))
    }

    /// A list.
    pub fn list(self, nodes: Vec<Node>) -> Node {
        self.of(Value::List(nodes))
    }

    /// A list of texts.
    pub fn texts(self, texts: &[String]) -> Node {
        self.list(texts.iter().map(|text| self.text(text)).collect())
    }

    /// A mapping.
    pub fn map(self, entries: Vec<(&str, Node)>) -> Node {
        let entries = entries
            .into_iter()
            .map(|(name, node)| (name.to_owned(), node));
        self.of(Value::Map(entries.collect()))
    }

    /// A mapping of two texts.
    pub fn pair(self, [one, other]: [(&str, &str); 2]) -> Node {
        self.map(vec![
            (one.0, self.text(one.1)),
            (other.0, self.text(other.1)),
        ])
    }

    /// A duration of proto's JSON, from milliseconds.
    pub fn duration(self, millis: u64) -> Node {
        self.text(&format!("{}.{:03}s", millis / 1000, millis % 1000))
    }
}
