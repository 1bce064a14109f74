//! The store's directory: one process works in it at a time.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use cloze_schemas::atomic;

use crate::error::{Error, Result};

/// Where the query engine spills, within the store.
pub const SPILL: &str = "spill";

/// Creates the store, waits for its lock, and clears what killed processes left.
pub fn lock_store(store: &Path) -> Result<File> {
    std::fs::create_dir_all(store).map_err(|e| Error::write(store, e))?;
    let path = store.join("lock");
    let lock = File::create(&path).map_err(|e| Error::write(&path, e))?;
    if lock.try_lock().is_err() {
        tracing::info!(store = %store.display(), "Another process works in this store; waiting for it.");
        lock.lock().map_err(|e| Error::write(&path, e))?;
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
