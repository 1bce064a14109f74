//! Checkpoints: everything a run needs to go on, in one directory that appears whole or not at all.
//!
//! ```text
//! <output>/checkpoints/step-1000/
//!     model.safetensors      weights under Hugging Face's names
//!     optimizer.safetensors  exp_avg.* and exp_avg_sq.*
//!     config.json            the model's shape, as Hugging Face writes it
//!     vocab.txt              the dataset's vocabulary
//!     checkpoint.json        step, cursor, what shaped the run, SHA-256 of the other files
//! ```

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use cloze_schemas::{Vocabulary, atomic, sha256_file};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::warn;

use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::model::{Bert, BertConfig, load_named_tensors};

const FORMAT_VERSION: u64 = 1;
const RECORD: &str = "checkpoint.json";
const MODEL: &str = "model.safetensors";
const OPTIMIZER: &str = "optimizer.safetensors";
const CONFIG: &str = "config.json";
const VOCABULARY: &str = "vocab.txt";

/// What decides the numbers of a run, by its key in the job file: equal for a run and its continuation.
pub(crate) type Identity = BTreeMap<String, Value>;

/// The content of `checkpoint.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Record {
    format_version: u64,
    created_by: String,
    pub(crate) step: u64,
    pub(crate) cursor: u64,
    lowercase: bool,
    pub(crate) identity: Identity,
    files: BTreeMap<String, String>,
}

/// `config.json` as Hugging Face writes it.
#[derive(Serialize)]
struct ConfigFile<'a> {
    architectures: [&'static str; 1],
    model_type: &'static str,
    pad_token_id: u32,
    #[serde(flatten)]
    config: &'a BertConfig,
}

/// What goes into a checkpoint.
pub(crate) struct Contents<'a> {
    pub(crate) step: u64,
    /// Examples consumed.
    pub(crate) cursor: u64,
    pub(crate) identity: &'a Identity,
    pub(crate) config: &'a BertConfig,
    pub(crate) vocabulary: &'a Vocabulary,
    /// Whether text is lowercased before it is tokenised.
    pub(crate) lowercase: bool,
    pub(crate) model: Vec<(String, TensorData)>,
    pub(crate) optimizer: Vec<(String, TensorData)>,
}

/// A complete checkpoint: its files have the hashes that were recorded.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    dir: PathBuf,
    record: Record,
}

impl Checkpoint {
    /// Opens a checkpoint by its directory, or the newest complete one of a run by the run's output directory.
    ///
    /// # Errors
    /// When there is none, or a file is missing, damaged or of an unknown format version.
    pub fn open(path: &Path) -> Result<Self> {
        let runs = Checkpoints::of(path);
        if path.join(RECORD).exists() || !runs.dir.exists() {
            return Self::open_dir(path);
        }
        let none = || Error::checkpoint(path, "the run has no checkpoint yet");
        runs.newest()?.newest.ok_or_else(none)
    }

    fn open_dir(dir: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format_version: u64,
        }

