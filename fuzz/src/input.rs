//! A request as bytes. Each line is a header, an entry of the route's context (`@name:value`), the address (`<`) or the
//! certificate (`>`) of the client. In a value, byte 1 is a line feed, and byte 2 repeats what is before it 4,096
//! times.

use std::collections::BTreeMap;

use claimgate_envoy::stream::{Line, Source};

/// A request.
pub struct Input {
    /// The headers, except for one whose name is not UTF-8.
    pub lines: Vec<(String, Vec<u8>)>,
    /// What the route says.
    pub context: Vec<(String, String)>,
    /// The address of the client.
    pub address: String,
    principal: String,
    /// A header whose name is not UTF-8.
    garbled: Option<Vec<u8>>,
}

impl Input {
    /// Reads a request, with a token if there is one of this number.
    pub fn read(tokens: &[String], token: u8, text: &[u8]) -> Self {
        let mut input = Self {
            lines: Vec::new(),
            context: Vec::new(),
            address: String::new(),
            principal: String::new(),
            garbled: None,
        };
        let good = tokens.get(usize::from(token));
        for line in text.split(|byte| *byte == b'\n') {
            input.line(line);
        }
        if let Some(good) = good {
            let value = format!("Bearer {good}").into_bytes();
            input.lines.push(("authorization".to_owned(), value));
        }
        // A route cannot say two things under one name.
        let context: BTreeMap<_, _> = input.context.into_iter().collect();
        input.context = context.into_iter().collect();
        input
    }

    fn line(&mut self, line: &[u8]) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match line {
            [b'<', address @ ..] => self.address = text(address),
            [b'>', principal @ ..] => self.principal = text(principal),
            [b'@', entry @ ..] => {
                let (name, value) = named(entry);
                self.context.push((text(name), text(value)));
            }
            line => {
                let (name, value) = named(line);
                let value = expanded(value);
                match str::from_utf8(name) {
                    // HTTP/2 has no other names, and Envoy's HTTP/1 makes them so.
                    Ok(name) => self.lines.push((name.to_ascii_lowercase(), value)),
                    Err(_) => self.garbled = Some(name.to_vec()),
                }
            }
        }
    }

    /// All headers.
    pub fn lines(&self) -> Vec<Line<'_>> {
        let lines = self.lines.iter();
        let lines = lines.map(|(name, value)| (name.as_bytes(), value.as_slice()));
        let garbled = self.garbled.iter().map(|name| (name.as_slice(), &b""[..]));
        lines.chain(garbled).collect()
    }

    /// Whether a path does.
    pub fn path_begins_with(&self, prefix: &[u8]) -> bool {
        let mut lines = self.lines.iter();
        lines.any(|(name, value)| name == ":path" && value.starts_with(prefix))
    }

    /// The client.
    pub fn source(&self) -> Source<'_> {
        Source {
            address: &self.address,
            principal: self.principal.as_str().into(),
        }
    }
}

/// The name and the value of a line. The colon of a pseudo-header belongs to its name.
fn named(line: &[u8]) -> (&[u8], &[u8]) {
    let colon = line.iter().skip(1).position(|byte| *byte == b':');
    match colon {
        Some(before) => (&line[..=before], &line[before + 2..]),
        None => (line, &[]),
    }
}

fn expanded(value: &[u8]) -> Vec<u8> {
    let mut expanded = Vec::new();
    for byte in value {
        match byte {
            1 => expanded.push(b'\n'),
            2 if expanded.len() <= 64 => expanded = expanded.repeat(4_096),
            byte => expanded.push(*byte),
        }
    }
    expanded
}
