//! All places that may carry a token.
//!
//! A request is read once for all places, so its cost does not grow with their number.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::spelling::{self, Lengths, Readings};
use super::{TokenSource, cookie, header, query, websocket};
use crate::request::by_header_name::ByHeaderName;
use crate::request::{Headers, Request, is_alias, is_spelling};

/// All places that may carry a token, in the order of the configuration.
#[derive(Clone, Debug)]
pub struct TokenPlaces {
    places: Arc<[Arc<TokenSource>]>,
    /// Finds the used places, if there are too many to read one by one.
    lookup: Option<Lookup>,
}

/// The maximum number of places that are read one by one. For so few, that is faster than hashing
/// and allocates nothing.
const FEW_PLACES: usize = 4;

impl TokenPlaces {
    /// These places. No two may be equal.
    pub fn new(places: Vec<Arc<TokenSource>>) -> Self {
        let lookup = (places.len() > FEW_PLACES).then(|| Lookup::of(&places));
        let places = places.into();
        Self { places, lookup }
    }

    /// All places.
    pub fn all(&self) -> &Arc<[Arc<TokenSource>]> {
        &self.places
    }

    /// The first place.
    pub fn first(&self) -> Option<&Arc<TokenSource>> {
        self.places.first()
    }

    /// Whether `sent` is another spelling of the name of a header that may carry a token.
    pub(crate) fn is_alias(&self, sent: &str) -> bool {
        self.has_header(sent, is_alias)
    }

    /// Whether `sent` is the name of a header that may carry a token, or another spelling of it.
    pub(crate) fn is_spelling(&self, sent: &str) -> bool {
        self.has_header(sent, is_spelling)
    }

    fn has_header(&self, sent: &str, is_own: impl Fn(&str, &str) -> bool) -> bool {
        match &self.lookup {
            Some(lookup) => {
                let mut of_name = lookup.headers.get(sent).iter();
                of_name.any(|header| is_own(&header.name, sent))
            }
            None => {
                let mut names = self.places.iter().filter_map(|place| place.header());
                names.any(|name| is_own(name, sent))
            }
        }
    }

    /// The places that hold anything in this request, a token or not.
    pub(crate) fn used<'p>(
        &'p self,
        request: &Request<'_>,
    ) -> impl Iterator<Item = &'p Arc<TokenSource>> {
        let is_exact = self.lookup.is_some();
        self.candidates(request)
            .filter(move |place| is_exact || place.is_used(request))
    }

    /// The places worth reading: all places if they are few, otherwise only those that are used.
    pub(crate) fn candidates<'p>(
        &'p self,
        request: &Request<'_>,
    ) -> impl Iterator<Item = &'p Arc<TokenSource>> + use<'p> {
        self.marked(self.lookup.as_ref().map(|lookup| lookup.used(request)))
    }

    /// The places that belong to one of these headers.
    pub(crate) fn in_headers<'p>(
        &'p self,
        headers: &Headers<'_>,
    ) -> impl Iterator<Item = &'p Arc<TokenSource>> + use<'p> {
        self.marked(
            self.lookup
                .as_ref()
                .map(|lookup| lookup.in_headers(headers)),
        )
    }

    fn marked(&self, marks: Option<Marks>) -> impl Iterator<Item = &Arc<TokenSource>> {
        let is_marked = move |index: usize| marks.as_ref().is_none_or(|marks| marks.has(index));
        let places = self.places.iter().enumerate();
        places
            .filter(move |(index, _)| is_marked(*index))
            .map(|(_, place)| place)
    }
}

/// The places, indexed by what a request must contain to use them.
#[derive(Clone, Debug, Default)]
struct Lookup {
    count: usize,
    headers: ByHeaderName<HeaderPlaces>,
    /// Keyed by [`spelling::key`].
    cookies: ByName,
    /// Keyed by [`spelling::key`].
    parameters: ByName,
    protocols: ByName,
    /// The lengths of the names of cookies and parameters.
    lengths: Lengths,
}

/// Indexes of places by name.
type ByName = HashMap<Vec<u8>, Vec<usize>>;

/// The places in one header.
#[derive(Clone, Debug, Default)]
struct HeaderPlaces {
    name: String,
    /// The places without a scheme.
    bare: Vec<usize>,
    /// The other places, keyed by scheme in lower case.
    by_scheme: ByName,
    schemes: Lengths,
}

