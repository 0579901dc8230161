//! The file of the decision log: opened without following a link, and renamed when it is full.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// An open file, or standard output.
#[derive(Debug)]
pub(super) struct LogFile {
    file: File,
    /// `None` for what is not a regular file: it is neither renamed nor opened anew.
    regular: Option<Regular>,
    /// Whether what is written next begins a line.
    pub(super) begins_line: bool,
}

/// A regular file.
#[derive(Clone, Copy, Debug)]
struct Regular {
    bytes: u64,
    device: u64,
    inode: u64,
}

impl LogFile {
    /// Standard output.
    ///
    /// # Errors
    ///
    /// Fails if it is closed.
    pub(super) fn stdout() -> io::Result<Self> {
        Ok(Self {
            file: File::from(io::stdout().as_fd().try_clone_to_owned()?),
            regular: None,
            begins_line: true,
        })
    }

    /// Opens the file at `path`, and creates it with mode 0600 if it is missing. It may be a pipe or a
    /// device; what is not a regular file is not waited for.
    ///
    /// # Errors
    ///
    /// Fails if the file is a link, belongs to another user, or cannot be opened.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (directory, name) = place(path)?;
        let flags = OFlags::WRONLY
            | OFlags::APPEND
            | OFlags::CREATE
            | OFlags::NOFOLLOW
            | OFlags::NONBLOCK
            | OFlags::CLOEXEC;
        let opened = match rustix::fs::openat(&directory, name, flags, Mode::RUSR | Mode::WUSR) {
            // `O_NOFOLLOW` returns this error for a link.
            Err(Errno::LOOP) => return Err(io::Error::other("it is a link")),
            Err(Errno::NXIO) => return Err(io::Error::other("no program reads the pipe")),
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&opened)?;
        let is_regular = is_regular(&stat);
        if is_regular && stat.st_uid != geteuid().as_raw() {
            return Err(io::Error::other("it belongs to another user"));
        }
        let regular = is_regular.then(|| Regular::of(&stat));
        Ok(Self {
            file: File::from(opened),
            begins_line: match regular {
                Some(Regular { bytes, .. }) => bytes == 0 || ends_in_newline(&directory, name),
                None => true,
            },
            regular,
        })
    }

    /// Writes as much as the file takes.
    ///
    /// # Errors
    ///
    /// Fails if it takes nothing.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = match self.file.write(bytes)? {
            0 => return Err(io::ErrorKind::WriteZero.into()),
            written => written,
        };
        if let Some(regular) = &mut self.regular {
            regular.bytes += written as u64;
        }
        self.begins_line = bytes
            .get(..written)
            .is_some_and(|sent| sent.ends_with(b"\n"));
        Ok(written)
    }

    /// The size in bytes. `None` if it is not a regular file.
    pub(super) fn bytes(&self) -> Option<u64> {
        self.regular.map(|regular| regular.bytes)
    }

    /// Whether `path` names another file by now, or none. Also notices if the file was cut.
    pub(super) fn has_moved(&mut self, path: &Path) -> bool {
        let Some(regular) = &mut self.regular else {
            return false;
        };
        let found = place(path).and_then(|(directory, name)| {
            let stat = rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(Regular::of(&stat))
        });
        match found {
            Ok(found) => {
                let moved = (found.device, found.inode) != (regular.device, regular.inode);
                if !moved {
                    regular.bytes = found.bytes;
                }
                moved
            }
            Err(error) => error.kind() == io::ErrorKind::NotFound,
        }
    }
}

impl Regular {
    fn of(stat: &Stat) -> Self {
        Self {
            bytes: u64::try_from(stat.st_size).unwrap_or_default(),
            device: stat.st_dev,
            inode: stat.st_ino,
        }
    }
}

