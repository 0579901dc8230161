//! The causes of an error, which most errors of a connection hide.

use std::error::Error;
use std::io;

/// The error with all its causes, outermost first. A cause that the text before it ends with is left out.
pub fn all(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// The first error of this type: the error itself, or one of its causes. Looks inside each [`io::Error`],
/// because that does not report the error it wraps as its source.
pub fn find<'e, E: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(inner) = next {
        let mut wrapped = Some(inner);
        while let Some(error) = wrapped {
            if let Some(found) = error.downcast_ref() {
                return Some(found);
            }
            wrapped = error
                .downcast_ref::<io::Error>()
                .and_then(io::Error::get_ref)
                .map(|error| error as &(dyn Error + 'static));
        }
        next = inner.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Outer(&'static str, #[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("the innermost")]
    struct Innermost;

    #[test]
    fn wrapped_errors_are_found() {
        let error = Outer(
            "sending failed",
            io::Error::other(io::Error::other(Innermost)),
        );
        assert_eq!(all(&error), "sending failed: the innermost");
        assert!(find::<Innermost>(&error).is_some());
        assert!(find::<Outer>(&error).is_some());
        assert!(find::<std::fmt::Error>(&error).is_none());
        let told = Outer("sending failed: the innermost", io::Error::other(Innermost));
        assert_eq!(all(&told), "sending failed: the innermost");
    }
}
