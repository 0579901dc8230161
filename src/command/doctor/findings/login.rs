//! Whether a login in front of claimgate is there, and leaves programs to claimgate.

use super::advice::{LOGIN_FILTER, LOGIN_ORDER, LOGIN_REFUSES, PASS_THROUGH, PROTECTED_PATH};
use super::{Finding, Seen, Told};
use crate::command::doctor::answer::{Local, Origin};
use crate::command::doctor::probe::Probe;
use crate::escaped::Escaped;

/// Envoy's own login.
const OAUTH2: Origin = Origin::Envoy(Local::Filter("envoy.filters.http.oauth2"));

/// A part of every address at which a login begins (RFC 6749 §4.1.1).
const CODE: &str = "response_type=code";

/// What becomes of a browser without a session. `None` if no login is expected.
pub(super) fn page(seen: &Seen<'_>) -> Option<Finding> {
    let told = seen.get(Probe::Page)?;
    let shown = format!("a browser that opens the page gets {}", told.shown());
    Some(match &told.origin {
        Origin::Claimgate(_) => Finding::problem(
            "login_order",
            "claimgate is asked before the login, so nobody can log in",
            shown,
        )
        .change(&[LOGIN_ORDER]),
        Origin::Upstream(_) | Origin::Envoy(Local::ApiDown) => Finding::problem(
            "no_login",
            "a browser reaches the API without a login",
            shown,
        )
        .change(&[LOGIN_FILTER, PROTECTED_PATH]),
        origin if *origin == OAUTH2 => Finding::problem(
            "login_refused",
            "the login does not begin: its filter refuses a browser that opens a page",
            shown,
        )
        .change(&[LOGIN_REFUSES]),
        _ => match login_address(told) {
            Some(address) => Finding::well(
                "login",
                "a browser without a session is sent to the login",
                format!("{shown} with `location: {}`", Escaped::from(address)),
            ),
            None => Finding::unseen("login", "whether a browser is sent to a login"),
        },
    })
}

/// The findings if the login answers a program that has a token. Nothing else can then be seen.
pub(super) fn hidden(seen: &Seen<'_>) -> Option<Vec<Finding>> {
    let page = page(seen)?;
    let told = seen.get(Probe::NoToken)?;
    let is_login = told.origin == OAUTH2 || login_address(told).is_some();
    is_login.then(|| {
        let finding = Finding::warning(
            "bearer_ignored",
            "the login answers programs that bring a token, so claimgate is not asked about them",
            format!("an unreadable token gets {}", told.shown()),
        );
        vec![page, finding.change(&[PASS_THROUGH])]
    })
}

/// Where an answer leads, without the query, if a login begins there.
fn login_address<'a>(told: &'a Told<'_>) -> Option<&'a str> {
    let is_redirect = told.origin == Origin::Envoy(Local::Redirect);
    let location = told.answer.header("location").filter(|_| is_redirect)?;
    let (address, query) = location.split_once('?')?;
    query.contains(CODE).then_some(address)
}
