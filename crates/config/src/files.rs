//! Why a file cannot be read, and what to do.

use std::io;

/// The error with what to do about it. In a container, most missing files are missing mounts.
pub fn unreadable(error: &io::Error) -> String {
    let advice = match error.kind() {
        io::ErrorKind::NotFound => {
            "check the path (in the configuration, relative ones begin at its directory) and, in a \
             container, that the file is mounted there"
        }
        io::ErrorKind::PermissionDenied => {
            "claimgate's user must be able to read it; in a container, that is the user of the image or \
             of `securityContext`"
        }
        io::ErrorKind::IsADirectory => {
            "Docker creates a directory if the file of a bind mount does not exist on the host"
        }
        _ => return error.to_string(),
    };
    format!("{error}; {advice}")
}
