//! A directory whose files no other user can write.
//!
//! The directory is opened once. Its files are opened, written and renamed relative to that handle,
//! so what is checked is what is used: nobody can swap a path in between.

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

/// A directory whose files only this process's user and root can replace.
#[derive(Debug)]
pub(super) struct PrivateDirectory(OwnedFd);

impl PrivateDirectory {
    /// Opens the directory at `path`, which may be a symbolic link.
    ///
    /// # Errors
    ///
    /// Fails if the directory belongs to another user, or if others can write to it. A sticky
    /// directory such as `/tmp` is accepted, because others can add files there, but cannot replace
    /// ours.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        let of_directory = |why: String| io::Error::other(format!("its directory: {why}"));
        Access::of(&rustix::fs::fstat(&directory)?)
            .check(geteuid().as_raw())
            .map_err(of_directory)?;
        Ok(Self(directory))
    }

    /// Like [`Self::open`], but creates a missing directory that only this process's user can
    /// access.
    ///
    /// # Errors
    ///
    /// Fails like [`PrivateDirectory::open`], or if the directory cannot be created.
    pub(super) fn create(path: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        Self::open(path)
    }

    /// The contents of a file in the directory, of at most `max_bytes`.
    ///
    /// # Errors
    ///
    /// Fails if the file is a link or not a regular file, belongs to another user, can be written
    /// by others, is too long, or cannot be read.
    pub(super) fn read(&self, name: &str, max_bytes: u64) -> io::Result<Vec<u8>> {
        // Opening or reading a pipe would wait for a writer.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = match rustix::fs::openat(&self.0, name, flags, Mode::empty()) {
            // `O_NOFOLLOW` returns this error for a link.
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

    /// Writes a new file and renames it, so that readers never see a partial file, even with
    /// several writers. Only this process's user can read it.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be written.
    pub(super) fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let beside = format!("{name}-{}-{:x}", std::process::id(), fastrand::u64(..));
        let written = self
            .write_new(&beside, bytes)
            .and_then(|()| Ok(rustix::fs::renameat(&self.0, &beside, &self.0, name)?));
        if written.is_err() {
            // The file may not exist, so an error here is ignored.
            let _ = rustix::fs::unlinkat(&self.0, &beside, AtFlags::empty());
        }
        written
    }

    fn write_new(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        // With `O_EXCL`, the call follows no link either.
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
    /// The permission bits, including the sticky bit.
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

    /// Checks that only `user` and root can write. This covers access control lists too, because
    /// the group bits show the list's mask.
    fn check(self, user: u32) -> Result<(), String> {
        let Self {
            owner,
            mode,
            is_directory,
        } = self;
        if owner != user && owner != ROOT {
            return Err(format!(
                "it belongs to user {owner}, but claimgate runs as user {user}"
            ));
        }
        let sticky = is_directory && mode & 0o1000 != 0;
        if mode & 0o022 != 0 && !sticky {
            let remedy = match is_directory {
                true => {
                    "; run `chmod go-w`, or set `cache_dir` to a directory below it, which \
                     claimgate creates for itself"
                }
                false => "; run `chmod go-w`",
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
            "belongs to user 1000, but claimgate runs as user 65532",
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
            // The sticky bit only matters for directories.
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
        // A process that runs as root does not trust other users' files either.
        let ours = Access {
            owner: US,
            mode: 0o600,
            is_directory: false,
        };
        assert!(ours.check(ROOT).is_err());
    }
}
