//! The facts about a request that a decision may look at. Borrowed from the wire, never copied.

/// One HTTP request, as the proxy describes it. Every text is the client's choice: trust none.
#[derive(Clone, Debug, Default)]
pub struct Request<'a> {
    /// As sent, case included. Empty when there is none.
    pub method: &'a str,
    /// The authority, with its port and in the client's case.
    pub host: &'a str,
    /// The raw path with its query. Empty for CONNECT without a path and for TCP checks.
    pub path: &'a str,
    /// The header lines.
    pub headers: Headers<'a>,
}

impl Request<'_> {
    /// Whether the client speaks gRPC, and so reads a refusal from `grpc-message`, not from a body.
    pub fn is_grpc(&self) -> bool {
        self.headers
            .all("content-type")
            .any(|value| value.starts_with(b"application/grpc"))
    }
}

/// Header lines in the order received. A proxy may have joined repeated lines with a comma.
#[derive(Clone, Debug, Default)]
pub struct Headers<'a>(Vec<(&'a str, &'a [u8])>);

impl<'a> Headers<'a> {
    /// The values of every line called `name` (lower case); names match in any case.
    pub fn all<'n>(&'n self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'n, 'a> {
        self.0
            .iter()
            .filter(move |(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| *value)
    }

    /// Every line: its name as sent, and its value.
    pub fn lines(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> {
        self.0.iter().copied()
    }

    /// The names as sent, repeats included.
    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.0.iter().map(|(name, _)| *name)
    }
}

impl<'a> FromIterator<(&'a str, &'a [u8])> for Headers<'a> {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a [u8])>>(lines: I) -> Self {
        Self(lines.into_iter().collect())
    }
}
