//! The store's directory: one process works in it at a time.

use std::fs::{File, TryLockError};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cloze_schemas::atomic;

use crate::error::{Error, Result};

/// Where the query engine spills, within the store.
pub const SPILL: &str = "spill";

/// How often a waiting process looks whether the store is free, or whether it shall stop.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Creates the store, waits for its lock until `stop` is set, and clears what killed processes left.
pub fn lock_store(store: &Path, stop: &AtomicBool) -> Result<File> {
    std::fs::create_dir_all(store).map_err(|e| Error::write(store, e))?;
    let path = store.join("lock");
    let lock = File::create(&path).map_err(|e| Error::write(&path, e))?;
    let mut waiting = false;
    while let Err(error) = lock.try_lock() {
        if let TryLockError::Error(error) = error {
            return Err(Error::write(&path, error));
        }
        if !waiting {
            tracing::info!(store = %store.display(), "Another process works in this store; waiting for it.");
            waiting = true;
        }
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Interrupted);
        }
        std::thread::sleep(LOOK_EVERY);
    }
    for directory in ["", "documents", "tokens", "datasets"] {
        atomic::sweep(&store.join(directory))?;
    }
    // Nobody else spills, or makes this directory, while we hold the lock.
    let spill = store.join(SPILL);
    match std::fs::remove_dir_all(&spill) {
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::write(&spill, e)),
        _ => std::fs::create_dir(&spill).map_err(|e| Error::write(&spill, e))?,
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_for_the_store_can_be_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let held = lock_store(dir.path(), &AtomicBool::new(false)).unwrap();
        let waited = lock_store(dir.path(), &AtomicBool::new(true));
        assert!(matches!(waited, Err(Error::Interrupted)));
        drop(held);
        lock_store(dir.path(), &AtomicBool::new(true)).unwrap();
    }
}
