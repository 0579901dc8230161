use super::*;

#[test]
fn expressions() {
    let exact = |text: &str| Decoded::Exact(text.to_owned());
    let begins = |text: &str| Decoded::Begins(text.to_owned());
    let mut wrong = Vec::new();
    for (regex, expected) in [
        (".*", Decoded::All),
        (".+", Decoded::All),
        ("^/.*$", Decoded::All),
        (r"/(\S|\s)*", Decoded::All),
        ("/a", exact("/a")),
        ("^/a$", exact("^/a$")),
        (r"/files/\d+(\.json)?", exact(r"/files/[0-9]+(\.json)?")),
        ("/(orders|items)/[^/]+", exact("/(orders|items)/[^/]+")),
        ("/a|/b/.*", exact("/a|/b/.*")),
        ("/a/.*", exact("/a/.*")),
        ("/a/(.*)", exact("/a/(.*)")),
        ("/a/.+/x", exact("/a/.+/x")),
        (r"/v\w+", exact("/v[0-9A-Z_a-z]+")),
        (r"/\S+", exact("/.+")),
        ("/[a-z0-9-]{8}", exact(r"/[\-0-9a-z]{8}")),
        ("/[[:alpha:]]+/admin", exact("/[A-Za-z]+/admin")),
        ("/[+--]+", exact(r"/[+-\-]+")),
        ("/(?i)kiosk", exact("/[Kk][Ii][Oo][Ss][Kk]")),
        ("/a%20b.*", exact("/a b.*")),
        ("/caf%C3%A9", exact("/café")),
        ("/100%25", exact("/100%")),
        ("/[^/@]+", exact("/[^/@]+")),
        ("/[^/:]+:cancel", exact("/[^/:]+:cancel")),
        ("/v1/items:batch", exact("/v1/items:batch")),
        (r"/favicon.ico", exact(r"/favicon[!-$&-~]ico")),
        // One character here is three there.
        ("/t/.{3}", begins("/t/")),
        ("/t/[A-Za-z0-9%]{6}", begins("/t/")),
        ("/v.20", begins("/v")),
        ("/adm[a-z0-9%]+", begins("/adm")),
        // These are about encodings.
        ("/[^%]+", begins("/")),
        ("/[^[:digit:]]+", begins("/")),
        ("/a%[0-9A-F]{2}", begins("/a")),
        ("/a(%20|b)%", begins("/a")),
        ("/caf%C3(%A9|%A8)", begins("/caf")),
        ("/caf%c3%a9", begins("/caf")),
        ("/a%40b", begins("/a")),
        ("/a%2Fb", begins("/a")),
        (r"/a\s", begins("/a")),
        // Rust does not know these.
        (r"/\Qa.b\E", begins("")),
        (r"/\pL+", begins("")),
        ("/a(", begins("")),
    ] {
        let found = decoded(regex);
        if found != expected {
            wrong.push(format!("{regex}: {found:?} instead of {expected:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