impl Lookup {
    fn of(places: &[Arc<TokenSource>]) -> Self {
        let mut headers: BTreeMap<&str, HeaderPlaces> = BTreeMap::new();
        let mut lookup = Self {
            count: places.len(),
            ..Self::default()
        };
        for (index, place) in places.iter().enumerate() {
            let (names, name) = match &**place {
                TokenSource::Header { name, scheme } => {
                    let header = headers.entry(name).or_default();
                    let Some(scheme) = scheme else {
                        header.bare.push(index);
                        continue;
                    };
                    header.schemes.add(scheme);
                    (
                        &mut header.by_scheme,
                        scheme.to_ascii_lowercase().into_bytes(),
                    )
                }
                TokenSource::Cookie(name) => {
                    lookup.lengths.add(name);
                    (&mut lookup.cookies, spelling::key(name))
                }
                TokenSource::Query(name) => {
                    lookup.lengths.add(name);
                    (&mut lookup.parameters, spelling::key(name))
                }
                TokenSource::WebSocket(name) => {
                    // The entry makes aliases of the header's name known.
                    headers.entry(websocket::HEADER).or_default();
                    (&mut lookup.protocols, name.clone().into_bytes())
                }
            };
            names.entry(name).or_default().push(index);
        }
        for (name, places) in headers {
            let name_of = name.to_owned();
            lookup.headers.insert(
                name,
                HeaderPlaces {
                    name: name_of,
                    ..places
                },
            );
        }
        lookup
    }

    /// The places that are used: exactly those for which `TokenSource::token` does not return
    /// `Ok(None)`.
    fn used(&self, request: &Request<'_>) -> Marks {
        let mut marks = Marks(vec![false; self.count]);
        for (header, line) in self.sent(&request.headers) {
            header.mark(line, &mut marks);
        }
        let mut readings = Readings::new(self.lengths);
        if !self.cookies.is_empty() {
            for name in cookie::each_name(&request.headers) {
                readings.each(name, |name| marks.add(&self.cookies, name));
            }
        }
        if !self.parameters.is_empty() {
            for name in query::names(request.path, self.lengths) {
                readings.each(name, |name| marks.add(&self.parameters, name));
            }
        }
        if !self.protocols.is_empty() {
            websocket::each_name(&request.headers, |name| marks.add(&self.protocols, name));
        }
        marks
    }

    fn in_headers(&self, headers: &Headers<'_>) -> Marks {
        let mut marks = Marks(vec![false; self.count]);
        for (header, _) in self.sent(headers) {
            header.mark_all(&mut marks);
        }
        marks
    }

    /// The header lines that may hold tokens, each with its places.
    fn sent<'h>(
        &'h self,
        headers: &'h Headers<'_>,
    ) -> impl Iterator<Item = (&'h HeaderPlaces, &'h [u8])> {
        headers.lines().flat_map(|(sent, line)| {
            let of_name = self.headers.get(sent).iter();
            of_name
                .filter(move |header| header.name.eq_ignore_ascii_case(sent))
                .map(move |header| (header, line))
        })
    }
}

impl HeaderPlaces {
    fn mark(&self, line: &[u8], marks: &mut Marks) {
        let line = str::from_utf8(line).ok();
        let schemes = line.and_then(|line| header::schemes(line, self.schemes));
        let Some(schemes) = schemes else {
            return self.mark_all(marks);
        };
        marks.add_all(&self.bare);
        let mut lower = Vec::with_capacity(self.schemes.longest());
        for scheme in schemes {
            lower.clear();
            lower.extend(scheme.bytes().map(|byte| byte.to_ascii_lowercase()));
            marks.add(&self.by_scheme, &lower);
        }
    }

    fn mark_all(&self, marks: &mut Marks) {
        marks.add_all(&self.bare);
        for indices in self.by_scheme.values() {
            marks.add_all(indices);
        }
    }
}

/// A set of places: one mark for each.
struct Marks(Vec<bool>);

impl Marks {
    fn has(&self, index: usize) -> bool {
        self.0.get(index).is_some_and(|mark| *mark)
    }

    fn add(&mut self, names: &ByName, name: &[u8]) {
        if let Some(indices) = names.get(name) {
            self.add_all(indices);
        }
    }

