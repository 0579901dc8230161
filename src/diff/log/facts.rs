//! What a record holds of its request and its token.

use super::Known;
use crate::gate::decision_log::record::DecisionRecord;
use crate::policy::rules::RULE_EXTENSION;
use crate::request::is_spelling;
use crate::token::claims::ClaimPath;

/// What the records of a configuration hold.
#[derive(Clone, Debug, Default)]
pub(super) struct Listed {
    pub(super) claims: Vec<Vec<String>>,
    pub(super) headers: Vec<String>,
}

/// A record, and what records of its configuration hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts<'r> {
    pub(super) record: &'r DecisionRecord<'r>,
    pub(super) listed: &'r Listed,
}

impl<'r> Facts<'r> {
    /// Whether a part is left out that is neither a header nor a claim.
    pub(super) fn part(&self, part: &str) -> Known<()> {
        match self.record.withheld.iter().any(|withheld| withheld == part) {
            true => Err(format!("`{part}` is withheld").into()),
            false => Ok(()),
        }
    }

    /// Whether the record holds all lines of a header, under every spelling of its name: a line under
    /// another spelling makes the request ambiguous.
    pub(super) fn header(&self, name: &str) -> Known<()> {
        if !self.listed.headers.iter().any(|own| own == name) {
            let why = format!("the header `{name}` is not logged, because no rule of OLD uses it");
            return Err(why.into());
        }
        let mut withheld = self.record.withheld.iter();
        match withheld.any(|withheld| is_spelling(name, withheld)) {
            true => Err(format!("the header `{name}` is withheld").into()),
            false => Ok(()),
        }
    }

    /// Whether the record holds a context extension, or says by its absence that there was none.
    pub(super) fn context(&self, name: &str) -> Known<()> {
        let mut withheld = self.record.withheld.iter();
        let is_it = |part: &str| match part.strip_prefix("context") {
            // The name was left out too. The name of a rule never is.
            Some("") => name != RULE_EXTENSION,
            Some(rest) => rest.strip_prefix('.') == Some(name),
            None => false,
        };
        match withheld.any(|part| is_it(part)) {
            true => Err(format!("the context extension `{name}` is withheld").into()),
            false => Ok(()),
        }
    }

    /// Whether the record holds all context extensions.
    pub(super) fn all_context(&self) -> Known<()> {
        let mut withheld = self.record.withheld.iter();
        let is_one = |part: &str| {
            let rest = part.strip_prefix("context");
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        };
        match withheld.any(|part| is_one(part)) {
            true => Err("a context extension is withheld".into()),
            false => Ok(()),
        }
    }

    /// The listed claim that a claim is, or lies in. If no listed claim with this one in it is
    /// present, the shortest one that was absent.
    ///
    /// # Errors
    ///
    /// Fails if records do not hold the claim, or this one does not.
    pub(super) fn claim(&self, path: &[String]) -> Known<&'r [String]> {
        let withheld: Vec<Option<Vec<String>>> = self
            .record
            .withheld
            .iter()
            .filter_map(|part| part.strip_prefix("claims."))
            .map(names)
            .collect();
        let shown = path.join(".");
        let listed = self.listed.claims.iter().map(Vec::as_slice);
        let mut listed: Vec<&[String]> = listed.filter(|own| path.starts_with(own)).collect();
        if listed.is_empty() {
            let why = format!("the claim `{shown}` is not logged: add it to `decision_log.claims`");
            return Err(why.into());
        }
        // What a withheld claim is in, and what is in it, is not known either, unless it is listed by
        // itself.
        let is_hidden = |own: &[String]| {
            withheld.iter().any(|withheld| match withheld {
                Some(withheld) => withheld.starts_with(path) || withheld.starts_with(own),
                None => true,
            })
        };
        listed.retain(|own| !is_hidden(own));
        listed.sort_by_key(|own| (self.value(own).is_none(), own.len()));
        match listed.first() {
            Some(own) => Ok(own),
            None => Err(format!("the claim `{shown}` is withheld").into()),
        }
    }

    /// The value of a claim that is listed by itself, as JSON. `None` if the token had none.
    pub(super) fn value(&self, path: &[String]) -> Option<String> {
        let mut claims = self.record.claims.iter();
        let found = claims.find(|(name, _)| names(name).is_some_and(|own| own == path));
        found.map(|(_, value)| value.to_string())
    }
}

