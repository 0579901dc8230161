//! What callers receive: denials and response headers.

use std::collections::{BTreeMap, HashMap};

use super::Resolver;
use crate::document::{Field, Location};
use crate::raw;
use crate::raw::answers::{Bodies as RawBodies, Body as RawBody};
use crate::raw::values::Texts;
use crate::values;
use claimgate_core::answer::denials::{Bodies, Body, Cors, Denials, Origins, Part, Template};
use claimgate_core::identity::{HeaderName, ResponseValue};

/// The statuses of denials.
const STATUSES: [u16; 6] = [400, 401, 403, 413, 500, 503];

/// Headers that denials already have. [`HeaderName`] refuses further ones.
const OWN_HEADERS: [&str; 3] = ["www-authenticate", "retry-after", "vary"];

const FORMS: [(&str, Body); 4] = [
    ("json", Body::Json),
    ("problem", Body::Problem),
    ("text", Body::Text),
    ("none", Body::None),
];

impl Resolver<'_> {
    pub(super) fn denials(&mut self, denials: raw::answers::Denials) -> Denials {
        let raw::answers::Denials {
            body,
            realm,
            resource_metadata,
            expose_reason,
            headers,
            cors,
        } = denials;
        if let Some((location, realm)) = realm.given() {
            let quotable = |c: char| c == ' ' || (c.is_ascii_graphic() && c != '"' && c != '\\');
            if realm.is_empty() || !realm.chars().all(quotable) {
                self.report(location, "a realm is printable ASCII without `\"` and `\\`");
            }
        }
        if let Some((location, url)) = resource_metadata.given() {
            self.parsed(location, values::web_url(url));
        }
        let expose_reason = expose_reason.value().copied().unwrap_or(true);
        Denials {
            headers: self.denial_headers(headers),
            cors: self.cors(cors),
            body: self.bodies(body, expose_reason),
            realm: realm.value().cloned(),
            resource_metadata: resource_metadata.value().cloned(),
            expose_reason,
        }
    }

    fn denial_headers(
        &mut self,
        headers: Field<Vec<Field<raw::answers::DenialHeader>>>,
    ) -> Vec<(HeaderName, String)> {
        let mut taken = HashMap::new();
        let mut read = Vec::new();
        for (location, raw::answers::DenialHeader { header, value }) in self.entries(headers) {
            let header = self.required(&location, "header", &header);
            if let Some((location, name)) = header {
                let lower = name.to_ascii_lowercase();
                if lower.starts_with("access-control-") {
                    self.report(location, format!("`{name}` is set by `denials.cors`"));
                } else if OWN_HEADERS.contains(&lower.as_str()) {
                    self.report(location, format!("`{name}` is set by claimgate itself"));
                }
            }
            let name = header.and_then(|header| self.header_name(header, &mut taken));
            let value = self
                .required(&location, "value", &value)
                .and_then(|(location, text)| self.parsed(location, values::header_text(text)));
            read.extend(name.zip(value));
        }
        read
    }

    fn cors(&mut self, cors: Field<raw::answers::Cors>) -> Option<Cors> {
        let Field::Given(location, cors) = cors else {
            return None;
        };
        let raw::answers::Cors {
            origins,
            credentials,
        } = cors;
        let allows_credentials = credentials.value() == Some(&true);
        let origins = match origins {
            Field::Absent => {
                self.report(&location, "missing field `origins`");
                return None;
            }
            Field::Invalid => return None,
            Field::Given(_, Texts::One(text)) if text == "any" => Origins::Any,
            given @ Field::Given(..) => {
                let texts = self.texts(given, "at least one origin, or `any` alone");
                for (location, text) in &texts {
                    self.parsed(location, values::origin(text));
                }
                Origins::AnyOf(texts.into_iter().map(|(_, text)| text).collect())
            }
        };
        if let (Some((location, true)), Origins::Any) = (credentials.given(), &origins) {
            let why = "with cookies, browsers accept only origins given by name; list the origins";
            self.report(location, why);
        }
        Some(Cors {
            origins,
            credentials: allows_credentials,
        })
    }

    fn bodies(&mut self, field: Field<RawBodies>, expose_reason: bool) -> Bodies {
        let (location, bodies) = match field {
            Field::Given(location, bodies) => (location, bodies),
            Field::Absent | Field::Invalid => return Bodies::default(),
        };
        let by_status = match bodies {
            RawBodies::One(form) => {
                return Bodies {
                    default: self.form(&location, &form),
                    by_status: BTreeMap::new(),
                };
            }
            RawBodies::ByStatus(bodies) => bodies,
        };
        if by_status.is_empty() {
            self.report(&location, "empty; give one form, or one for each status");
        }
        let mut read = Bodies::default();
        for (status, field) in by_status {
            let body = match field {
                Field::Given(location, body) => self.body(&location, body, expose_reason),
                Field::Absent => {
                    self.report(&location, format!("`{status}` has no form"));
                    continue;
                }
                Field::Invalid => continue,
            };
            let number = status
                .parse()
                .ok()
                .filter(|number| STATUSES.contains(number));
            match number {
                Some(number) => drop(read.by_status.insert(number, body)),
                None if status == "default" => read.default = body,
                None => {
                    let why = format!(
                        "`{status}` is not a status of a denial; the statuses are 400, 401, 403, 413, 500, \
                         503 and `default`"
                    );
                    self.report(&location, why);
                }
            }
        }
        read
    }

    fn form(&mut self, location: &Location, form: &str) -> Body {
        self.choice(&Field::Given(location.clone(), form.to_owned()), &FORMS)
    }

    fn body(&mut self, location: &Location, body: RawBody, expose_reason: bool) -> Body {
        let (content_type, template) = match body {
            RawBody::Form(form) => return self.form(location, &form),
            RawBody::Template {
                content_type,
                template,
            } => (content_type, template),
        };
        if let Err(why) = values::header_text(&content_type) {
            self.report(location, format!("content_type: {why}"));
        }
        let parts = self
            .parsed(location, Part::read(&template))
            .unwrap_or_default();
        if !expose_reason && parts.contains(&Part::Reason) {
            self.report(
                location,
                "`{{reason}}` reveals what `expose_reason: false` hides",
            );
        }
        Body::Template(Template {
            content_type,
            parts,
        })
    }

    pub(super) fn response_headers(
        &mut self,
        headers: Field<Vec<Field<raw::answers::ResponseHeader>>>,
    ) -> Vec<(HeaderName, ResponseValue)> {
        let mut taken = HashMap::new();
        let mut read = Vec::new();
        for (location, header) in self.entries(headers) {
            let raw::answers::ResponseHeader {
                header,
                value,
                claim,
            } = header;
            let name = self
                .required(&location, "header", &header)
                .and_then(|header| self.header_name(header, &mut taken));
            let value = match (&value, &claim) {
                (Field::Given(location, text), Field::Absent) => self
                    .parsed(location, values::header_text(text))
                    .map(ResponseValue::Fixed),
                (Field::Absent, Field::Given(location, claim)) => {
                    self.claim_path(location, claim).map(ResponseValue::Claim)
                }
                (Field::Invalid, _) | (_, Field::Invalid) => None,
                _ => {
                    self.report(&location, "give exactly one of `value` and `claim`");
                    None
                }
            };
            read.extend(name.zip(value));
        }
        read
    }
}
