//! Content hashes of input files, remembered by path, size and modification time.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use cloze_schemas::{atomic, sha256_file};
use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::source::InputFile;

/// The remembered hashes, a file in the store. Losing it costs reading the inputs again, nothing else.
#[derive(Debug)]
pub struct InputHashes {
    path: PathBuf,
    entries: BTreeMap<String, Entry>,
    changed: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    bytes: u64,
    modified_nanoseconds: u128,
    sha256: String,
}

impl InputHashes {
    /// The hashes remembered in `store`. A file that can't be read is as good as none.
    pub fn load(store: &Path) -> Self {
        let path = store.join("inputs.json");
        let entries = std::fs::read(&path).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { path, entries: entries.unwrap_or_default(), changed: false }
    }

    /// The hash of a file's content.
    pub fn sha256(&mut self, file: &InputFile) -> Result<String> {
        let key = std::path::absolute(&file.path).unwrap_or_else(|_| file.path.clone()).display().to_string();
        let modified = file.modified.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos());
        if let Some(entry) = self.entries.get(&key)
            && (entry.bytes, entry.modified_nanoseconds) == (file.bytes, modified)
        {
            return Ok(entry.sha256.clone());
        }
        let sha256 = sha256_file(&file.path)?;
        let entry = Entry { bytes: file.bytes, modified_nanoseconds: modified, sha256: sha256.clone() };
        self.entries.insert(key, entry);
        self.changed = true;
        Ok(sha256)
    }

    /// Writes what was learnt.
    pub fn save(&self) -> Result<()> {
        if !self.changed {
            return Ok(());
        }
        let json = serde_json::to_vec_pretty(&self.entries).expect("string keys");
        Ok(atomic::write_file(&self.path, |file| file.write_all(&json))?)
    }
}
