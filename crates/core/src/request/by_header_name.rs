//! Values by the name of a header.

use std::collections::HashMap;

/// Values by the name of a header, found under every spelling of it.
#[derive(Clone, Debug)]
pub struct ByHeaderName<T> {
    /// By the folded name.
    values: HashMap<Vec<u8>, Vec<T>>,
    /// Bit n is set if a name has n bytes; the last bit stands for all longer ones.
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
    /// Adds a value to those of this name.
    pub fn insert(&mut self, name: &str, value: T) {
        self.values.entry(folded(name)).or_default().push(value);
        self.lengths |= length_bit(name);
    }

    /// The values of this name and of all its aliases.
    pub fn get(&self, sent: &str) -> &[T] {
        if self.lengths & length_bit(sent) == 0 {
            return &[];
        }
        self.values.get(&folded(sent)).map_or(&[], Vec::as_slice)
    }

    /// Whether no name has a value.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// A name in lower case, with `-` for each character that is neither letter nor digit: servers in
/// the tradition of CGI cannot tell such names apart.
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
