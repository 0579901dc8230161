//! `/`: the page for an operator, and its style, script and icon.
//!
//! The HTML is in `page/page.html`, a template whose values are escaped unless it says otherwise,
//! and it never does.

use std::sync::Arc;

use askama::Template;
use axum::extract::{Extension, RawQuery, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse, Response};
use url::form_urlencoded;

use super::explain::{Asked, Explained};
use super::guard::Access;
use super::peer::Peer;
use super::providers::{self, ProviderView};
use super::view::{self, DenialRow};
use super::{Admin, health};
use crate::telemetry::metrics::{Outcomes, Totals};
use crate::version::VERSION;

#[derive(Template)]
#[template(path = "page.html", config = "src/admin/page/askama.toml")]
struct Page<'a> {
    version: &'static str,
    hash: String,
    /// Whether there is a configuration file, which can be compared.
    has_file: bool,
    not_ready: Vec<String>,
    problems: Vec<String>,
    totals: &'a Totals,
    providers: Vec<ProviderView>,
    rules: &'a [(String, Outcomes)],
    rules_left_out: usize,
    search: Search,
    denials: Vec<DenialRow>,
    explains: bool,
    asked: &'a Asked,
    explained: Option<Explained>,
}

/// A denial that was asked for.
#[derive(Default)]
struct Search {
    id: String,
    found: Option<Vec<(&'static str, String)>>,
}

impl Search {
    /// The denial with the `id` in this query.
    fn of(query: Option<&str>, admin: &Admin) -> Self {
        let query = query.unwrap_or_default().as_bytes();
        let mut parameters = form_urlencoded::parse(query);
        let id = parameters.find(|(name, _)| name == "id");
        let id = id.map(|(_, id)| id.trim().to_owned()).unwrap_or_default();
        let found = admin.gate.denials.find(&id);
        Self {
            found: found.as_ref().map(view::facts),
            id,
        }
    }
}

pub(super) async fn get(
    State(admin): State<Admin>,
    State(access): State<Arc<Access>>,
    Extension(peer): Extension<Peer>,
    RawQuery(query): RawQuery,
) -> Response {
    respond(&admin, &access, peer, query.as_deref(), None)
}

/// The page, with an explanation if there is one.
pub(super) fn respond(
    admin: &Admin,
    access: &Access,
    peer: Peer,
    query: Option<&str>,
    explanation: Option<(&Asked, Explained)>,
) -> Response {
    let generation = admin.gate.generation();
    let not_ready = health::not_ready(admin, &generation);
    let totals = generation.metrics.totals();
    let (rules, rules_left_out) = view::rules(&totals);
    let nothing = Asked::default();
    let (asked, explained) = match explanation {
        Some((asked, explained)) => (asked, Some(explained)),
        None => (&nothing, None),
    };
    let page = Page {
        version: VERSION,
        hash: generation.hash.to_string(),
        has_file: admin.file.load.is_some(),
        problems: view::problems(admin, &generation, &not_ready),
        not_ready,
        totals: &totals,
        providers: providers::views(&generation, admin.gate.now()),
        rules,
        rules_left_out,
        search: Search::of(query, admin),
        denials: view::denials(admin),
        explains: access.explains_to(peer),
        asked,
        explained,
    };
    match page.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "cannot write the admin page");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

pub(super) async fn script() -> impl IntoResponse {
    let script = include_str!("page/page.js");
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], script)
}

pub(super) async fn style() -> impl IntoResponse {
    let style = include_str!("page/page.css");
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], style)
}

pub(super) async fn icon() -> impl IntoResponse {
    let icon = include_str!("page/page.svg");
    ([(CONTENT_TYPE, "image/svg+xml")], icon)
}
