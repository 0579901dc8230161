//! A directory, and files in it, that no other user can write.
//!
//! The directory is opened once, and its files are opened, written and renamed relative to it. What
//! is checked is what is used: nobody can swap one or the other in between.

use std::fs::{DirBuilder, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::geteuid;

/// The user who can change any file anyway.
const ROOT: u32 = 0;

/// A directory whose files can be replaced by this process's user and by root alone.
#[derive(Debug)]
pub(super) struct PrivateDirectory(OwnedFd);

impl PrivateDirectory {
    /// Opens the directory at `path`, which may be a link to it.
    ///
    /// # Errors
    ///
    /// When it belongs to another user, or others can write to it. A sticky directory such as
    /// `/tmp` will do: others can add files there, but not replace ours.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        let of_directory = |why: String| io::Error::other(format!("its directory: {why}"));
        Access::of(&rustix::fs::fstat(&directory)?)
            .check(geteuid().as_raw())
            .map_err(of_directory)?;
        Ok(Self(directory))
    }

    /// The same. A directory that does not exist is created, for this process's user alone.
    ///
    /// # Errors
    ///
    /// As [`PrivateDirectory::open`], or when it cannot be created.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Self::open(path)
    }

    /// All of a file in the directory, if it has no more than `max_bytes`.
    ///
    /// # Errors
    ///
    /// When it is a link or no regular file, belongs to another user, can be written by others, is
    /// too long, or cannot be read.
    pub(super) fn read(&self, name: &str, max_bytes: u64) -> io::Result<Vec<u8>> {
        // To open a pipe, or to read it, is to wait for whoever writes to it.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match rustix::fs::openat(&self.0, name, flags, Mode::empty()) {
            // What `O_NOFOLLOW` answers for a link.
            Err(Errno::LOOP) => return Err(io::Error::other("it is a link")),
            opened => opened?,
        };
        let stat = rustix::fs::fstat(&opened)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is not a regular file"));
        }
        Access::of(&stat)
            .check(geteuid().as_raw())
            .map_err(io::Error::other)?;
        let mut bytes = Vec::new();
        File::from(opened)
            .take(max_bytes + 1)
            .read_to_end(&mut bytes)?;
        match bytes.len() as u64 > max_bytes {
            true => Err(io::Error::other(format!(
                "it has more than {max_bytes} bytes"
            ))),
            false => Ok(bytes),
        }
    }

    /// Writes beside the file and renames, so that it is whole at any time, whoever else writes it.
    /// Only this process's user can read it.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let beside = format!("{name}-{}-{:x}", std::process::id(), fastrand::u64(..));
        let written = self
            .write_new(&beside, bytes)
            .and_then(|()| Ok(rustix::fs::renameat(&self.0, &beside, &self.0, name)?));
        if written.is_err() {
            // It may never have been made.
            let _ = rustix::fs::unlinkat(&self.0, &beside, AtFlags::empty());
        }
        written
    }

    fn write_new(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        // `O_EXCL` follows no link either.
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let created = rustix::fs::openat(&self.0, name, flags, Mode::RUSR | Mode::WUSR)?;
        let mut file = File::from(created);
        file.write_all(bytes)?;
        file.sync_all()
    }
}

/// Who can write a file, or the entries of a directory.
#[derive(Clone, Copy, Debug)]
struct Access {
    owner: u32,
    /// The permission bits, the sticky one included.
    mode: u32,
    is_directory: bool,
}

impl Access {
    fn of(stat: &Stat) -> Self {
        Self {
            owner: stat.st_uid,
            mode: stat.st_mode & 0o7777,
            is_directory: FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
        }
    }

    /// Whether only `user` and root can write. An access control list is seen too: its mask stands
    /// in the place of the group's bits.
    fn check(self, user: u32) -> Result<(), String> {
        let Self {
            owner,
            mode,
            is_directory,
        } = self;
        if owner != user && owner != ROOT {
            return Err(format!(
                "it belongs to user {owner}, and claimgate runs as user {user}"
            ));
        }
        let sticky = is_directory && mode & 0o1000 != 0;
        if mode & 0o022 != 0 && !sticky {
            let remedy = match is_directory {
                true => {
                    "; `chmod go-w`, or let `cache_dir` name a directory below it, which \
                     claimgate creates for itself"
                }
                false => "; `chmod go-w`",
            };
            return Err(format!("its mode {mode:04o} lets others write{remedy}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_can_write() {
        const US: u32 = 65_532;
        let (foreign, writable) = (
            "belongs to user 1000, and claimgate runs as user 65532",
            "lets others write",
        );
        for (owner, mode, file, directory) in [
            (US, 0o600, "", ""),
            (US, 0o644, "", ""),
            (US, 0o755, "", ""),
            (US, 0o700, "", ""),
            (ROOT, 0o644, "", ""),
            (ROOT, 0o755, "", ""),
            (US, 0o620, writable, writable),
            (US, 0o602, writable, writable),
            (US, 0o777, writable, writable),
            (US, 0o2770, writable, writable),
            (ROOT, 0o666, writable, writable),
            (ROOT, 0o777, writable, writable),
            // Sticky means something for directories only.
            (ROOT, 0o1777, writable, ""),
            (US, 0o1770, writable, ""),
            (1000, 0o600, foreign, foreign),
            (1000, 0o700, foreign, foreign),
            (1000, 0o1777, foreign, foreign),
        ] {
            for (is_directory, expected) in [(false, file), (true, directory)] {
                let access = Access {
                    owner,
                    mode,
                    is_directory,
                };
                let found = access.check(US).err().unwrap_or_default();
                assert!(found.contains(expected), "{access:?}: {found}");
                assert_eq!(found.is_empty(), expected.is_empty(), "{access:?}: {found}");
            }
        }
        // Root's own processes trust nobody else either.
        let ours = Access {
            owner: US,
            mode: 0o600,
            is_directory: false,
        };
        assert!(ours.check(ROOT).is_err());
    }
}
