//! Bytes as a `CheckRequest`, alone and with a good token added. Nothing panics, both readers see
//! the same request, only a good token is allowed, and Envoy reads the answer as it is meant.

#![no_main]

use std::collections::BTreeSet;

use claimgate::answer::{Answer, Metadata};
use claimgate::decision::Decision;
use claimgate::ext_authz::proto::auth::CheckRequest;
use claimgate::ext_authz::proto::auth::check_response::HttpResponse;
use claimgate::ext_authz::{request, response, wire};
use claimgate::request::{Request, overrides};
use claimgate_fuzz::GATE;
use libfuzzer_sys::fuzz_target;
use prost::Message as _;

fuzz_target!(|data: &[u8]| {
    let Some((mode, data)) = data.split_first() else {
        return;
    };
    let mut joined = String::new();
    let read = wire::read(data, &mut joined);
    let generated = CheckRequest::decode(data);
    // The generated type reads all fields, so it also rejects errors in fields that are not used.
    if let (Ok(request), Ok(generated)) = (&read, &generated) {
        compare(request, generated);
    }
    let Ok(mut check) = generated else {
        return;
    };
    let good = format!("Bearer {}", GATE.good[0]);
    if mode % 2 == 1 {
        let http = check
            .attributes
            .get_or_insert_default()
            .request
            .get_or_insert_default()
            .http
            .get_or_insert_default();
        http.headers
            .insert("authorization".to_owned(), good.clone());
    }
    judge(&request::describe(&check, &mut String::new()), &good);
    let bytes = check.encode_to_vec();
    judge(&wire::read(&bytes, &mut String::new()).unwrap(), &good);
});

/// Checks that both readers saw the same. Of two headers with one name, the generated map keeps
/// one; the other reader sees both.
fn compare(read: &Request<'_>, generated: &CheckRequest) {
    let mut joined = String::new();
    let described = request::describe(generated, &mut joined);
    let names: Vec<_> = read.headers.names().collect();
    let distinct: BTreeSet<_> = names.iter().collect();
    let all = |request: &Request<'_>| -> BTreeSet<String> {
        let lines = request.headers.lines().map(|line| format!("{line:?}"));
        let context = request.context.iter();
        let context = context.map(|(name, _)| format!("{name}={:?}", request.context(name)));
        lines.chain(context).collect()
    };
    if distinct.len() == names.len() {
        assert_eq!(all(read), all(&described));
    }
    let rest = |request: &Request<'_>| {
        let Request {
            method,
            host,
            path,
            path_bytes,
            source,
            ..
        } = request;
        format!("{method:?} {host:?} {path:?} {path_bytes:?} {source:?}")
    };
    assert_eq!(rest(read), rest(&described));
}

fn judge(request: &Request<'_>, good: &str) {
    let decision = GATE.judge(request);
    if let Decision::Allow(permit) = &decision {
        let rule = &GATE.policy.rule(permit.rule().unwrap()).unwrap().name;
        assert_eq!(rule == "public", permit.bearer().is_none());
        assert_ne!(rule, "closed");
        if permit.bearer().is_some() {
            let lines: Vec<_> = request
                .headers
                .lines()
                .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
                .collect();
            assert_eq!(lines.len(), 1);
            // A scheme matches in any case, with any number of spaces after it.
            let line = std::str::from_utf8(lines[0].1).unwrap();
            assert_eq!(line.rsplit(' ').next(), good.rsplit(' ').next());
        } else {
            let path = claimgate::request::path::of(request).unwrap();
            let is_public = path == "/public" || path.starts_with("/public/");
            // Envoy's route may name the rule.
            assert!(is_public || request.context("claimgate.rule") == Some("public"));
        }
        is_unambiguous(request);
    }
    let answer = Answer::to(
        &decision,
        &GATE.policy,
        &GATE.denials,
        request,
        request.id(),
    );
    let metadata = Metadata::of(&decision, &GATE.policy);
    let answer = response::render(answer, metadata).response;
    let code = answer.status.as_ref().unwrap().code;
    match answer.http_response.unwrap() {
        HttpResponse::OkResponse(ok) => {
            assert!(matches!(decision, Decision::Allow(_)));
            assert_eq!(code, 0);
            let sent = request.headers.names();
            for name in sent.filter(|name| overrides::is_override(name)) {
                assert!(ok.headers_to_remove.contains(&name.to_ascii_lowercase()));
            }
            for option in &ok.headers {
                let header = option.header.as_ref().unwrap();
                assert!(!ok.headers_to_remove.contains(&header.key));
                if header.key == "cookie" {
                    has_no_cookie_of_a_login(&header.value);
                    continue;
                }
                assert!(header.key.starts_with("x-auth-"));
                assert!(
                    header
                        .value
                        .bytes()
                        .all(|byte| (0x20..0x7f).contains(&byte))
                );
            }
        }
        HttpResponse::ErrorResponse(error) => panic!("{error:?}"),
        HttpResponse::DeniedResponse(denied) => {
            assert!(matches!(decision, Decision::Deny(_)));
            assert_ne!(code, 0);
            assert!(denied.status.unwrap().code >= 400);
            for option in &denied.headers {
                let header = option.header.as_ref().unwrap();
                assert!(
                    header
                        .value
                        .bytes()
                        .all(|byte| (0x20..0x7f).contains(&byte))
                );
            }
        }
    }
}

/// Checks what is left of the cookies after those of `upstream.remove_cookies`.
fn has_no_cookie_of_a_login(value: &str) {
    assert!(!value.is_empty() && !value.contains(char::is_control));
    for crumb in value.split(';') {
        if let Some((name, _)) = crumb.split_once('=') {
            let name = name.trim().to_lowercase();
            assert!(
                name != "idtoken" && !name.starts_with("session-"),
                "{value}"
            );
        }
    }
}

/// Checks, with independent code, what an allowed request must satisfy.
fn is_unambiguous(request: &Request<'_>) {
    assert_eq!(request.conflict, None);
    assert_ne!(request.method, "DELETE");
    assert_eq!(request.method, request.method.to_ascii_uppercase());
    let (path, _) = request.split_path();
    let is_raw = request.path_bytes.is_some();
    if let Some(bytes) = request.path_bytes {
        assert!(bytes.starts_with(path.as_bytes()));
    }
    assert!(is_raw || !path.contains('!'));
    for segment in path.split('/') {
        assert!(!segment.ends_with('.') && !segment.ends_with("%20"));
    }
    for encoded in ["%E2%80%A5", "%EF%BC%8F", "%CD%BE", "%2E", "%2F", "%5C"] {
        assert!(!path.to_ascii_uppercase().contains(encoded));
    }
}
