//! The job file of `cloze train`, read and checked once, before work starts.
//!
//! What the datasets decide (vocabulary, lengths) is checked against them in [`crate::train()`].

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::DeserializeOwned;
use toml::Table;

use crate::device::DeviceSpec;
use crate::error::{Error, Result};
use crate::loader::LoaderOptions;
use crate::model::{Activation, BertConfig};
use crate::optimizer::{AdamConfig, OptimizerKind};
use crate::schedule::Schedule;

/// A checked training job.
#[derive(Clone, Debug, PartialEq)]
pub struct TrainSettings {
    /// `[data]`
    pub data: DataSettings,
    /// `[model]`
    pub model: ModelSettings,
    /// `[optimizer]`, without its learning rate.
    pub optimizer: AdamConfig,
    /// `[schedule]` and `optimizer.learning_rate`.
    pub schedule: Schedule,
    /// `[run]`
    pub run: RunSettings,
}

/// What to train on. A dataset is named by its directory, or by its bare name in the store.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataSettings {
    /// The dataset whose train split is trained on.
    pub train: PathBuf,
    /// The dataset whose validation split is evaluated on; the same one by default.
    pub validation: Option<PathBuf>,
}

/// The model's shape: a preset, or sizes, or a checkpoint's.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSettings {
    /// One of Google's sizes, `bert-tiny` to `bert-large`.
    pub preset: Option<String>,
    /// Entries of the vocabulary; the dataset's by default, and nothing else is accepted.
    pub vocab_size: Option<usize>,
    /// Encoder layers.
    pub layers: Option<usize>,
    /// Channels of a token's hidden state.
    pub hidden: Option<usize>,
    /// Attention heads of a layer.
    pub heads: Option<usize>,
    /// Channels inside the feed-forward network; four times `hidden` by default.
    pub intermediate: Option<usize>,
    /// The longest sequence; 512 by default.
    pub max_positions: Option<usize>,
    /// Every dropout of the model; 0.1 by default.
    pub dropout: Option<f64>,
    /// `gelu` (by the error function, the default) or `gelu_tanh` (Google's).
    pub activation: Option<Activation>,
    /// Standard deviation of the initial weights; 0.02 by default. Small models leave the plateau of token
    /// frequencies sooner with about `1 / sqrt(hidden)`.
    pub initializer_range: Option<f64>,
    /// A checkpoint to start from: its shape and its weights.
    pub init: Option<PathBuf>,
}

