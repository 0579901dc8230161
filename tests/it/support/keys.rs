//! Signing keys, generated once per test run, because an RSA key takes a while.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex};

use claimgate::dev::signer::Signer;
use claimgate::keyring::Algorithm;

type Keys = HashMap<(Algorithm, String), Arc<Signer>>;

static KEYS: LazyLock<Mutex<Keys>> = LazyLock::new(Mutex::default);

/// The key with this algorithm and id: the same one for every caller.
pub fn signer(alg: Algorithm, kid: &str) -> Arc<Signer> {
    let mut keys = KEYS.lock().unwrap();
    let key = keys
        .entry((alg, kid.to_owned()))
        .or_insert_with(|| Arc::new(Signer::generate(alg, kid).unwrap()));
    Arc::clone(key)
}
