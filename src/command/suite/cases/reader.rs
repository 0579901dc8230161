//! Turns what was written into what it means. Continues after a problem, to find the next one.

use std::collections::BTreeMap;

use super::{Case, Expect, Request, Token, raw};
use crate::config::document::Field;
use crate::config::raw::values::Texts;
use crate::config::{Config, Location, Problem, Severity};
use crate::decision::Reason;
use crate::keyring::ProviderId;
use crate::time::{Clock as _, SystemClock, UnixTime};

mod values;

use values::members;

pub(super) struct Reader {
    pub(super) problems: Vec<Problem>,
}

impl Reader {
    fn report(&mut self, location: &Location, message: impl Into<String>) {
        self.problems.push(Problem {
            severity: Severity::Error,
            location: location.clone(),
            message: message.into(),
        });
    }

    pub(super) fn config_file<'s>(&mut self, field: &'s Field<String>) -> Option<&'s String> {
        if let Field::Absent = field {
            let why = "missing; name the configuration file, relative to this one";
            self.report(&Location::flag("config"), why);
        }
        field.value()
    }

    pub(super) fn now(&mut self, field: &Field<String>) -> UnixTime {
        let Some((location, text)) = field.given() else {
            return SystemClock.now();
        };
        let since_epoch = humantime::parse_rfc3339(text)
            .ok()
            .and_then(|time| time.duration_since(std::time::SystemTime::UNIX_EPOCH).ok());
        since_epoch.map_or_else(
            || {
                let why = format!("`{text}` is not a time; write `2026-01-31T10:00:00Z`");
                self.report(location, why);
                UnixTime::EPOCH
            },
            UnixTime::from_duration,
        )
    }

    pub(super) fn cases(
        &mut self,
        cases: Field<Vec<Field<raw::Case>>>,
        config: &Config,
    ) -> Vec<Case> {
        let Field::Given(location, fields) = cases else {
            self.report(
                &Location::flag("cases"),
                "missing; a file without cases tests nothing",
            );
            return Vec::new();
        };
        if fields.is_empty() {
            self.report(&location, "empty; a file without cases tests nothing");
        }
        let mut cases = Vec::new();
        for field in fields {
            match field {
                Field::Given(location, case) => cases.extend(self.case(&location, case, config)),
                Field::Absent => self.report(&location, "an entry is empty"),
                Field::Invalid => {}
            }
        }
        cases
    }

    fn case(&mut self, location: &Location, case: raw::Case, config: &Config) -> Option<Case> {
        let raw::Case {
            name,
            request,
            token,
            raw_token,
            expect,
        } = case;
        if let Field::Absent = name {
            self.report(location, "missing field `name`");
        }
        let name = name.value().cloned();
        if name.as_ref().is_some_and(String::is_empty) {
            self.report(location, "an empty `name`");
        }
        let request = match request {
            Field::Given(_, request) => self.request(request),
            Field::Absent | Field::Invalid => self.request(raw::Request::default()),
        };
        let token = match (token, raw_token) {
            (Field::Given(location, token), Field::Absent) => {
                Some(self.token(&location, token, config)?)
            }
            (Field::Absent, Field::Given(_, token)) => Some(Token::Raw(token)),
            (Field::Given(location, _), Field::Given(..)) => {
                self.report(&location, "`token` and `raw_token` exclude each other");
                None
            }
            _ => None,
        };
        let expect = match expect {
            Field::Given(location, expect) => self.expect(&location, expect, config),
            Field::Absent => {
                self.report(location, "missing field `expect`");
                None
            }
            Field::Invalid => None,
        };
        Some(Case {
            name: name?,
            line: location.line,
            request,
            token,
            expect: expect?,
        })
    }

    fn request(&mut self, request: raw::Request) -> Request {
        let raw::Request {
            method,
            host,
            path,
            headers,
            source,
            context,
        } = request;
        let text = |field: &Field<String>, default: &str| {
            field.value().map_or(default, String::as_str).to_owned()
        };
        let source = match source {
            Field::Given(_, source) => source,
            Field::Absent | Field::Invalid => raw::Peer::default(),
        };
        Request {
            method: text(&method, "GET"),
            host: text(&host, "localhost"),
            path: text(&path, "/"),
            headers: self.header_lines(headers),
            address: text(&source.address, "127.0.0.1"),
            principal: text(&source.principal, ""),
            certificate: text(&source.certificate, ""),
            context: self.texts(context).into_iter().collect(),
        }
    }

    fn header_lines(
        &mut self,
        headers: Field<BTreeMap<String, Field<Texts>>>,
    ) -> Vec<(String, String)> {
        let Field::Given(location, headers) = headers else {
            return Vec::new();
        };
        let mut lines = Vec::new();
        for (name, field) in headers {
            if let Field::Absent = field {
                self.report(&location, format!("`{name}` has no value; write `\"\"`"));
            }
            let values = self.list(field);
            let name = name.to_ascii_lowercase();
            lines.extend(values.into_iter().map(|value| (name.clone(), value)));
        }
        lines
    }

    fn token(&mut self, location: &Location, token: raw::Token, config: &Config) -> Option<Token> {
        let raw::Token {
            provider,
            claims,
            header,
        } = token;
        let named = match provider.given() {
            Some((location, name)) => Some(self.provider(location, name, config)?),
            None => None,
        };
        let mut all = config.policy.providers().map(|(id, _)| id);
        let only = all.next().filter(|_| all.next().is_none());
        let Some(provider) = named.or(only) else {
            self.report(
                location,
                "missing field `provider`: name the provider of the token",
            );
            return None;
        };
        Some(Token::Minted {
            provider,
            claims: members(claims),
            header: members(header),
        })
    }

    fn provider(&mut self, location: &Location, name: &str, config: &Config) -> Option<ProviderId> {
        let mut providers = config.policy.providers();
        let found = providers.find(|(_, provider)| provider.name == name);
        if found.is_none() {
            let known = config.policy.providers();
            let known: Vec<_> = known.map(|(_, provider)| provider.name.as_str()).collect();
            let known = known.join("`, `");
            self.report(
                location,
                format!("no provider is called `{name}`; configured: `{known}`"),
            );
        }
        found.map(|(id, _)| id)
    }

    fn expect(
        &mut self,
        location: &Location,
        expect: raw::Expect,
        config: &Config,
    ) -> Option<Expect> {
        let raw::Expect {
            decision,
            reason,
            rule,
            provider,
            status,
            headers,
            removed,
            response_headers,
            body,
        } = expect;
        if let Some((location, reason)) = reason.given() {
            self.one_of(
                location,
                reason,
                Reason::ALL.iter().map(|reason| reason.code()),
            );
        }
        if let Some((location, rule)) = rule.given() {
            self.one_of(location, rule, config.policy.rules().names());
        }
        if let Some((location, name)) = provider.given() {
            self.provider(location, name, config);
        }
        let decisions = ["allow", "deny", "metadata"];
        let decision = match (decision.given(), reason.value()) {
            (Some((location, word)), reason) => {
                self.one_of(location, word, decisions.into_iter());
                if reason.is_some() && word == "metadata" {
                    let why = "only a denial has a `reason`, enforced (`deny`) or not (`allow`)";
                    self.report(location, why);
                }
                decisions.into_iter().find(|known| known == word)
            }
            (None, Some(_)) => Some("deny"),
            (None, None) => {
                self.report(
                    location,
                    "missing field `decision`: `allow`, `deny` or `metadata`",
                );
                None
            }
        };
        let (headers, response_headers) = (self.texts(headers), self.texts(response_headers));
        let removed = self.list(removed);
        Some(Expect {
            decision: decision?,
            reason: reason.value().cloned(),
            rule: rule.value().cloned(),
            provider: provider.value().cloned(),
            status: status.value().copied(),
            headers,
            removed,
            response_headers,
            body: body.value().cloned(),
        })
    }
}
