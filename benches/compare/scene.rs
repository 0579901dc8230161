//! Tokens and checks in files, and the configurations for which they are valid.

use std::path::{Path, PathBuf};

use claimgate::keyring::Algorithm;

use crate::tokens::{Provider, configurations, with_signature_of};
use crate::{core, load};

/// The number of different tokens.
pub const TOKENS: usize = 10_000;

/// The files to measure with.
pub struct Scene {
    pub directory: PathBuf,
    pub providers: Vec<Provider>,
    pub config: PathBuf,
    /// Configurations without claims for the upstream, and without a token cache.
    pub config_alone: PathBuf,
    pub config_forgetful: PathBuf,
    /// The answer to the first check, with the first configuration.
    pub answer: PathBuf,
    /// Checks: one; one per token; one per token of another set.
    pub one: PathBuf,
    pub all: PathBuf,
    pub others: PathBuf,
    /// Checks of the first thousand tokens.
    pub thousand: PathBuf,
    /// The same, but every tenth has the signature of another token.
    pub tenth_bad: PathBuf,
    /// Tokens: one; all.
    pub one_token: PathBuf,
    pub tokens: PathBuf,
    /// The first check and its token.
    pub first: Vec<u8>,
    pub token: String,
    /// The number of requests through Envoy for one figure.
    pub count: usize,
}

impl Scene {
    pub fn set_up(directory: &Path) -> Self {
        let providers: Vec<Provider> = (0..10)
            .map(|number| Provider::new(number, Algorithm::Rs256))
            .collect();
        let [config, config_alone, config_forgetful] = configurations(directory, &providers);
        let tokens = signed(&providers, 0);
        let checks = checks(&tokens);
        let scene = Self {
            config,
            config_alone,
            config_forgetful,
            answer: directory.join("answer"),
            one: directory.join("one"),
            all: directory.join("all"),
            others: directory.join("others"),
            thousand: directory.join("thousand"),
            tenth_bad: directory.join("tenth_bad"),
            one_token: directory.join("token"),
            tokens: directory.join("tokens"),
            first: checks[0].clone(),
            token: tokens[0].clone(),
            count: TOKENS,
            directory: directory.to_owned(),
            providers,
        };
        let answer = core::answer_under(&scene.config, &scene.first);
        std::fs::write(&scene.answer, answer).unwrap();
        load::write(&scene.one, &checks[..1]);
        load::write(&scene.thousand, &checks[..1_000]);
        load::write(&scene.tenth_bad, tenth_bad(&tokens[..1_000]));
        load::write(&scene.all, &checks);
        load::write(&scene.one_token, &tokens[..1]);
        load::write(&scene.tokens, &tokens);
        load::write(
            &scene.others,
            self::checks(&signed(&scene.providers, TOKENS)),
        );
        scene
    }
}

/// Checks of these tokens, of which every tenth has the signature of the previous token.
fn tenth_bad(tokens: &[String]) -> Vec<Vec<u8>> {
    let bad = |number: usize| with_signature_of(&tokens[number], &tokens[number - 1]);
    let check = |number: usize| match number % 10 {
        9 => Provider::check(&bad(number)),
        _ => Provider::check(&tokens[number]),
    };
    (0..tokens.len()).map(check).collect()
}

fn checks(tokens: &[String]) -> Vec<Vec<u8>> {
    tokens.iter().map(|token| Provider::check(token)).collect()
}

/// `TOKENS` tokens, numbered from `from`. They are signed on two cores.
fn signed(providers: &[Provider], from: usize) -> Vec<String> {
    let sign = |numbers: std::ops::Range<usize>| -> Vec<String> {
        let signed = numbers.map(|number| providers[number % providers.len()].token(number));
        signed.collect()
    };
    let middle = from + TOKENS / 2;
    std::thread::scope(|scope| {
        let first = scope.spawn(|| sign(from..middle));
        let second = sign(middle..from + TOKENS);
        [first.join().unwrap(), second].concat()
    })
}