    fn add_all(&mut self, indices: &[usize]) {
        for index in indices {
            if let Some(mark) = self.0.get_mut(*index) {
                *mark = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::token::bearer::{CredentialError, find_token};
    use crate::token::source::Unreadable;

    fn places() -> Vec<Arc<TokenSource>> {
        let header = |name: &str, scheme: Option<&str>| TokenSource::Header {
            name: name.to_owned(),
            scheme: scheme.map(str::to_owned),
        };
        [
            TokenSource::authorization(),
            header("authorization", Some("t")),
            header("x-t", None),
            header("u", Some("Bearer")),
            TokenSource::Cookie("t".to_owned()),
            TokenSource::Cookie("u".to_owned()),
            TokenSource::Query("u".to_owned()),
            TokenSource::Query("t".to_owned()),
            TokenSource::WebSocket("t".to_owned()),
            TokenSource::WebSocket("base64url.bearer.authorization.k8s.io".to_owned()),
        ]
        .map(Arc::new)
        .to_vec()
    }

    /// The outcome of reading the places one after another.
    fn one_by_one(places: &[Arc<TokenSource>], request: &Request<'_>) -> Result<String, String> {
        let mut found = None;
        for place in places {
            match place.token(request) {
                Ok(None) => {}
                Ok(Some(token)) if found.is_none() => found = Some((place, token)),
                Ok(Some(_)) => return Err(format!("several {place}")),
                Err(Unreadable::Repeated) => return Err(format!("repeated {place}")),
                Err(Unreadable::Empty) => return Err(format!("empty {place}")),
                Err(Unreadable::Malformed) => return Err(format!("malformed {place}")),
                Err(Unreadable::Misspelled) => return Err(format!("misspelled {place}")),
            }
        }
        let (place, token) = found.ok_or("missing")?;
        Ok(format!("{place} {token}"))
    }

    fn together(places: &TokenPlaces, request: &Request<'_>) -> Result<String, String> {
        match find_token(places, request) {
            Ok(found) => Ok(format!("{} {}", found.place, found.token)),
            Err(CredentialError::Missing(_)) => Err("missing".to_owned()),
            Err(CredentialError::Repeated(place)) => Err(format!("repeated {place}")),
            Err(CredentialError::Empty(place)) => Err(format!("empty {place}")),
            Err(CredentialError::Malformed(place)) => Err(format!("malformed {place}")),
            Err(CredentialError::Misspelled(place)) => Err(format!("misspelled {place}")),
            Err(CredentialError::SeveralPlaces(_, place)) => Err(format!("several {place}")),
        }
    }

    /// Texts in which names and separators occur often.
    fn text() -> impl Strategy<Value = String> {
        let part = prop::sample::select(vec![
            "t",
            "u",
            "T",
            "a",
            "=",
            "=a",
            ",",
            ";",
            "; ",
            "&",
            " ",
            "\"",
            "%74",
            "%",
            "[",
            "]",
            "+",
            "Bearer ",
            "bearer",
            "\t",
            "ć",
            "base64url.bearer.authorization.k8s.io",
            ".YQ",
        ]);
        vec(part, 0..10).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// Reading all places at once gives the same outcome as reading them one by one.
        #[test]
        fn many_as_one_by_one(
            query in text(),
            lines in vec((prop::sample::select(vec![
                "authorization", "Authorization", "x-t", "x_t", "u", "cookie", "Cookie", "sec-websocket-protocol",
                "sec_websocket_protocol",
            ]), prop_oneof![9 => text().prop_map(String::into_bytes), 1 => Just(vec![0xff])]), 0..4),
        ) {
            let path = format!("/?{query}");
            let request = Request {
                path: &path,
                headers: lines.iter().map(|(name, line)| (*name, line.as_slice())).collect(),
                ..Request::default()
            };
            for places in [places(), places().into_iter().rev().collect()] {
                let used: Vec<_> = places.iter().filter(|place| place.is_used(&request)).collect();
                let many = TokenPlaces::new(places.clone());
                prop_assert_eq!(many.used(&request).collect::<Vec<_>>(), used);
                prop_assert_eq!(together(&many, &request), one_by_one(&places, &request));
                for (name, _) in &lines {
                    let mut names = places.iter().filter_map(|place| place.header());
                    prop_assert_eq!(many.is_alias(name), names.any(|own| is_alias(own, name)));
                }
            }
        }
    }
}