        let path = dir.join(RECORD);
        let bytes = fs::read(&path).map_err(|e| match e.kind() {
            std::io::ErrorKind::NotFound => Error::checkpoint(
                dir,
                "not a checkpoint (no checkpoint.json); name a step directory or a run's output directory",
            ),
            _ => Error::io(&path)(e),
        })?;
        let bad = |e: serde_json::Error| Error::checkpoint(&path, e.to_string());
        let Version { format_version } = serde_json::from_slice(&bytes).map_err(bad)?;
        if format_version != FORMAT_VERSION {
            let message = format!(
                "checkpoint format version {format_version} is unknown (this build reads version \
                 {FORMAT_VERSION}); use the version of cloze that wrote it"
            );
            return Err(Error::checkpoint(&path, message));
        }
        let record: Record = serde_json::from_slice(&bytes).map_err(bad)?;
        for name in [MODEL, OPTIMIZER, CONFIG, VOCABULARY] {
            let file = dir.join(name);
            if record.files.get(name) != Some(&sha256_file(&file)?) {
                return Err(Error::checkpoint(&file, "damaged: its checksum is not the recorded one"));
            }
        }
        Ok(Self { dir: dir.to_owned(), record })
    }

    /// The checkpoint's directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Updates done.
    pub fn step(&self) -> u64 {
        self.record.step
    }

    /// Whether text is lowercased before it is tokenised.
    pub fn lowercase(&self) -> bool {
        self.record.lowercase
    }

    /// The model's shape.
    pub fn config(&self) -> Result<BertConfig> {
        let path = self.dir.join(CONFIG);
        let bytes = fs::read(&path).map_err(Error::io(&path))?;
        let config: BertConfig =
            serde_json::from_slice(&bytes).map_err(|e| Error::checkpoint(&path, e.to_string()))?;
        config.validate()?;
        Ok(config)
    }

    /// The vocabulary the model was trained with.
    pub fn vocabulary(&self) -> Result<Vocabulary> {
        Ok(Vocabulary::load(&self.dir.join(VOCABULARY))?)
    }

    /// The model with its weights.
    pub fn model<B: Kernels>(&self, device: &B::Device) -> Result<Bert<B>> {
        // Every weight is replaced: the seed does not matter.
        load_named_tensors(Bert::new(&self.config()?, 0, device)?, &self.model_tensors()?)
    }

    pub(crate) fn record(&self) -> &Record {
        &self.record
    }

    pub(crate) fn model_tensors(&self) -> Result<BTreeMap<String, TensorData>> {
        read_tensors(&self.dir.join(MODEL))
    }

    pub(crate) fn optimizer_tensors(&self) -> Result<BTreeMap<String, TensorData>> {
        read_tensors(&self.dir.join(OPTIMIZER))
    }
}

/// The checkpoints of one run.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    dir: PathBuf,
}

/// What a look for the newest checkpoint found.
pub(crate) struct Found {
    /// The newest complete one.
    pub(crate) newest: Option<Checkpoint>,
    /// Damaged ones that are newer.
    damaged: Vec<PathBuf>,
}

impl Checkpoints {
    /// Those below a run's output directory.
    pub(crate) fn of(output: &Path) -> Self {
        Self { dir: output.join("checkpoints") }
    }

