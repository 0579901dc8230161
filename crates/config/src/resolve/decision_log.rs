//! The decision log.

use super::Resolver;
use crate::document::{Field, Location};
use crate::raw::values::Texts;
use crate::{DecisionFile, DecisionLog, DecisionTarget, Log, LogSubject, LoggedAllows, raw};
use claimgate_core::policy::rules::Rules;
use claimgate_core::secrets::names_secret;
use claimgate_core::token::claims::ClaimPath;

const MIB: usize = 1024 * 1024;

/// Claims whose names look like those of secrets, but which are none.
const HARMLESS_CLAIMS: [&str; 4] = ["session_state", "tokenType", "token_type", "token_use"];

impl Resolver<'_> {
    pub(super) fn decision_log(
        &mut self,
        field: Field<raw::decision_log::DecisionLog>,
        log: &Log,
    ) -> Option<DecisionLog> {
        let Field::Given(location, written) = field else {
            return None;
        };
        let raw::decision_log::DecisionLog {
            path,
            stdout,
            allow,
            sample_ratio,
            claims,
            subject,
            subject_key_file,
            max_bytes,
            rotate,
        } = written;
        let file = self.decision_file(&path, &max_bytes, &rotate);
        let target = match (&path, stdout.given()) {
            (Field::Absent, Some((_, true))) => {
                for (name, at) in [("max_bytes", place(&max_bytes)), ("rotate", place(&rotate))] {
                    if let Some(at) = at {
                        self.report(at, format!("`{name}` requires `path`"));
                    }
                }
                Some(DecisionTarget::Stdout)
            }
            (Field::Absent, _) => {
                let why = "say where it is written: `path: FILE` or `stdout: true`";
                self.report(&location, why);
                None
            }
            (_, Some((at, _))) => {
                self.report(at, "`path` and `stdout` exclude each other");
                None
            }
            (_, None) => file.map(DecisionTarget::File),
        };
        let log = DecisionLog {
            allow: self.logged_allows(&allow, &sample_ratio, &location),
            claims: self.logged_claims(claims),
            subject: self.decision_subject(&subject, &subject_key_file, log),
            target: target?,
        };
        Some(log)
    }

    fn decision_file(
        &mut self,
        path: &Field<String>,
        max_bytes: &Field<String>,
        rotate: &Field<u32>,
    ) -> Option<DecisionFile> {
        let written = path.given();
        let resolved = self.named_file(path);
        if let (Some((at, _)), Some(path)) = (written, &resolved)
            && path.file_name().is_none()
            && !path.as_os_str().is_empty()
        {
            self.report(at, "it names no file");
        }
        let keep = match rotate.given() {
            Some((at, keep)) if *keep > 1000 => {
                self.report(at, "at most 1000 files are kept");
                1000
            }
            Some((_, keep)) => *keep,
            None => 4,
        };
        if let (0, Some((at, _))) = (keep, max_bytes.given()) {
            let why = "with `rotate: 0`, the file is never renamed, so its size has no limit";
            self.report(at, why);
        }
        Some(DecisionFile {
            path: resolved?,
            max_bytes: self.bytes(max_bytes, 100 * MIB, MIB, 65_536 * MIB),
            keep,
        })
    }

    fn logged_allows(
        &mut self,
        allow: &Field<String>,
        ratio: &Field<f64>,
        section: &Location,
    ) -> LoggedAllows {
        let choices = [
            ("all", LoggedAllows::All),
            ("none", LoggedAllows::None),
            ("sampled", LoggedAllows::Sampled(0.0)),
        ];
        let allow = self.choice(allow, &choices);
        match (allow, ratio.given()) {
            (LoggedAllows::Sampled(_), Some((at, ratio))) => {
                if !(0.0..=1.0).contains(ratio) {
                    self.report(at, format!("`{ratio}` is out of range: from 0 to 1"));
                }
                LoggedAllows::Sampled(*ratio)
            }
            (LoggedAllows::Sampled(_), None) => {
                self.report(section, "`allow: sampled` requires `sample_ratio`");
                allow
            }
            (_, Some((at, _))) => {
                self.report(at, "`sample_ratio` requires `allow: sampled`");
                allow
            }
            (_, None) => allow,
        }
    }

    fn logged_claims(&mut self, claims: Field<Texts>) -> Vec<ClaimPath> {
        let mut paths: Vec<ClaimPath> = Vec::new();
        for (location, text) in self.texts(claims, "at least one claim, or remove it for none") {
            let Some(path) = self.claim_path(&location, &text) else {
                continue;
            };
            self.warn_of_logged_claim(&location, &path);
            if !paths.contains(&path) {
                paths.push(path);
            }
        }
        paths
    }

    fn warn_of_logged_claim(&mut self, location: &Location, path: &ClaimPath) {
        if path.names().iter().any(|name| name.contains('*')) {
            let why = format!("`{path}` is the name of one claim: list each claim to write");
            self.warn(location, why);
        }
        let is_secret =
            |name: &String| names_secret(name) && !HARMLESS_CLAIMS.contains(&name.as_str());
        if path.names().iter().any(is_secret) {
            let why = format!("`{path}` looks like a secret, which must not be in a log");
            self.warn(location, why);
        }
    }

    fn decision_subject(
        &mut self,
        subject: &Field<String>,
        key_file: &Field<String>,
        log: &Log,
    ) -> LogSubject {
        let key = self.named_file(key_file).or_else(|| match &log.subject {
            LogSubject::Hash(file) => file.clone(),
            LogSubject::Plain | LogSubject::Omit => None,
        });
        let hash = LogSubject::Hash(key);
        let subjects = [
            ("hash", hash.clone()),
            ("plain", LogSubject::Plain),
            ("omit", LogSubject::Omit),
        ];
        let subject = match subject {
            Field::Absent | Field::Invalid => hash,
            Field::Given(..) => self.choice(subject, &subjects),
        };
        if let Some((location, _)) = key_file.given()
            && !matches!(subject, LogSubject::Hash(_))
        {
            self.report(location, "`subject_key_file` requires `subject: hash`");
        }
        subject
    }

    /// Warns about rules with `audit: always`, if nothing is written.
    pub(super) fn warn_of_audits(&mut self, log: Option<&DecisionLog>, rules: &Rules) {
        let audits = std::mem::take(&mut self.audits);
        if log.is_some() || !rules.all().any(|rule| rule.is_audited) {
            return;
        }
        for location in audits {
            let why = "nothing is written without a `decision_log`";
            self.warn(&location, why);
        }
    }
}

fn place<T>(field: &Field<T>) -> Option<&Location> {
    field.given().map(|(location, _)| location)
}
