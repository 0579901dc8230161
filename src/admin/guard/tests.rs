use super::*;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// The refusal of `GET PATH` with these header lines.
fn refusal(access: &Access, peer: Peer, path: &str, lines: &[(&str, &str)]) -> Option<Refusal> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    let peer = peer.behind(&headers);
    access.admit(peer, &path.parse().unwrap(), &headers).err()
}

fn open() -> Access {
    Access {
        token: None,
        allowed_hosts: vec!["admin.example.com".to_owned()],
        explains_to_all: false,
    }
}

async fn with_token() -> Access {
    let file = std::env::temp_dir().join(format!("claimgate-token-{}", fastrand::u64(..)));
    std::fs::write(&file, TOKEN).unwrap();
    let token = AccessToken::load(&file).await.unwrap();
    std::fs::remove_file(&file).unwrap();
    Access {
        token: Some(Arc::new(token)),
        ..open()
    }
}

const DETAILS: [&str; 8] = [
    "/",
    "/denials",
    "/denials/a",
    "/config",
    "/providers",
    "/stats",
    "/explain",
    "/unknown",
];

#[tokio::test]
async fn who_may_read_what() {
    let (open, with_token) = (open(), with_token().await);
    let host = ("host", "localhost:9002");
    let bearer = format!("Bearer {TOKEN}");
    let basic = "Basic eDowMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZg==";
    for peer in [Peer::Unix, Peer::Loopback, Peer::Certified, Peer::Remote] {
        for path in ["/livez", "/readyz"] {
            for access in [&open, &with_token] {
                assert_eq!(refusal(access, peer, path, &[]), None, "{path}");
            }
        }
        let guarded = ["/metrics", "/readyz?verbose"];
        for path in DETAILS.into_iter().chain(guarded) {
            let why = format!("{peer:?} {path}");
            let is_open = guarded.contains(&path) || peer != Peer::Remote;
            let expected = (!is_open).then_some(Refusal::NotLocal);
            assert_eq!(refusal(&open, peer, path, &[host]), expected, "{why}");

            let with = |credentials| refusal(&with_token, peer, path, &[host, credentials]);
            assert_eq!(with(("authorization", &bearer)), None, "{why}");
            assert_eq!(with(("authorization", basic)), None, "{why}");
            let wrong = with(("authorization", &bearer[..bearer.len() - 1]));
            assert_eq!(wrong, Some(Refusal::WrongToken), "{why}");
            assert_eq!(with(("x-token", TOKEN)), Some(Refusal::NoToken), "{why}");
        }
    }
    let twice = [host, ("authorization", &bearer), ("authorization", &bearer)];
    assert_eq!(
        refusal(&with_token, Peer::Loopback, "/", &twice),
        Some(Refusal::WrongToken)
    );
}

#[test]
fn by_which_names() {
    for (host, is_known) in [
        ("localhost", true),
        ("LOCALHOST:9002", true),
        ("127.0.0.1", true),
        ("10.0.0.7:9002", true),
        ("[::1]:9002", true),
        ("admin.example.com", true),
        ("Admin.Example.Com:9002", true),
        ("evil.example", false),
        ("localhost.evil.example", false),
        ("127.0.0.1.evil.example", false),
        ("admin.example.com.", false),
        ("localhost@evil.example", false),
        ("evil@localhost", false),
        ("", false),
    ] {
        let lines = [("host", host)];
        let expected = (!is_known).then_some(Refusal::Host);
        for path in DETAILS {
            let found = refusal(&open(), Peer::Loopback, path, &lines);
            assert_eq!(found, expected, "{host:?} {path}");
            assert_eq!(refusal(&open(), Peer::Unix, path, &lines), None, "{host:?}");
        }
        for path in ["/livez", "/readyz", "/readyz?verbose", "/metrics"] {
            let found = refusal(&open(), Peer::Loopback, path, &lines);
            assert_eq!(found, None, "{host:?} {path}");
        }
    }
    let twice = [("host", "localhost"), ("host", "evil.example")];
    let absolute = "http://evil.example/denials";
    for (path, lines) in [("/", &twice[..]), ("/", &[]), (absolute, &twice[..1])] {
        let found = refusal(&open(), Peer::Loopback, path, lines);
        assert_eq!(found, Some(Refusal::Host), "{lines:?}");
    }
}

#[test]
fn from_which_pages() {
    const SITE: &str = "sec-fetch-site";
    for (lines, is_own) in [
        (&[(SITE, "none")][..], true),
        (&[(SITE, "same-origin")], true),
        (&[(SITE, "cross-site")], false),
        (&[(SITE, "same-site")], false),
        (&[(SITE, "something-new")], false),
        (&[("origin", "http://localhost:9002")], true),
        (&[("origin", "https://localhost:9002")], true),
        (&[("origin", "http://localhost")], false),
        (&[("origin", "http://localhost:9003")], false),
        (&[("origin", "https://evil.example")], false),
        (&[("origin", "null")], false),
        (&[("origin", "null"), (SITE, "none")], false),
        (&[("origin", "null"), (SITE, "same-origin")], true),
        (
            &[("origin", "https://evil.example"), (SITE, "same-origin")],
            false,
        ),
    ] {
        let lines: Vec<_> = [("host", "localhost:9002")]
            .into_iter()
            .chain(lines.iter().copied())
            .collect();
        let expected = (!is_own).then_some(Refusal::CrossSite);
        for peer in [Peer::Loopback, Peer::Unix] {
            for path in DETAILS {
                assert_eq!(refusal(&open(), peer, path, &lines), expected, "{lines:?}");
            }
            assert_eq!(
                refusal(&open(), peer, "/metrics", &lines),
                None,
                "{lines:?}"
            );
        }
    }
}

#[test]
fn a_proxy_is_not_local() {
    for header in ["forwarded", "via", "x-forwarded-for", "x-forwarded-proto"] {
        let lines = [("host", "localhost"), (header, "a")];
        for (peer, expected) in [
            (Peer::Unix, Some(Refusal::Forwarded(header))),
            (Peer::Loopback, Some(Refusal::Forwarded(header))),
            (Peer::Certified, None),
        ] {
            assert_eq!(refusal(&open(), peer, "/", &lines), expected, "{header}");
        }
    }
}

#[test]
fn to_whom_tokens_are_explained() {
    let to_all = Access {
        explains_to_all: true,
        ..open()
    };
    for (peer, expected) in [
        (Peer::Unix, true),
        (Peer::Loopback, true),
        (Peer::Certified, false),
        (Peer::Remote, false),
    ] {
        assert_eq!(open().explains_to(peer), expected, "{peer:?}");
        assert!(to_all.explains_to(peer), "{peer:?}");
    }
}
