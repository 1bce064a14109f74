//! The one error type of this crate.

use std::path::{Path, PathBuf};

/// Everything that can go wrong between a dataset and its weights.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The dataset, or a file that follows its rules, is at fault.
    #[error(transparent)]
    Data(#[from] cloze_schemas::Error),
    /// A key of the job file is missing, unknown or out of range.
    #[error("{key}: {message}")]
    Setting {
        /// `section.key`, or the section alone.
        key: String,
        /// What is wrong and how to mend it.
        message: String,
    },
    /// The model's configuration contradicts itself.
    #[error("model: {key}: {message}")]
    ModelConfig {
        /// The key at fault.
        key: &'static str,
        /// What is wrong and how to mend it.
        message: String,
    },
    /// Named tensors do not fit the model.
    #[error("{name}: {message}")]
    Tensor {
        /// The tensor's name.
        name: String,
        /// What is wrong and how to mend it.
        message: String,
    },
    /// A device is unknown or not there.
    #[error("device {device}: {message}")]
    Device {
        /// As the user wrote it.
        device: String,
        /// What is wrong and how to mend it.
        message: String,
    },
    /// A split has no rows.
    #[error("{}: the {split} split has no examples; {cure}", dataset.display())]
    EmptySplit {
        /// The dataset's directory.
        dataset: PathBuf,
        /// The split.
        split: &'static str,
        /// What to do about it.
        cure: &'static str,
    },
    /// A checkpoint is missing, incomplete, damaged or of an unknown version.
    #[error("{}: {message}", path.display())]
    Checkpoint {
        /// The checkpoint's directory, or the file in it.
        path: PathBuf,
        /// What is wrong and how to mend it.
        message: String,
    },
    /// The output directory is in a state that the request does not allow.
    #[error("run.output {}: {message}", path.display())]
    Output {
        /// The output directory.
        path: PathBuf,
        /// What is wrong and how to mend it.
        message: String,
    },
    /// A thread of the loader panicked.
    #[error("loader thread {thread} panicked: {message}; this is a bug, please report it")]
    Panic {
        /// The thread's name.
        thread: String,
        /// The panic's message.
        message: String,
    },
    /// A loader thread could not be started.
    #[error("cannot start loader thread {thread}: {source}")]
    Spawn {
        /// The thread's name.
        thread: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The loss left the numbers.
    #[error("step {step}: the loss is {loss}; {cure}")]
    NotFinite {
        /// The step at which it was noticed.
        step: u64,
        /// The mean loss over the logged interval.
        loss: f64,
        /// Where to continue, and with what.
        cure: String,
    },
}

/// The result type of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Whether the user's input is at fault (exit code 2) rather than the machine or this program (exit code 1).
    pub fn is_bad_input(&self) -> bool {
        match self {
            Self::Data(error) => error.is_bad_input(),
            Self::Panic { .. } | Self::Spawn { .. } | Self::NotFinite { .. } => false,
            _ => true,
        }
    }

    pub(crate) fn setting(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self::Setting { key: key.into(), message: message.into() }
    }

    pub(crate) fn checkpoint(path: &Path, message: impl Into<String>) -> Self {
        Self::Checkpoint { path: path.to_owned(), message: message.into() }
    }

    /// Attaches a path to an I/O error; made for `map_err(Error::io(path))`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| cloze_schemas::Error::io(path)(source).into()
    }
}
