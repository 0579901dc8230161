//! Compares each case with the verdict of `jsonwebtoken`, which verifies with independent code.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use claimgate::config::Config;
use claimgate::decision::{Decision, Fault};
use claimgate::ext_authz::request::describe;
use claimgate::gate::Gate;
use claimgate::time::UnixTime;

mod opinion;

use opinion::{STRICTER, accepts};

use super::file::{files, read, test_name};
use super::run::{CaseClock, configuration, mint, requests, with_keys};

pub async fn jsonwebtoken_accepts_whatever_claimgate_does() {
    let listed: BTreeMap<&str, &str> = STRICTER.into();
    let mut wrong = Vec::new();
    let (mut agreed, mut reasons) = (0, BTreeSet::new());
    for path in files() {
        let file = read(&path);
        for case in &file.cases {
            let name = test_name(&path, case);
            let Some((_, check)) = requests(&file, case).into_iter().next() else {
                continue;
            };
            if case.clock_fails || case.request.empty || case.request.without_http {
                continue;
            }
            let yaml = with_keys(&file, configuration(&file, case));
            let config = Config::from_yaml(&yaml.to_string()).unwrap();
            let now = UnixTime::from_secs(case.now);
            let gate = Gate::start(config, Arc::new(CaseClock(Some(now)))).await;
            let mut joined = String::new();
            let request = describe(&check, &mut joined);
            let judged = gate.decide(&request, Duration::from_secs(10)).await;
            let says = |token: &str| -> Option<bool> {
                let policy = &judged.generation().policy;
                let providers = policy
                    .providers()
                    .zip(yaml["providers"].as_array().unwrap());
                let opinions = providers.map(|((_, provider), yaml)| {
                    let keys = yaml["jwks"]["inline"]["keys"].as_array();
                    let keys = keys.map(Vec::as_slice).unwrap_or_default();
                    accepts(token, &provider.terms, keys, now)
                });
                opinions.flatten().reduce(|one, other| one || other)
            };
            match judged.decision() {
                Decision::Allow(permit) => {
                    let Some(bearer) = permit.bearer() else {
                        continue;
                    };
                    let token = mint(&file, case);
                    let payload = token.split('.').nth(1);
                    assert_eq!(payload, Some(bearer.token().payload()), "{name}");
                    match says(&token) {
                        Some(true) => agreed += 1,
                        Some(false) => wrong.push(format!("{name}: refused by jsonwebtoken")),
                        None => {}
                    }
                }
                // Other reasons are not about the token.
                Decision::Deny(denial)
                    if matches!(denial.fault, Fault::Token(_) | Fault::UnknownIssuer(_)) =>
                {
                    let reason = denial.reason().code();
                    match says(&mint(&file, case)) {
                        Some(true) if listed.contains_key(reason) => {
                            reasons.insert(reason);
                        }
                        Some(true) => {
                            wrong.push(format!("{name}: {reason}, accepted by jsonwebtoken"));
                        }
                        Some(false) => agreed += 1,
                        None => {}
                    }
                }
                Decision::Deny(_) | Decision::Respond(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(agreed > 200, "{agreed} cases compared");
    let unused: Vec<&&str> = listed
        .keys()
        .filter(|reason| !reasons.contains(**reason))
        .collect();
    assert!(unused.is_empty(), "on the list for nothing: {unused:?}");
}
