//! The two configurations of claimgate, and which of them is in force.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::provider::Provider;
use crate::{AUDIENCE, COOLDOWN};

/// A configuration. All of its answers show it: a denial by a header, an allow by which claim is in which
/// header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Color {
    Blue,
    Green,
}

impl Color {
    /// The color with this name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "blue" => Some(Self::Blue),
            "green" => Some(Self::Green),
            _ => None,
        }
    }

    fn of(change: usize) -> Self {
        match change % 2 {
            0 => Self::Blue,
            _ => Self::Green,
        }
    }

    fn section(self) -> &'static str {
        match self {
            Self::Blue => {
                "upstream:\n  forward_token: false\n  payload_header: x-auth-claims\n  claim_headers:\n    \
                 - { header: x-auth-subject, claim: sub }\n    - { header: x-auth-client, claim: client_id }\n\
                 denials: { headers: [{ header: x-configuration, value: blue }] }\n"
            }
            Self::Green => {
                "upstream:\n  forward_token: false\n  payload_header: x-auth-claims\n  claim_headers:\n    \
                 - { header: x-auth-subject, claim: client_id }\n    - { header: x-auth-client, claim: sub }\n\
                 denials: { headers: [{ header: x-configuration, value: green }] }\n"
            }
        }
    }
}

/// The configuration file, and which configuration is in force.
pub struct Configuration {
    file: PathBuf,
    common: String,
    /// Twice the number of changes, and one more while one is in progress.
    changes: AtomicUsize,
}

/// A moment in the life of the configuration.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Moment(usize);

impl Configuration {
    /// Writes the first configuration: these providers, and this section `server`.
    pub fn write(file: PathBuf, server: &str, providers: &[Provider]) -> Self {
        let cooldown = COOLDOWN.as_secs();
        let provider = |provider: &Provider| {
            let (name, issuer) = (provider.name(), provider.issuer());
            format!(
                "  - name: {name}\n    issuer: \"{issuer}\"\n    audiences: [{AUDIENCE}]\n    \
                 clock_skew: 5s\n    fetch: {{ timeout: 2s }}\n    \
                 refresh: {{ min: 2s, max: 6s, unknown_key_cooldown: {cooldown}s, unknown_key_wait: 400ms }}\n"
            )
        };
        let providers: String = providers.iter().map(provider).collect();
        let rules = "rules:\n  - { name: public, match: { path: { prefix: /public } }, access: public }\n  \
                     - { name: admin, match: { path: { prefix: /admin } }, scopes: [admin] }\n";
        let configuration = Self {
            file,
            common: format!("{server}providers:\n{providers}{rules}"),
            changes: AtomicUsize::new(0),
        };
        configuration.put(Color::Blue);
        configuration
    }

    fn put(&self, color: Color) {
        let text = format!("{}{}", self.common, color.section());
        let new = self.file.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(&new, &self.file).unwrap();
    }

    /// Begins a change to the other configuration.
    pub fn change(&self) {
        let changes = self.changes.fetch_add(1, Ordering::SeqCst) + 1;
        self.put(Color::of(changes.div_ceil(2)));
    }

    /// Says that the change is complete.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }

    pub fn now(&self) -> Moment {
        Moment(self.changes.load(Ordering::SeqCst))
    }

    /// The configuration in force from `since` until now. `None` if it changed.
    pub fn in_force(&self, since: Moment) -> Option<Color> {
        let Moment(changes) = since;
        (since == self.now() && changes % 2 == 0).then(|| Color::of(changes / 2))
    }
}
