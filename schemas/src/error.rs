//! The one error type of this crate.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Everything that can go wrong while describing, opening or checking a dataset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// A Parquet file could not be read or written.
    #[error("{}: {source}", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the Parquet reader said.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// A vocabulary is not a WordPiece vocabulary.
    #[error("{}: {message}", path.display())]
    Vocabulary {
        /// The vocabulary file.
        path: PathBuf,
        /// What is wrong and how to mend it.
        message: String,
    },
    /// There is no dataset at this path.
    #[error(
        "{}: not a dataset (no manifest.json); name a directory that `cloze prepare` has finished",
        path.display()
    )]
    NotADataset {
        /// The directory named by the user.
        path: PathBuf,
    },
    /// A manifest is not JSON of the expected shape, or contradicts itself.
    #[error("{}: {message}", path.display())]
    Manifest {
        /// The manifest file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A dataset was written by a version this build does not know.
    #[error(
        "{}: dataset format version {found} is unknown (this build reads version {supported}); \
         use the version of cloze that wrote it, or prepare the dataset again",
        path.display()
    )]
    FormatVersion {
        /// The manifest file.
        path: PathBuf,
        /// The version found.
        found: u64,
        /// The version this build reads and writes.
        supported: u64,
    },
    /// A shard is not what the manifest says it is.
    #[error("shard {shard}: {message}")]
    Shard {
        /// The shard's path, relative to its dataset or absolute.
        shard: String,
        /// What is wrong and how to mend it.
        message: String,
    },
    /// A row of a shard breaks an invariant of the format.
    #[error("shard {shard}, row {row}: {message}")]
    Row {
        /// The shard's path.
        shard: String,
        /// The row's index within the shard, from 0.
        row: u64,
        /// The broken invariant.
        message: String,
    },
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Attaches a path to an I/O error; made for `map_err(Error::io(path))`.
    pub fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_owned(), source }
    }

    /// Whether the user's input is at fault (exit code 2) rather than the machine (exit code 1).
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Io { source, .. } => is_bad_input_kind(source.kind()),
            Self::Parquet { source: parquet::errors::ParquetError::External(inner), .. } => {
                inner.downcast_ref::<std::io::Error>().is_none_or(|e| is_bad_input_kind(e.kind()))
            }
            _ => true,
        }
    }
}

/// Whether an I/O failure is about what the user named rather than about the machine.
fn is_bad_input_kind(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::InvalidData
            | ErrorKind::InvalidInput
            | ErrorKind::UnexpectedEof
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::ReadOnlyFilesystem
    )
}
