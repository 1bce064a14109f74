//! Files and directories that appear whole or not at all.
//!
//! Data goes to a temporary name in the same directory, is synced, then renamed. A crash leaves the old state
//! or the new one, and at worst a temporary name to sweep up.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::{Error, Result};

/// Temporary names start like this, so that leftovers of a killed process can be recognised.
pub const TEMPORARY_PREFIX: &str = ".tmp-";

/// Writes a file under a temporary name, then renames it over `path`.
pub fn write_file(path: &Path, write: impl FnOnce(&mut File) -> std::io::Result<()>) -> Result<()> {
    let directory = parent(path);
    let mut file: NamedTempFile =
        tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(directory).map_err(Error::io(path))?;
    write(file.as_file_mut()).map_err(Error::io(path))?;
    file.as_file_mut().flush().map_err(Error::io(path))?;
    // tempfile creates 0600; a dataset is for everybody the directory lets in.
    set_readable(file.as_file()).map_err(Error::io(path))?;
    file.as_file().sync_all().map_err(Error::io(path))?;
    file.persist(path).map_err(|e| Error::Io { path: path.to_owned(), source: e.error })?;
    sync_directory(directory)
}

/// A directory under construction next to its final name; removed again unless [`commit`](Self::commit)ted.
pub struct PendingDir {
    temporary: tempfile::TempDir,
    target: PathBuf,
}

impl PendingDir {
    /// Starts a directory that will be called `target`. Creates the parent directories.
    pub fn new(target: &Path) -> Result<Self> {
        let directory = parent(target);
        fs::create_dir_all(directory).map_err(Error::io(directory))?;
        let temporary = tempfile::Builder::new()
            .prefix(TEMPORARY_PREFIX)
            .tempdir_in(directory)
            .map_err(Error::io(target))?;
        Ok(Self { temporary, target: target.to_owned() })
    }

    /// Where to write for now.
    pub fn path(&self) -> &Path {
        self.temporary.path()
    }

    /// Syncs every file and directory below, then renames. The target must not exist.
    pub fn commit(self) -> Result<()> {
        set_traversable(self.temporary.path()).map_err(Error::io(self.temporary.path()))?;
        sync_tree(self.temporary.path())?;
        let path = self.temporary.keep();
        fs::rename(&path, &self.target).map_err(|source| {
            let _ = fs::remove_dir_all(&path);
            Error::Io { path: self.target.clone(), source }
        })?;
        sync_directory(parent(&self.target))
    }
}

/// Removes what killed processes left behind in `directory`. Call it only while holding the store's lock.
pub fn sweep(directory: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(directory) else { return Ok(()) };
    for entry in entries {
        let entry = entry.map_err(Error::io(directory))?;
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY_PREFIX) {
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(Error::io(&path))?;
        }
    }
    Ok(())
}

fn sync_tree(path: &Path) -> Result<()> {
    for entry in fs::read_dir(path).map_err(Error::io(path))? {
        let entry = entry.map_err(Error::io(path))?;
        let below = entry.path();
        if below.is_dir() {
            sync_tree(&below)?;
        } else {
            File::open(&below).and_then(|f| f.sync_all()).map_err(Error::io(&below))?;
        }
    }
    sync_directory(path)
}

fn sync_directory(path: &Path) -> Result<()> {
    File::open(path).and_then(|f| f.sync_all()).map_err(Error::io(path))
}

/// The directory of a path; `.` for a bare name.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

#[cfg(unix)]
fn set_readable(file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(fs::Permissions::from_mode(0o644))
}

#[cfg(unix)]
fn set_traversable(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}

#[cfg(not(unix))]
fn set_readable(_: &File) -> std::io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn set_traversable(_: &Path) -> std::io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("manifest.json");
        write_file(&path, |f| f.write_all(b"old")).unwrap();
        let failed = write_file(&path, |f| {
            f.write_all(b"half")?;
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
        });
        assert!(!failed.unwrap_err().is_bad_input());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_directory_appears_only_when_committed() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("stage/abc");
        let pending = PendingDir::new(&target).unwrap();
        fs::write(pending.path().join("part"), b"x").unwrap();
        assert!(!target.exists());
        pending.commit().unwrap();
        assert_eq!(fs::read(target.join("part")).unwrap(), b"x");

        let abandoned = PendingDir::new(&dir.path().join("stage/def")).unwrap();
        drop(abandoned);
        assert_eq!(fs::read_dir(dir.path().join("stage")).unwrap().count(), 1);
    }
}