/// Renames `path` to `path.1`, `path.1` to `path.2` and so on, up to `path.keep`, which is replaced.
///
/// # Errors
///
/// Fails if `path` cannot be renamed.
pub(super) fn rotate(path: &Path, keep: u32) -> io::Result<()> {
    let (directory, name) = place(path)?;
    let numbered = |number: u32| {
        let mut numbered = OsString::from(name);
        numbered.push(format!(".{number}"));
        numbered
    };
    for number in (1..keep).rev() {
        let (from, to) = (numbered(number), numbered(number + 1));
        match rustix::fs::renameat(&directory, &from, &directory, &to) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(rustix::fs::renameat(
        &directory,
        name,
        &directory,
        numbered(1),
    )?)
}

/// Whether the decision log can be written to this file. Creates nothing.
///
/// # Errors
///
/// Says why it cannot be written.
pub fn check(path: &Path) -> io::Result<()> {
    let (directory, name) = place(path)?;
    match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => Err(io::Error::other("it is a link")),
            FileType::Directory => Err(io::ErrorKind::IsADirectory.into()),
            FileType::RegularFile => LogFile::open(path).map(drop),
            _ => Ok(()),
        },
        Err(Errno::NOENT) => {
            let access = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
            rustix::fs::accessat(&directory, ".", access, AtFlags::EACCESS)
                .map_err(|error| io::Error::other(format!("its directory: {error}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// The directory of a file, and the file's name in it.
fn place(path: &Path) -> io::Result<(OwnedFd, &OsStr)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    let directory = match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::open(directory, flags, Mode::empty());
    let named = |error: Errno| {
        let error = io::Error::from(error);
        io::Error::new(error.kind(), format!("its directory: {error}"))
    };
    Ok((opened.map_err(named)?, name))
}

fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// False if it cannot be read: an empty line is better than one that continues a cut one.
fn ends_in_newline(directory: &OwnedFd, name: &OsStr) -> bool {
    let last = || -> io::Result<[u8; 1]> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(directory, name, flags, Mode::empty())?);
        file.seek(SeekFrom::End(-1))?;
        let mut last = [0];
        file.read_exact(&mut last)?;
        Ok(last)
    };
    last().is_ok_and(|last| last == *b"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    #[test]
    fn no_link_is_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("a"), directory.path().join("b"));
        symlink(&file, &link).unwrap();
        assert_eq!(check(&link).unwrap_err().to_string(), "it is a link");
        assert_eq!(
            LogFile::open(&link).unwrap_err().to_string(),
            "it is a link"
        );
        assert!(!file.exists());
        LogFile::open(&file).unwrap();
        let mode = file.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        check(&file).unwrap();
    }

    #[test]
    fn what_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing/a");
        let why = check(&missing).unwrap_err().to_string();
        assert!(why.starts_with("its directory: "), "{why}");
        assert!(check(directory.path()).is_err());
        assert!(check(Path::new("..")).is_err());
        check(&directory.path().join("a")).unwrap();
    }

    #[test]
    fn files_are_renamed_and_the_oldest_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).ok();
        for text in ["1", "2", "3", "4"] {
            LogFile::open(&file)
                .unwrap()
                .write(text.as_bytes())
                .unwrap();
            rotate(&file, 2).unwrap();
        }
        assert_eq!(read("a.1").as_deref(), Some("4"));
        assert_eq!(read("a.2").as_deref(), Some("3"));
        assert_eq!((read("a"), read("a.3")), (None, None));
    }

    #[test]
    fn a_file_that_moves() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("a");
        let mut open = LogFile::open(&file).unwrap();
        assert!(open.begins_line);
        open.write(b"a").unwrap();
        assert!(!open.has_moved(&file) && !open.begins_line);
        assert!(!LogFile::open(&file).unwrap().begins_line);
        std::fs::rename(&file, directory.path().join("b")).unwrap();
        assert!(open.has_moved(&file));
        std::fs::write(&file, "").unwrap();
        assert!(open.has_moved(&file));
    }
}
