//! A map from header names to values.

use std::collections::HashMap;

/// Values by header name. A lookup finds the values of every spelling of the name.
#[derive(Clone, Debug)]
pub struct ByHeaderName<T> {
    /// Keyed by the [`folded`] name.
    values: HashMap<Vec<u8>, Vec<T>>,
    /// Bit n is set if some name has n bytes; the last bit stands for all longer names. Most
    /// headers of a request are ruled out by their length, without hashing.
    lengths: u64,
}

impl<T> Default for ByHeaderName<T> {
    fn default() -> Self {
        Self {
            values: HashMap::new(),
            lengths: 0,
        }
    }
}

impl<T> ByHeaderName<T> {
    /// Adds a value under this name.
    pub fn insert(&mut self, name: &str, value: T) {
        self.values.entry(folded(name)).or_default().push(value);
        self.lengths |= length_bit(name);
    }

    /// The values under this name and all its aliases.
    pub fn get(&self, sent: &str) -> &[T] {
        if self.lengths & length_bit(sent) == 0 {
            return &[];
        }
        self.values.get(&folded(sent)).map_or(&[], Vec::as_slice)
    }

    /// Whether the map has no values.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// The name in lower case, with `-` for each character that is neither a letter nor a digit.
/// Servers in the CGI tradition cannot tell names apart that fold alike.
fn folded(name: &str) -> Vec<u8> {
    let fold = |byte: u8| match byte.is_ascii_alphanumeric() {
        true => byte.to_ascii_lowercase(),
        false => b'-',
    };
    name.bytes().map(fold).collect()
}

fn length_bit(name: &str) -> u64 {
    1 << name.len().min(63)
}
