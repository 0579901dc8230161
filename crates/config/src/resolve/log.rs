//! What the log says.

use super::Resolver;
use crate::{Log, LogLevel, LogSubject, raw};

impl Resolver<'_> {
    pub(super) fn log(&mut self, log: raw::Log) -> Log {
        let raw::Log {
            level,
            subject,
            subject_key_file,
        } = log;
        let levels = LogLevel::ALL.map(|level| (level.name(), level));
        let subjects = [
            ("plain", LogSubject::Plain),
            ("hash", LogSubject::Hash(self.file(&subject_key_file))),
            ("omit", LogSubject::Omit),
        ];
        let level = self.choice(&level, &levels);
        let subject = self.choice(&subject, &subjects);
        if let Some((location, _)) = subject_key_file.given()
            && !matches!(subject, LogSubject::Hash(_))
        {
            self.report(location, "`subject_key_file` requires `subject: hash`");
        }
        Log { level, subject }
    }
}
