//! The one error type of this crate.
//!
//! Messages name the file, key or place and, where it is known, the cure. The cause is in `source()`
//! and not repeated in the message: whoever reports the error prints the whole chain.

use std::io;
use std::path::Path;

use arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use parquet::errors::ParquetError;

/// What can go wrong between a corpus and a dataset.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting of the job file is missing, unknown or out of range.
    #[error("{key}: {problem}{}", hint(.cure))]
    Setting {
        /// The dotted key, such as `examples.max_seq_length`.
        key: String,
        /// What is wrong with its value.
        problem: String,
        /// What to write instead; empty when unknown.
        cure: String,
    },

    /// An input file or directory cannot be opened or read.
    #[error("cannot read {path}")]
    Read {
        /// The file, or `archive!member`.
        path: String,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },

    /// An input file is not what its kind promises: damaged, cut short, of another format.
    #[error("{path}{}: {problem}{}", at(*.offset), hint(.cure))]
    Input {
        /// The file, or `archive!member`.
        path: String,
        /// Byte offset in the uncompressed content, where it means something.
        offset: Option<u64>,
        /// What is wrong there.
        problem: String,
        /// What to do about it; empty when unknown.
        cure: String,
    },

    /// The inputs are readable, and there is nothing to build from them.
    #[error("{problem}{}", hint(.cure))]
    Corpus {
        /// What is missing.
        problem: String,
        /// What to do about it; empty when unknown.
        cure: String,
    },

    /// An output file cannot be written: disk full, no permission.
    #[error("cannot write {path}")]
    Write {
        /// The file or directory.
        path: String,
        /// The operating system's reason.
        #[source]
        source: io::Error,
    },

    /// The caller asked to stop; the same call continues.
    #[error("interrupted; run the same command again to continue")]
    Interrupted,

    /// A dataset, vocabulary or cached stage is missing, damaged or incompatible.
    #[error(transparent)]
    Schemas(#[from] cloze_schemas::Error),

    /// A query failed.
    #[error("{doing} failed")]
    DataFusion {
        /// The step, such as `tokenising the documents`.
        doing: String,
        /// The engine's reason.
        #[source]
        source: Box<DataFusionError>,
    },

    /// An Arrow array could not be built or converted.
    #[error("{doing} failed")]
    Arrow {
        /// The step.
        doing: String,
        /// Arrow's reason.
        #[source]
        source: Box<ArrowError>,
    },

    /// A Parquet file could not be written or read back.
    #[error("{doing} failed")]
    Parquet {
        /// The step, naming the file.
        doing: String,
        /// Parquet's reason.
        #[source]
        source: Box<ParquetError>,
    },
}

/// `Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether the request or its input is at fault (exit code 2) rather than the machine (1).
    ///
    /// Everything about reading a corpus counts as input; about writing, only a place that takes no files.
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Setting { .. } | Self::Read { .. } | Self::Input { .. } | Self::Corpus { .. } => true,
            Self::Schemas(error) => error.is_bad_input(),
            Self::Write { source, .. } => is_wrong_place(source.kind()),
            Self::Interrupted | Self::DataFusion { .. } | Self::Arrow { .. } | Self::Parquet { .. } => false,
        }
    }

    /// A setting that cannot be used, with the cure (or `""`).
    pub fn setting(key: impl Into<String>, problem: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), problem: problem.into(), cure: cure.into() }
    }

    /// A failure to open or read `path`.
    pub fn read(path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Read { path: path.as_ref().display().to_string(), source }
    }

    /// A failure to create, write or rename `path`.
    pub fn write(path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Write { path: path.as_ref().display().to_string(), source }
    }

    /// Content of `path` that is not what it should be, at a byte offset if there is one.
    pub fn input(
        path: impl Into<String>,
        offset: impl Into<Option<u64>>,
        problem: impl Into<String>,
    ) -> Self {
        Self::Input { path: path.into(), offset: offset.into(), problem: problem.into(), cure: String::new() }
    }

    /// An unusable corpus, with the cure (or `""`).
    pub fn corpus(problem: impl Into<String>, cure: impl Into<String>) -> Self {
        Self::Corpus { problem: problem.into(), cure: cure.into() }
    }

    /// A failed query. An [`Error`] of ours that travelled through the engine comes out as itself.
    pub fn datafusion(doing: impl Into<String>, error: DataFusionError) -> Self {
        if let DataFusionError::ResourcesExhausted(reason) = error.find_root() {
            return Self::setting("--memory", format!("is too small: {reason}"), "give more");
        }
        match error {
            DataFusionError::External(inner) => match inner.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(inner) => Self::DataFusion {
                    doing: doing.into(),
                    source: Box::new(DataFusionError::External(inner)),
                },
            },
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
                Self::datafusion(doing, *inner)
            }
            DataFusionError::ArrowError(inner, _) => Self::arrow(doing, *inner),
            DataFusionError::ParquetError(inner) => Self::parquet(doing, *inner),
            source => Self::DataFusion { doing: doing.into(), source: Box::new(source) },
        }
    }

    /// A failed Arrow operation; unwraps as [`Error::datafusion`] does.
    pub fn arrow(doing: impl Into<String>, error: ArrowError) -> Self {
        match error {
            ArrowError::ExternalError(inner) => match inner.downcast::<Self>() {
                Ok(ours) => *ours,
                Err(inner) => match inner.downcast::<DataFusionError>() {
                    Ok(engine) => Self::datafusion(doing, *engine),
                    Err(inner) => Self::Arrow {
                        doing: doing.into(),
                        source: Box::new(ArrowError::ExternalError(inner)),
                    },
                },
            },
            source => Self::Arrow { doing: doing.into(), source: Box::new(source) },
        }
    }

    /// A failed Parquet operation.
    pub fn parquet(doing: impl Into<String>, source: ParquetError) -> Self {
        Self::Parquet { doing: doing.into(), source: Box::new(source) }
    }
}

/// Lets a function or a stream inside a DataFusion plan return our errors with `?`.
impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}

/// Whether writing failed because of where the user wants the output, as `cloze_schemas::Error` sees it.
fn is_wrong_place(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{NotADirectory, PermissionDenied, ReadOnlyFilesystem};
    matches!(kind, NotADirectory | PermissionDenied | ReadOnlyFilesystem)
}

fn at(offset: Option<u64>) -> String {
    offset.map_or_else(String::new, |offset| format!(", byte {offset}"))
}

fn hint(cure: &str) -> String {
    if cure.is_empty() { String::new() } else { format!(" ({cure})") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_place_and_cure() {
        let error = Error::input("dump.xml", 17, "not well-formed");
        assert_eq!(error.to_string(), "dump.xml, byte 17: not well-formed");
        let error = Error::setting("examples.shards", "is 0", "use at least 1");
        assert_eq!(error.to_string(), "examples.shards: is 0 (use at least 1)");
        assert!(error.is_bad_input());
        assert!(!Error::write("out", io::Error::from(io::ErrorKind::StorageFull)).is_bad_input());
        assert!(Error::write("out", io::Error::from(io::ErrorKind::PermissionDenied)).is_bad_input());
    }

    #[test]
    fn our_error_survives_the_engine() {
        let engine: DataFusionError = Error::input("a", None, "broken").into();
        let wrapped = DataFusionError::Context("scan".to_owned(), Box::new(engine));
        let through_arrow = ArrowError::ExternalError(Box::new(wrapped));
        let error = Error::arrow("reading", through_arrow);
        assert_eq!(error.to_string(), "a: broken");
        assert!(error.is_bad_input());
    }
}
