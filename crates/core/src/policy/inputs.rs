//! The parts of a request that rules look at, besides method, host and path.

use std::collections::BTreeSet;

use super::condition::Condition;
use super::matcher::{HeaderPattern, MCP_HEADERS, Matcher};
use super::rules::Rules;

/// What matchers and conditions may look at in a request. Without it, another policy cannot judge a
/// recorded request again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a set, whose members have names of their own"
)]
pub struct Inputs {
    /// The headers that some rule names, in lower case.
    pub headers: BTreeSet<String>,
    /// Whether a condition looks at headers that it does not name.
    pub other_headers: bool,
    /// Whether a condition uses the query.
    pub query: bool,
    /// Whether a condition uses the sender.
    pub source: bool,
    /// Whether a condition uses the context of the proxy's route.
    pub context: bool,
}

impl Inputs {
    /// What these rules look at.
    pub fn of(rules: &Rules) -> Self {
        let mut inputs = Self::default();
        for rule in rules.all() {
            if let Some(matcher) = &rule.matcher {
                inputs.add_matcher(matcher);
            }
            if let Some(condition) = &rule.condition {
                inputs.add_condition(condition);
            }
        }
        inputs
    }

    fn add_matcher(&mut self, matcher: &Matcher) {
        let Matcher {
            hosts: _,
            methods: _,
            paths: _,
            headers,
            mcp,
        } = matcher;
        self.add_headers(headers.iter().map(HeaderPattern::name));
        if mcp.is_some() {
            self.add_headers(MCP_HEADERS.into_iter());
        }
    }

    fn add_condition(&mut self, condition: &Condition) {
        let uses = condition.uses();
        self.add_headers(condition.headers());
        self.other_headers |= condition.looks_at_other_headers();
        self.query |= uses.query;
        self.source |= uses.source;
        self.context |= uses.context;
    }

    fn add_headers<'h>(&mut self, names: impl Iterator<Item = &'h str>) {
        self.headers.extend(names.map(str::to_owned));
    }
}

#[cfg(test)]
mod tests {
    use super::super::matcher::McpPattern;
    use super::super::requirement::Access;
    use super::super::rule::{PathMode, Rule};
    use super::*;

    fn inputs(matcher: Matcher, condition: Option<&str>) -> Inputs {
        let rule = Rule {
            name: "a".to_owned(),
            matcher: Some(matcher),
            access: Access::Public,
            condition: condition.map(|text| Condition::compile(text).unwrap()),
            is_enforced: true,
            is_audited: false,
        };
        Inputs::of(&Rules::new(vec![rule], PathMode::Strict))
    }

    #[test]
    fn of_matchers() {
        let matcher = Matcher {
            headers: vec![HeaderPattern::new("X-Env", &[])],
            mcp: Some(McpPattern::default()),
            ..Matcher::default()
        };
        let headers: Vec<String> = inputs(matcher, None).headers.into_iter().collect();
        assert_eq!(
            headers,
            ["mcp-method", "mcp-name", "mcp-protocol-version", "x-env"]
        );
    }

    #[test]
    fn of_conditions() {
        for (condition, headers, other_headers) in [
            ("request.path == '/'", &[][..], false),
            ("request.headers['x-a'] == 'b'", &["x-a"], false),
            ("request.headers.origin == 'b'", &["origin"], false),
            ("has(request.headers.origin)", &["origin"], false),
            (
                "!('x-a' in request.headers) || request.headers['x-a'] == request.headers['x-b']",
                &["x-a", "x-b"],
                false,
            ),
            ("request.headers.exists(name, name == 'x-a')", &[], true),
            (
                "request.headers['x-a'] == 'b' || request.headers[context.name] == 'b'",
                &["x-a"],
                true,
            ),
            ("size(request.headers) > 3", &[], true),
        ] {
            let inputs = inputs(Matcher::default(), Some(condition));
            let found: Vec<&str> = inputs.headers.iter().map(String::as_str).collect();
            assert_eq!(found, headers, "{condition}");
            assert_eq!(inputs.other_headers, other_headers, "{condition}");
        }
        let found = inputs(
            Matcher::default(),
            Some("source.address == request.query || context.a == ''"),
        );
        assert!(found.source && found.query && found.context);
    }
}
