//! A test file, as the operator writes it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::config::document::Field;
use crate::config::raw::values::Texts;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Suite {
    pub(super) config: Field<String>,
    pub(super) now: Field<String>,
    pub(super) cases: Field<Vec<Field<Case>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Case {
    pub(super) name: Field<String>,
    pub(super) request: Field<Request>,
    pub(super) token: Field<Token>,
    pub(super) raw_token: Field<String>,
    pub(super) expect: Field<Expect>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Request {
    pub(super) method: Field<String>,
    pub(super) host: Field<String>,
    pub(super) path: Field<String>,
    pub(super) headers: Field<BTreeMap<String, Field<Texts>>>,
    pub(super) source: Field<Peer>,
    pub(super) context: Field<BTreeMap<String, Field<String>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Peer {
    pub(super) address: Field<String>,
    pub(super) principal: Field<String>,
    pub(super) certificate: Field<String>,
}

/// Changes to a token. A claim or header member that is `null` is removed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Token {
    pub(super) provider: Field<String>,
    pub(super) claims: Field<BTreeMap<String, Field<Value>>>,
    pub(super) header: Field<BTreeMap<String, Field<Value>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Expect {
    pub(super) decision: Field<String>,
    pub(super) reason: Field<String>,
    pub(super) rule: Field<String>,
    pub(super) provider: Field<String>,
    pub(super) status: Field<u16>,
    pub(super) headers: Field<BTreeMap<String, Field<String>>>,
    pub(super) removed: Field<Texts>,
    pub(super) response_headers: Field<BTreeMap<String, Field<String>>>,
    pub(super) body: Field<String>,
}
