//! A logged request as `decide` reads it, without its token.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::Known;
use super::facts::Facts;
use crate::decision::Decision;
use crate::diff::judge::{Judge, Verdict};
use crate::explain::place::put;
use crate::gate::decision_log::record::{DecisionRecord, HeaderValue, Part, PathBytes};
use crate::request::pseudo::Conflict;
use crate::request::{Peer, Request, is_spelling};
use crate::time::UnixTime;
use crate::token::source::TokenSource;

/// A logged request without its token.
pub(super) struct Rebuilt<'r> {
    record: &'r DecisionRecord<'r>,
    path: String,
    lines: Vec<(String, Vec<u8>)>,
}

impl<'r> Rebuilt<'r> {
    pub(super) fn of(facts: &Facts<'r>) -> Known<Self> {
        let record = facts.record;
        let mut lines = Vec::new();
        for (name, values) in &record.headers {
            for value in values {
                let bytes = match value {
                    HeaderValue::Text(text) => text.as_bytes().to_vec(),
                    HeaderValue::Bytes { base64 } => BASE64_STANDARD
                        .decode(base64.as_bytes())
                        .map_err(|_| Cow::from(format!("the header `{name}` is not Base64")))?,
                };
                lines.push((name.to_string(), bytes));
            }
        }
        // Whether it was a preflight is known, but its headers may not be.
        if record.preflight {
            for name in ["origin", "access-control-request-method"] {
                if !record.headers.contains_key(name) {
                    lines.push((name.to_owned(), b"x".to_vec()));
                }
            }
        }
        // Some other header says that it was none: one that announces a body.
        if !record.preflight && is_cors_preflight(record, &lines) {
            let is_unlisted = |name: &&str| {
                let mut listed = facts.listed.headers.iter();
                !listed.any(|own| is_spelling(own, name))
            };
            let names = ["transfer-encoding", "content-type"];
            let name = names.into_iter().find(is_unlisted);
            let name = name.ok_or("it is not known which header makes it no preflight")?;
            lines.push((name.to_owned(), b"x".to_vec()));
        }
        Ok(Self {
            record,
            // The query itself is not known, but whether there was one is.
            path: match record.query {
                true => format!("{}?", record.path),
                false => record.path.to_string(),
            },
            lines,
        })
    }

    pub(super) fn judge(
        &self,
        judge: &Judge<'_>,
        token: Option<(&str, &TokenSource)>,
        now: UnixTime,
    ) -> Verdict {
        let record = self.record;
        let mut path = self.path.clone();
        let mut own = Vec::new();
        if let Some((token, place)) = token {
            put(token, place, &mut path, &mut own);
        }
        let lines = self.lines.iter();
        let lines = lines.map(|(name, value)| (name.as_str(), value.as_slice()));
        let own = own.iter();
        let own = own.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let mut replaced = path.clone().into_bytes();
        let path_bytes = match record.path_bytes {
            PathBytes::Usual if record.path.contains('!') => None,
            PathBytes::Usual | PathBytes::Same => Some(path.as_bytes()),
            PathBytes::Replaced => {
                replaced.insert(0, 0xff);
                Some(replaced.as_slice())
            }
            PathBytes::QueryReplaced => {
                replaced.push(0xff);
                Some(replaced.as_slice())
            }
        };
        let context = record.context.iter();
        let request = Request {
            method: &record.method,
            host: &record.host,
            path: &path,
            path_bytes,
            headers: lines.chain(own).collect(),
            source: Peer {
                address: record.source.as_deref().unwrap_or_default(),
                principal: record.source_principal.as_deref().unwrap_or_default(),
                certificate: "",
            },
            context: context.map(|(name, value)| (&**name, &**value)).collect(),
            conflict: record.conflict.map(|part| match part {
                Part::Method => Conflict::Method,
                Part::Host => Conflict::Host,
                Part::Path => Conflict::Path,
                Part::Query => Conflict::Query,
            }),
        };
        let decision: Decision = judge.decide(&request, now);
        Verdict::of(&decision)
    }
}

fn is_cors_preflight(record: &DecisionRecord<'_>, lines: &[(String, Vec<u8>)]) -> bool {
    let lines = lines.iter();
    let headers = lines.map(|(name, value)| (name.as_str(), value.as_slice()));
    let request = Request {
        method: &record.method,
        headers: headers.collect(),
        ..Request::default()
    };
    request.is_cors_preflight()
}
