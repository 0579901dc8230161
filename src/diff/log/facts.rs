//! What a record holds of its request and its token.

use super::Known;
use crate::gate::decision_log::record::DecisionRecord;

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

impl Facts<'_> {
    pub(super) fn is_withheld(&self, part: &str) -> bool {
        self.record.withheld.iter().any(|withheld| withheld == part)
    }

    /// Whether the record holds all lines of a header.
    pub(super) fn header(&self, name: &str) -> Known<()> {
        if !self.listed.headers.iter().any(|own| own == name) {
            let why = format!("the header `{name}` is not logged, because no rule of OLD uses it");
            return Err(why.into());
        }
        match self.is_withheld(name) {
            true => Err(format!("the header `{name}` is withheld").into()),
            false => Ok(()),
        }
    }

    /// Whether the record holds a claim: it is listed, or lies in one that is.
    pub(super) fn claim(&self, path: &[String]) -> Known<()> {
        let shown = path.join(".");
        if !self.listed.claims.iter().any(|own| path.starts_with(own)) {
            let why = format!("the claim `{shown}` is not logged: add it to `decision_log.claims`");
            return Err(why.into());
        }
        let withheld = format!("claims.{shown}");
        let mut parts = self.record.withheld.iter();
        match parts.any(|part| withheld.starts_with(&**part)) {
            true => Err(format!("the claim `{shown}` is withheld").into()),
            false => Ok(()),
        }
    }

    /// Whether the token had a claim that is listed by itself.
    pub(super) fn has_claim(&self, path: &[String]) -> bool {
        let mut listed = self.record.claims.keys().filter_map(|name| names(name));
        listed.any(|own| own == path)
    }
}

/// The names on the way to a claim.
pub(super) fn names(path: &str) -> Option<Vec<String>> {
    let path: crate::token::claims::ClaimPath = path.parse().ok()?;
    Some(path.names().to_vec())
}