    /// The steps that have a directory, ascending.
    pub(crate) fn steps(&self) -> Result<Vec<u64>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(Error::io(&self.dir))?,
        };
        let mut steps = Vec::new();
        for entry in entries {
            let name = entry.map_err(Error::io(&self.dir))?.file_name();
            steps.extend(name.to_str().and_then(|n| n.strip_prefix("step-")?.parse::<u64>().ok()));
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// The newest complete checkpoint. Damaged ones are passed over with a warning; if there are only damaged
    /// ones, that is an error.
    pub(crate) fn newest(&self) -> Result<Found> {
        let mut damaged = Vec::new();
        let mut first_error = None;
        for step in self.steps()?.into_iter().rev() {
            let dir = self.step_dir(step);
            match Checkpoint::open_dir(&dir) {
                Ok(newest) => return Ok(Found { newest: Some(newest), damaged }),
                Err(error) => {
                    warn!(%error, "Checkpoint is not usable, trying the one before.");
                    first_error.get_or_insert(error);
                    damaged.push(dir);
                }
            }
        }
        first_error.map_or(Ok(Found { newest: None, damaged }), Err)
    }

    /// Writes a checkpoint, then removes the oldest beyond `keep`.
    pub(crate) fn save(&self, contents: &Contents<'_>, keep: usize) -> Result<PathBuf> {
        let target = self.step_dir(contents.step);
        let pending = atomic::PendingDir::new(&target)?;
        let dir = pending.path();
        let write =
            |name: &str, bytes: &[u8]| fs::write(dir.join(name), bytes).map_err(Error::io(&dir.join(name)));

        write_tensors(&dir.join(MODEL), &contents.model)?;
        write_tensors(&dir.join(OPTIMIZER), &contents.optimizer)?;
        let config = ConfigFile {
            architectures: ["BertForPreTraining"],
            model_type: "bert",
            pad_token_id: contents.vocabulary.special().pad,
            config: contents.config,
        };
        write(CONFIG, &pretty(&config))?;
        write(VOCABULARY, contents.vocabulary.to_text().as_bytes())?;
        let mut files = BTreeMap::new();
        for name in [MODEL, OPTIMIZER, CONFIG, VOCABULARY] {
            files.insert(name.to_owned(), sha256_file(&dir.join(name))?);
        }
        let record = Record {
            format_version: FORMAT_VERSION,
            created_by: concat!("cloze ", env!("CARGO_PKG_VERSION")).to_owned(),
            step: contents.step,
            cursor: contents.cursor,
            lowercase: contents.lowercase,
            identity: contents.identity.clone(),
            files,
        };
        write(RECORD, &pretty(&record))?;
        pending.commit()?;
        self.prune(keep)?;
        Ok(target)
    }

    /// Moves damaged checkpoints out of the way of the run that is about to reach their steps again.
    pub(crate) fn set_aside(&self, found: &Found) -> Result<()> {
        for path in &found.damaged {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let aside = self.dir.join(format!("damaged-{name}"));
            if aside.exists() {
                fs::remove_dir_all(&aside).map_err(Error::io(&aside))?;
            }
            fs::rename(path, &aside).map_err(Error::io(path))?;
        }
        Ok(())
    }

    /// Removes what a killed process left half-written. Only for the one process that writes here.
    pub(crate) fn sweep(&self) -> Result<()> {
        Ok(atomic::sweep(&self.dir)?)
    }

    fn prune(&self, keep: usize) -> Result<()> {
        let steps = self.steps()?;
        for &step in &steps[..steps.len().saturating_sub(keep)] {
            // Renamed first: a kill in the middle leaves something to sweep up, not half a checkpoint.
            let dir = self.step_dir(step);
            let doomed = self.dir.join(format!("{}step-{step}", atomic::TEMPORARY_PREFIX));
            fs::rename(&dir, &doomed).map_err(Error::io(&dir))?;
            fs::remove_dir_all(&doomed).map_err(Error::io(&doomed))?;
        }
        Ok(())
    }

    fn step_dir(&self, step: u64) -> PathBuf {
        self.dir.join(format!("step-{step}"))
    }
}

fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut json = serde_json::to_vec_pretty(value).expect("structs with string keys are JSON");
    json.push(b'\n');
    json
}

fn write_tensors(path: &Path, tensors: &[(String, TensorData)]) -> Result<()> {
    let bad = |e: safetensors::SafeTensorError| match e {
        safetensors::SafeTensorError::IoError(e) => Error::io(path)(e),
        e => Error::checkpoint(path, e.to_string()),
    };
    let views = tensors
        .iter()
        .map(|(name, data)| Ok((name, TensorView::new(Dtype::F32, data.shape.to_vec(), data.as_bytes())?)))
        .collect::<Result<Vec<_>, _>>()
        .map_err(bad)?;
    // Hugging Face reads files that say "pt" only. One key at most: the crate writes them in random order.
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize_to_file(views, Some(metadata), path).map_err(bad)
}

fn read_tensors(path: &Path) -> Result<BTreeMap<String, TensorData>> {
    let bytes = fs::read(path).map_err(Error::io(path))?;
    let bad = |message: String| Error::checkpoint(path, message);
    let file = SafeTensors::deserialize(&bytes).map_err(|e| bad(e.to_string()))?;
    file.iter()
        .map(|(name, view)| {
            if view.dtype() != Dtype::F32 {
                return Err(bad(format!("{name} has type {:?}, expected F32", view.dtype())));
            }
            let (values, _) = view.data().as_chunks::<4>();
            let values: Vec<f32> = values.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
            Ok((name.to_owned(), TensorData::new(values, view.shape().to_vec())))
        })
        .collect()
}