/// How to run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSettings {
    /// Directory of metrics and checkpoints.
    pub output: PathBuf,
    /// Where the model runs.
    pub device: DeviceSpec,
    /// The seed of initial weights, order of examples and dropout.
    pub seed: u64,
    /// Updates between checkpoints.
    pub checkpoint_every: u64,
    /// Checkpoints to keep.
    pub keep: usize,
    /// Updates between evaluations.
    pub evaluate_every: u64,
    /// Most batches of an evaluation; the whole validation split by default.
    pub evaluate_batches: Option<usize>,
    /// Updates between lines of metrics.
    pub log_every: u64,
    /// Batches and channels.
    pub loader: LoaderOptions,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OptimizerSection {
    #[serde(default)]
    kind: OptimizerKind,
    learning_rate: f64,
    weight_decay: Option<f64>,
    beta1: Option<f64>,
    beta2: Option<f64>,
    epsilon: Option<f64>,
    clip_norm: Option<f64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScheduleSection {
    warmup_steps: u64,
    total_steps: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunSection {
    output: PathBuf,
    #[serde(default = "cpu")]
    device: String,
    batch_size: usize,
    micro_batch: Option<usize>,
    #[serde(default = "f32")]
    precision: String,
    #[serde(default = "one")]
    seed: u64,
    #[serde(default = "thousand")]
    checkpoint_every: u64,
    #[serde(default = "three")]
    keep: usize,
    #[serde(default = "thousand")]
    evaluate_every: u64,
    evaluate_batches: Option<usize>,
    #[serde(default = "fifty")]
    log_every: u64,
    reader_threads: Option<usize>,
    read_ahead: Option<usize>,
    prefetch: Option<usize>,
}

fn cpu() -> String {
    "cpu".to_owned()
}
fn f32() -> String {
    "f32".to_owned()
}
fn one() -> u64 {
    1
}
fn three() -> usize {
    3
}
fn fifty() -> u64 {
    50
}
fn thousand() -> u64 {
    1000
}

impl TrainSettings {
    /// Reads and checks a job file's table. Relative paths start at `base`, the job file's directory.
    ///
    /// # Errors
    /// A section or key that is missing, unknown, out of range or not supported, by its name.
    pub fn from_toml(mut job: Table, base: &Path) -> Result<Self> {
        refuse_unsupported(&job)?;
        let data: DataSettings = section(&mut job, "data")?;
        let model: ModelSettings = section(&mut job, "model")?;
        let optimizer: OptimizerSection = section(&mut job, "optimizer")?;
        let schedule: ScheduleSection = section(&mut job, "schedule")?;
        let run: RunSection = section(&mut job, "run")?;
        if let Some(key) = job.keys().next() {
            let message = "unknown section; a training job has data, model, optimizer, schedule and run";
            return Err(Error::setting(key, message));
        }
        model.check()?;
        Ok(Self {
            data: DataSettings {
                train: base.join(data.train),
                validation: data.validation.map(|path| base.join(path)),
            },
            model: ModelSettings { init: model.init.as_ref().map(|path| base.join(path)), ..model },
            schedule: Schedule {
                peak: optimizer.learning_rate,
                warmup_steps: schedule.warmup_steps,
                total_steps: at_least_one("schedule.total_steps", schedule.total_steps)?,
            },
            optimizer: optimizer.check()?,
            run: run.check(base)?,
        })
    }
}

/// Keys of DESIGN that this version does not have yet get a better answer than "unknown".
fn refuse_unsupported(job: &Table) -> Result<()> {
    let text = |section: &str, key: &str| job.get(section).and_then(|s| s.get(key)).and_then(|v| v.as_str());
    let refuse = |key, message: &str| Err(Error::setting(key, message));
    if job.contains_key("phase") {
        return refuse("phase", "not supported yet; run one job for each phase, the later with model.init");
    }
    if job.get("data").is_some_and(|data| data.get("source").is_some()) {
        return refuse("data.source", "not supported yet; name one dataset as data.train");
    }
    if text("optimizer", "kind") == Some("lamb") {
        return refuse("optimizer.kind", "\"lamb\" is not supported yet; use \"adamw\" or \"bert-adam\"");
    }
    if text("run", "precision") == Some("bf16") {
        return refuse("run.precision", "\"bf16\" is not supported yet; use \"f32\"");
    }
    if text("run", "device").is_some_and(|device| device.starts_with("vulkan")) {
        return refuse("run.device", "\"vulkan\" is not supported yet; use \"cpu\" or \"cuda:N\"");
    }
    Ok(())
}

/// Takes one section out of the job.
fn section<T: DeserializeOwned>(job: &mut Table, name: &str) -> Result<T> {
    let value = job.remove(name).ok_or_else(|| Error::setting(name, "this section is missing"))?;
    // The message's later lines only repeat where, which we know better.
    value.try_into().map_err(|e: toml::de::Error| {
        let text = e.to_string();
        let key = text.lines().find_map(|line| line.strip_prefix("in `")?.strip_suffix('`'));
        let key = key.map_or_else(|| name.to_owned(), |key| format!("{name}.{key}"));
        Error::setting(key, e.message().to_owned())
    })
}

impl ModelSettings {
    fn check(&self) -> Result<()> {
        let sizes = [
            ("layers", self.layers),
            ("hidden", self.hidden),
            ("heads", self.heads),
            ("intermediate", self.intermediate),
            ("max_positions", self.max_positions),
            ("vocab_size", self.vocab_size),
        ];
        if self.init.is_some() {
            let shape = sizes[..5].iter().find(|(_, size)| size.is_some()).map(|(key, _)| *key);
            let fixed = shape
                .or(self.preset.is_some().then_some("preset"))
                .or(self.activation.is_some().then_some("activation"))
                .or(self.initializer_range.is_some().then_some("initializer_range"));
            return match fixed {
                Some(key) => {
                    Err(Error::setting(format!("model.{key}"), "model.init brings it along; remove this key"))
                }
                None => Ok(()),
            };
        }
        if self.preset.is_none()
            && let Some((key, _)) = sizes[..3].iter().find(|(_, size)| size.is_none())
        {
            let message = "missing; set it, or model.preset, or model.init";
            return Err(Error::setting(format!("model.{key}"), message));
        }
        // Whatever does not depend on the dataset is checked now, with a vocabulary that suits.
        self.config(self.vocab_size.unwrap_or(1)).map(drop)
    }

    /// The configuration of a new model over a vocabulary of this size.
    pub fn config(&self, vocab_size: usize) -> Result<BertConfig> {
        let preset = match &self.preset {
            Some(name) => BertConfig::preset(name, vocab_size).map_err(in_job_keys)?,
            None => BertConfig { vocab_size, ..BertConfig::default() },
        };
        let hidden_size = self.hidden.unwrap_or(preset.hidden_size);
        let config = BertConfig {
            num_hidden_layers: self.layers.unwrap_or(preset.num_hidden_layers),
            num_attention_heads: self.heads.unwrap_or(preset.num_attention_heads),
            intermediate_size: self.intermediate.unwrap_or(4 * hidden_size),
            max_position_embeddings: self.max_positions.unwrap_or(preset.max_position_embeddings),
            hidden_act: self.activation.unwrap_or(preset.hidden_act),
            initializer_range: self.initializer_range.unwrap_or(preset.initializer_range),
            hidden_size,
            ..preset
        };
        self.with_dropout(config)
    }

    /// The configuration with this job's dropout.
    pub(crate) fn with_dropout(&self, mut config: BertConfig) -> Result<BertConfig> {
        if let Some(dropout) = self.dropout {
            config.hidden_dropout_prob = dropout;
            config.attention_probs_dropout_prob = dropout;
        }
        config.validate().map_err(in_job_keys)?;
        Ok(config)
    }
}

/// An error about Hugging Face's name for a key, told by the job file's.
fn in_job_keys(error: Error) -> Error {
    let Error::ModelConfig { key, message } = error else { return error };
    let key = match key {
        "num_hidden_layers" => "layers",
        "hidden_size" => "hidden",
        "num_attention_heads" => "heads",
        "intermediate_size" => "intermediate",
        "max_position_embeddings" => "max_positions",
        "hidden_dropout_prob" | "attention_probs_dropout_prob" => "dropout",
        key => key,
    };
    Error::setting(format!("model.{key}"), message)
}

impl OptimizerSection {
    fn check(self) -> Result<AdamConfig> {
        let default = AdamConfig::default();
        let positive = |key: &str, value: f64| {
            let fits = value > 0.0 && value.is_finite();
            fits.then_some(value).ok_or_else(|| {
                Error::setting(format!("optimizer.{key}"), format!("{value} is not a positive number"))
            })
        };
        let share = |key: &str, value: f64| {
            let fits = (0.0..1.0).contains(&value);
            fits.then_some(value).ok_or_else(|| {
                Error::setting(format!("optimizer.{key}"), format!("{value} is not in [0, 1)"))
            })
        };
        positive("learning_rate", self.learning_rate)?;
        Ok(AdamConfig {
            kind: self.kind,
            beta_1: share("beta1", self.beta1.unwrap_or(default.beta_1))?,
            beta_2: share("beta2", self.beta2.unwrap_or(default.beta_2))?,
            epsilon: positive("epsilon", self.epsilon.unwrap_or(default.epsilon))?,
            weight_decay: share("weight_decay", self.weight_decay.unwrap_or(default.weight_decay))?,
            clip_norm: self
                .clip_norm
                .map(|norm| positive("clip_norm", norm))
                .transpose()?
                .or(default.clip_norm),
        })
    }
}

impl RunSection {
    fn check(self, base: &Path) -> Result<RunSettings> {
        if self.precision != "f32" {
            let message = format!("\"{}\" is unknown; use \"f32\"", self.precision);
            return Err(Error::setting("run.precision", message));
        }
        let batch_size = at_least_one("run.batch_size", self.batch_size)?;
        let micro_batch = at_least_one("run.micro_batch", self.micro_batch.unwrap_or(batch_size))?;
        if micro_batch > batch_size {
            let message =
                format!("{micro_batch} is more than run.batch_size = {batch_size}, which it splits");
            return Err(Error::setting("run.micro_batch", message));
        }
        let default = LoaderOptions::new(batch_size);
        let depth = |key: &str, value: Option<usize>, default| at_least_one(key, value.unwrap_or(default));
        Ok(RunSettings {
            output: base.join(self.output),
            device: self.device.parse().map_err(|error: Error| match error {
                Error::Device { device, message } => {
                    Error::setting("run.device", format!("{device} is {message}"))
                }
                error => error,
            })?,
            seed: self.seed,
            checkpoint_every: at_least_one("run.checkpoint_every", self.checkpoint_every)?,
            keep: at_least_one("run.keep", self.keep)?,
            evaluate_every: at_least_one("run.evaluate_every", self.evaluate_every)?,
            evaluate_batches: self
                .evaluate_batches
                .map(|batches| at_least_one("run.evaluate_batches", batches))
                .transpose()?,
            log_every: at_least_one("run.log_every", self.log_every)?,
            loader: LoaderOptions {
                batch_size,
                micro_batch,
                reader_threads: depth("run.reader_threads", self.reader_threads, default.reader_threads)?,
                read_ahead: depth("run.read_ahead", self.read_ahead, default.read_ahead)?,
                prefetch: depth("run.prefetch", self.prefetch, default.prefetch)?,
            },
        })
    }
}

fn at_least_one<T: PartialOrd + From<u8>>(key: &str, value: T) -> Result<T> {
    if value < T::from(1) { Err(Error::setting(key, "must be at least 1")) } else { Ok(value) }
}

#[cfg(test)]
mod tests;
