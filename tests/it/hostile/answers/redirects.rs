//! Redirects: few are followed, and none to another server.

use super::{Answer, either, set, text};
use crate::support::issuer::Reply;

fn to(location: &str) -> Reply {
    Reply::status(302).header(&format!("location: {location}"))
}

pub fn all() -> Vec<Answer> {
    let away = "another origin, which is not followed";
    let many = "too many redirects";
    vec![
        either("a redirect to another server", away, |scene, path| {
            to(&format!("{}{path}", scene.elsewhere.url()))
        }),
        either("a redirect without a scheme", away, |scene, path| {
            to(&format!("//{}{path}", scene.elsewhere.address()))
        }),
        either("a redirect to another name", away, |scene, path| {
            let port = scene.issuer.address().port();
            to(&format!("http://localhost:{port}{path}"))
        }),
        either("a redirect from TLS elsewhere", away, |scene, path| {
            to(&format!("{}{path}", scene.elsewhere.url()))
        })
        .over_tls(),
        either("a redirect to plain text", away, |scene, path| {
            to(&format!("http://{}{path}", scene.issuer.address()))
        })
        .over_tls(),
        either(
            "a redirect to a file",
            "redirects to `file:///etc/passwd`",
            |_, _| to("file:///etc/passwd"),
        ),
        either("a redirect to nowhere", "answers 302", |_, _| {
            Reply::status(302)
        }),
        either("a redirect to itself", many, |_, path| to(path)).asking(6),
        either("a long chain of redirects", many, |scene, _| {
            scene.issuer.reply("/1", to("/2"));
            scene.issuer.reply("/2", to("/3"));
            scene.issuer.reply("/3", to("/4"));
            scene.issuer.reply("/4", text(set()));
            to("/1")
        })
        .asking(6),
    ]
}
