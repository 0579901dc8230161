//! Responses for tests.

use super::super::answer::Answer;
use super::super::probe::Ids;

pub(in super::super) fn ids(number: u8) -> Ids {
    Ids {
        request: format!("doctor-{number:032x}"),
        trace: format!("{number:032x}"),
        mark: format!("mark{number}"),
    }
}

pub(in super::super) fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Answer {
    let headers = headers.iter();
    Answer {
        status,
        headers: headers
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}
