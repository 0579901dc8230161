use claimgate_core::policy::condition::Condition;

use super::{Claim, Header, Path, Peer, Predicate, Shape, Test, Text, cel, spelling};

fn claim(names: &[&str], values: &[Text], shape: Shape) -> Predicate {
    Predicate::Test(Test::Claim(Claim {
        names: names.iter().map(|&name| name.to_owned()).collect(),
        values: values.to_vec(),
        shape,
    }))
}

fn exact(text: &str) -> Text {
    Text::Exact(text.to_owned())
}

fn method(text: &str) -> Predicate {
    Predicate::Test(Test::Method(exact(text)))
}

fn host(text: &str) -> Predicate {
    Predicate::Test(Test::Host(exact(text)))
}

/// What is unknown never allows, and always denies.
#[test]
fn bounds_are_on_the_safe_side() {
    let get = || method("GET");
    let unknown = || Predicate::Unknown;
    let cases = [
        (unknown(), "false", "true"),
        (unknown().negated(), "false", "true"),
        (
            Predicate::all([get(), unknown()]),
            "false",
            r#"request.method == "GET""#,
        ),
        (
            Predicate::any([get(), unknown()]),
            r#"request.method == "GET""#,
            "true",
        ),
        (
            Predicate::all([get(), unknown().negated()]).negated(),
            r#"request.method != "GET""#,
            "true",
        ),
        (
            Predicate::between(method("GET"), host("b")),
            r#"request.method == "GET""#,
            r#"request.host == "b""#,
        ),
        (
            Predicate::between(method("GET"), host("b")).negated(),
            r#"request.host != "b""#,
            r#"request.method != "GET""#,
        ),
        (
            claim(&["scope"], &[exact("a b")], Shape::Words),
            r#"has(claims.scope) && type(claims.scope) == list && "a b" in claims.scope"#,
            r#"has(claims.scope) && type(claims.scope) == list && "a b" in claims.scope"#,
        ),
        (
            host("a.example"),
            r#"request.host == "a.example""#,
            r#"request.host == "a.example""#,
        ),
        (
            host("a.example:8443"),
            "false",
            r#"request.host == "a.example""#,
        ),
        (
            host("[::1]"),
            r#"request.host == "[::1]""#,
            r#"request.host == "[::1]""#,
        ),
        (
            Predicate::Test(Test::Peer(Peer::Text(exact("spiffe://a/b")))),
            r#"source.principal == "spiffe://a/b""#,
            r#"source.principal == "spiffe://a/b" || source.principal == """#,
        ),
        (
            Predicate::Test(Test::Header(Header {
                name: "x-a".to_owned(),
                value: exact("1"),
                is_any_line: false,
            })),
            r#""x-a" in request.headers && request.headers["x-a"] == "1""#,
            r#""x-a" in request.headers && request.headers["x-a"].matches("(?:^|,)[ \\t]*1[ \\t]*(?:,|$)")"#,
        ),
        (
            spelling::path(&exact("/a;b")),
            "false",
            r#"request.path == "/a;b""#,
        ),
        (spelling::path(&exact("/a%2")), "false", "true"),
        (
            spelling::template("/a/{*}/b/{**}"),
            r#"request.path.matches("^(?:/a/[^/*\"<>\\[\\]^`{|}]+/b/[^*\"<>\\[\\]^`{|}]*)$")"#,
            r#"request.path.matches("^(?:/a/[^/]+/b/.*)$")"#,
        ),
    ];
    for (predicate, lower, upper) in cases {
        assert_eq!(cel(&predicate.lower()), lower, "{predicate:?}");
        assert_eq!(cel(&predicate.upper()), upper, "{predicate:?}");
    }
}

#[test]
fn constants_and_repetitions_disappear() {
    let (a, b) = (|| method("A"), || host("b"));
    let cases = [
        (Predicate::all([]), Predicate::True),
        (Predicate::any([]), Predicate::False),
        (Predicate::all([a(), Predicate::True, a()]), a()),
        (Predicate::any([a(), Predicate::True]), Predicate::True),
        (Predicate::all([a(), a().negated()]), Predicate::False),
        (Predicate::any([a(), a().negated()]), Predicate::True),
        (Predicate::any([a(), Predicate::all([b(), a()])]), a()),
        (Predicate::all([a(), Predicate::any([b(), a()])]), a()),
        (a().negated().negated(), a()),
        (
            Predicate::all([Predicate::all([a(), b()]), Predicate::True]),
            Predicate::all([a(), b()]),
        ),
    ];
    for (predicate, expected) in cases {
        assert_eq!(predicate.simplified(), expected, "{predicate:?}");
    }
}

/// A condition that may be true without a token makes a rule `optional`.
#[test]
fn a_token_is_needed_only_where_nothing_else_helps() {
    let token = || claim(&["sub"], &[Text::Present], Shape::Text);
    assert!(token().needs_token());
    assert!(Predicate::all([token(), method("GET")]).needs_token());
    assert!(!Predicate::any([token(), method("GET")]).needs_token());
    assert!(!token().negated().needs_token());
}

/// claimgate compiles each condition, and each means what it says.
#[test]
fn every_test_is_a_condition() {
    let texts = [
        exact("a\"\\\n"),
        Text::Prefix("a".to_owned()),
        Text::Suffix("a".to_owned()),
        Text::Present,
    ];
    let mut predicates = Vec::new();
    for text in &texts {
        predicates.extend([
            Predicate::Test(Test::Method(text.clone())),
            Predicate::Test(Test::Host(text.clone())),
            Predicate::Test(Test::Path(Path::Text(text.clone()))),
            Predicate::Test(Test::Peer(Peer::Text(text.clone()))),
        ]);
        for is_any_line in [false, true] {
            predicates.push(Predicate::Test(Test::Header(Header {
                name: "x-a".to_owned(),
                value: text.clone(),
                is_any_line,
            })));
        }
    }
    for shape in [Shape::Text, Shape::List, Shape::TextOrList, Shape::Words] {
        for names in [
            &["a"] as &[&str],
            &["a", "b"],
            &["https://x.example/a", "in"],
            &["iss"],
        ] {
            predicates.push(claim(names, &texts, shape));
            predicates.extend(
                texts
                    .iter()
                    .map(|text| claim(names, std::slice::from_ref(text), shape)),
            );
        }
    }
    predicates.extend([
        Predicate::Test(Test::Path(Path::Below("/a".to_owned()))),
        Predicate::Test(Test::Path(Path::WithQuery("/a[?]b".to_owned()))),
        Predicate::Test(Test::Address(vec![
            "10.0.0.0/8".to_owned(),
            "::1/128".to_owned(),
        ])),
        Predicate::Test(Test::Peer(Peer::Regex(".+".to_owned()))),
    ]);
    for predicate in predicates {
        for predicate in [
            predicate.clone(),
            predicate.negated(),
            Predicate::any([method("A"), method("B")]),
        ] {
            let text = cel(&Predicate::all([predicate, host("h")]));
            Condition::compile(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
        }
    }
}
