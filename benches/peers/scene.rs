//! Tokens, checks and keys.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use claimgate::keyring::Algorithm;

use crate::tokens::{Provider, with_signature_of};
use crate::{issuer, load};

/// The number of different tokens of one load.
pub const TOKENS: usize = 6_000;

/// Of the mixed load, one in this many tokens has a wrong signature.
pub const EACH_BAD: usize = 10;

/// The files to measure with.
pub struct Scene {
    pub directory: PathBuf,
    pub issuer: String,
    /// Where the keys are.
    pub keys: SocketAddr,
    /// Checks with one token; with tokens that no other file has; with other ones to warm up.
    pub one: PathBuf,
    pub many: PathBuf,
    pub others: PathBuf,
    /// Every tenth token has a wrong signature.
    pub mixed: PathBuf,
    /// Messages whose answers are checked, with the expected subject. `None`: a denial.
    pub expected: Vec<(&'static str, Vec<u8>, Option<String>)>,
}

impl Scene {
    /// Writes the files. Call it inside a runtime, which then serves the keys.
    pub fn set_up(directory: &Path) -> Self {
        let provider = Provider::new(0, Algorithm::Rs256);
        let stranger = Provider::new(0, Algorithm::Rs256);
        let billing = |token: usize| {
            let mut claims = provider.claims(token);
            claims["aud"] = "billing".into();
            provider.signer.token(&claims).unwrap()
        };
        let tokens = signed(&provider, 0..3 * TOKENS);
        let (many, rest) = tokens.split_at(TOKENS);
        let (others, mixed) = rest.split_at(TOKENS);
        let mixed: Vec<String> = mixed
            .iter()
            .enumerate()
            .map(|(number, token)| match number % EACH_BAD {
                9 => with_signature_of(token, &mixed[number - 1]),
                _ => token.clone(),
            })
            .collect();
        let scene = Self {
            keys: issuer::serve(&provider.issuer(), &provider.key_set()),
            issuer: provider.issuer(),
            one: directory.join("one"),
            many: directory.join("many"),
            others: directory.join("others"),
            mixed: directory.join("mixed"),
            directory: directory.to_owned(),
            expected: vec![
                (
                    "a good token",
                    Provider::check(&tokens[0]),
                    Some(subject(&provider, 0)),
                ),
                (
                    "another good token",
                    Provider::check(&tokens[1]),
                    Some(subject(&provider, 1)),
                ),
                (
                    "the signature of another token",
                    Provider::check(&with_signature_of(&tokens[0], &tokens[1])),
                    None,
                ),
                (
                    "another key under the same id",
                    Provider::check(&stranger.token(0)),
                    None,
                ),
                ("another audience", Provider::check(&billing(0)), None),
                ("no token", Provider::check_without_token(), None),
            ],
        };
        let checks = |tokens: &[String]| -> Vec<Vec<u8>> {
            tokens.iter().map(|token| Provider::check(token)).collect()
        };
        load::write(&scene.one, checks(&tokens[..1]));
        load::write(&scene.many, checks(many));
        load::write(&scene.others, checks(others));
        load::write(&scene.mixed, checks(&mixed));
        scene
    }
}

fn subject(provider: &Provider, number: usize) -> String {
    provider.claims(number)["sub"].as_str().unwrap().to_owned()
}

/// Signs on two cores, because it takes a while.
fn signed(provider: &Provider, numbers: std::ops::Range<usize>) -> Vec<String> {
    let sign = |numbers: std::ops::Range<usize>| -> Vec<String> {
        numbers.map(|number| provider.token(number)).collect()
    };
    let middle = numbers.start + numbers.len() / 2;
    std::thread::scope(|scope| {
        let first = scope.spawn(|| sign(numbers.start..middle));
        let second = sign(middle..numbers.end);
        [first.join().unwrap(), second].concat()
    })
}