/// The names on the way to a claim.
pub(super) fn names(path: &str) -> Option<Vec<String>> {
    let path: ClaimPath = path.parse().ok()?;
    Some(path.names().to_vec())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Calls `check` with a record that has these claims, and withholds these parts.
    fn with<T>(claims: &Value, withheld: &[&str], check: impl FnOnce(Facts<'_>) -> T) -> T {
        let record = json!({
            "n": 1, "time": "", "configuration": "", "decision": "allow", "token": "valid",
            "method": "", "host": "", "path": "", "took_us": 1,
            "claims": claims, "withheld": withheld,
        });
        let record: DecisionRecord<'_> = serde_json::from_str(&record.to_string()).unwrap();
        let listed = [
            "a",
            "/https:~1~1acme.com~1groups",
            "b",
            "b.c",
            "b.c.d",
            "e.f",
        ];
        let listed = Listed {
            claims: listed.iter().map(|path| names(path).unwrap()).collect(),
            headers: vec!["x-env".to_owned()],
        };
        check(Facts {
            record: &record,
            listed: &listed,
        })
    }

    #[test]
    fn claims() {
        let groups = "/https:~1~1acme.com~1groups";
        for (path, claims, withheld, expected) in [
            ("a", json!({}), &[][..], Some("a")),
            ("a.x", json!({"a": {}}), &[], Some("a")),
            ("z", json!({}), &[], None),
            ("a", json!({}), &["claims.a"], None),
            ("a.x", json!({}), &["claims.a"], None),
            // Another name that begins alike.
            ("a", json!({}), &["claims.ab"], Some("a")),
            (
                "a",
                json!({}),
                &["a", "claims", "header.claims.a"],
                Some("a"),
            ),
            // The record and the setting write a path alike, whatever it looks like joined.
            (
                groups,
                json!({}),
                &["claims./https:~1~1acme.com~1groups"],
                None,
            ),
            (groups, json!({}), &["claims.a"], Some(groups)),
            ("/a", json!({}), &["claims./a"], None),
            // A withheld claim hides what it is in, and what is in it.
            ("b", json!({}), &["claims.b.c"], None),
            ("b.c", json!({}), &["claims.b"], Some("b.c")),
            ("b.x", json!({}), &["claims.b"], None),
            ("b.c.x", json!({}), &["claims.b.c"], None),
            ("b.c", json!({}), &["claims.b.c.d"], None),
            (
                "b.c.d",
                json!({"b.c.d": 1}),
                &["claims.b", "claims.b.c"],
                Some("b.c.d"),
            ),
            ("a", json!({}), &["claims.b.c"], Some("a")),
            // What cannot be read may be anything.
            ("a", json!({}), &["claims./~"], None),
            ("e", json!({}), &[], None),
            // A present claim tells more than an absent one.
            ("b.c.d", json!({}), &[], Some("b")),
            ("b.c.d", json!({"b.c": {}}), &[], Some("b.c")),
            (
                "b.c.d",
                json!({"b.c.d": 1, "b": {"c": {"d": 1}}}),
                &[],
                Some("b"),
            ),
        ] {
            let path = names(path).unwrap();
            let expected = expected.map(|path| names(path).unwrap());
            with(&claims, withheld, |facts| {
                let found = facts.claim(&path).ok().map(<[String]>::to_vec);
                assert_eq!(found, expected, "{path:?} {claims} {withheld:?}");
            });
        }
    }

    #[test]
    fn headers_and_context() {
        for (withheld, header, context, rule, all_context) in [
            (&[][..], true, true, true, true),
            (&["x-env"], false, true, true, true),
            (&["x_env"], false, true, true, true),
            (&["X.Env"], false, true, true, true),
            (&["x-envy", "env"], true, true, true, true),
            (&["context.tier"], true, false, true, false),
            (&["context.ti"], true, true, true, false),
            (&["context"], true, false, true, false),
            (&["context.claimgate.rule"], true, true, false, false),
            (&["contexts", "x-context.tier"], true, true, true, true),
        ] {
            with(&json!({}), withheld, |facts| {
                let found = [
                    facts.header("x-env"),
                    facts.context("tier"),
                    facts.context(RULE_EXTENSION),
                    facts.all_context(),
                ];
                let found = found.map(|known| known.is_ok());
                let expected = [header, context, rule, all_context];
                assert_eq!(found, expected, "{withheld:?}");
            });
        }
    }
}
