//! What a run starts from: datasets, model and output directory, checked against each other and, with
//! `--resume`, against the newest checkpoint.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::Arc;

use cloze_schemas::{Dataset, Split, Vocabulary};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::checkpoint::{Checkpoint, Checkpoints, Identity};
use crate::error::{Error, Result};
use crate::evaluate::{check_fit, check_length};
use crate::kernels::TrainBackend;
use crate::loader::Shards;
use crate::metrics::MetricsFile;
use crate::model::{Bert, BertConfig, load_named_tensors};
use crate::optimizer::Optimizer;
use crate::settings::TrainSettings;

/// Everything but weights: checked, and the same on every device.
pub(crate) struct Start {
    pub(crate) train: Arc<Shards>,
    /// Nothing where the dataset has no validation split.
    pub(crate) validation: Option<Arc<Shards>>,
    pub(crate) vocabulary: Vocabulary,
    pub(crate) config: BertConfig,
    pub(crate) identity: Identity,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) metrics: MetricsFile,
    /// The checkpoint to go on from.
    pub(crate) resumed: Option<Checkpoint>,
    /// The checkpoint to take initial weights from.
    init: Option<Checkpoint>,
    /// Keeps a second process out of the output directory.
    _lock: File,
}

impl Start {
    /// Opens and checks everything that a run needs. Changes nothing before all checks have passed.
    pub(crate) fn new(settings: &TrainSettings, resume: bool) -> Result<Self> {
        let dataset = Dataset::open(&settings.data.train)?;
        let vocabulary = dataset.vocabulary()?;
        let train = Arc::new(Shards::open(&dataset, Split::Train)?);
        let validation = open_validation(settings, &dataset)?;

        let output = &settings.run.output;
        std::fs::create_dir_all(output).map_err(Error::io(output))?;
        let lock = lock(output)?;
        let checkpoints = Checkpoints::of(output);
        if let (false, Some(newest)) = (resume, checkpoints.steps()?.last()) {
            let message = format!(
                "already holds checkpoints up to step {newest}; continue that run with --resume, or name another \
                 directory"
            );
            return Err(Error::Output { path: output.clone(), message });
        }
        let found = checkpoints.newest()?;

        let init = match (&settings.model.init, &found.newest) {
            (Some(path), None) => Some(Checkpoint::open(path)?),
            _ => None,
        };
        let config = model_config(settings, &dataset, init.as_ref(), found.newest.as_ref())?;
        for dataset in
            [Some(&dataset), validation.as_ref().map(|shards| shards.dataset())].into_iter().flatten()
        {
            check_length(&config, dataset)?;
        }
        let identity = identity(settings, &dataset, &config);
        if let Some(checkpoint) = &found.newest {
            check_unchanged(checkpoint, &identity)?;
        }

        checkpoints.sweep()?;
        checkpoints.set_aside(&found)?;
        let resumed = found.newest;
        let step = resumed.as_ref().map_or(0, Checkpoint::step);
        let metrics =
            MetricsFile::open(output.join("metrics.jsonl"), resumed.as_ref().map(Checkpoint::step))?;
        info!(step, output = %output.display(), "Run opened.");
        Ok(Self {
            train,
            validation,
            vocabulary,
            config,
            identity,
            checkpoints,
            metrics,
            resumed,
            init,
            _lock: lock,
        })
    }

    /// The model and the optimizer's state on a device.
    pub(crate) fn load<B: TrainBackend>(
        &self,
        settings: &TrainSettings,
        device: &B::Device,
    ) -> Result<(Bert<B>, Optimizer<B>)> {
        let mut model = Bert::new(&self.config, settings.run.seed, device)?;
        if let Some(checkpoint) = self.resumed.as_ref().or(self.init.as_ref()) {
            model = load_named_tensors(model, &checkpoint.model_tensors()?)?;
        }
        let mut optimizer = Optimizer::new(settings.optimizer, &model, device);
        if let Some(checkpoint) = &self.resumed {
            optimizer.load_named_tensors(&checkpoint.optimizer_tensors()?, device)?;
        }
        Ok((model, optimizer))
    }
}

fn open_validation(settings: &TrainSettings, train: &Dataset) -> Result<Option<Arc<Shards>>> {
    let Some(path) = &settings.data.validation else {
        return match Shards::open(train, Split::Validation) {
            Err(Error::EmptySplit { dataset, .. }) => {
                warn!(dataset = %dataset.display(), "No validation split: the run is not evaluated.");
                Ok(None)
            }
            shards => shards.map(Arc::new).map(Some),
        };
    };
    let dataset = Dataset::open(path)?;
    if dataset.manifest.vocabulary != train.manifest.vocabulary {
        let message = format!(
            "{} was made with another vocabulary than {}",
            dataset.dir.display(),
            train.dir.display()
        );
        return Err(Error::setting("data.validation", message));
    }
    Ok(Some(Arc::new(Shards::open(&dataset, Split::Validation)?)))
}

/// Only one process may write checkpoints and metrics. The lock goes with the process, however it ends.
fn lock(output: &Path) -> Result<File> {
    let path = output.join(".lock");
    let file =
        File::options().create(true).truncate(false).write(true).open(&path).map_err(Error::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(Error::Output {
            path: output.to_owned(),
            message: "another process is training into this directory; wait for it or name another"
                .to_owned(),
        }),
        Err(TryLockError::Error(source)) => Err(Error::io(&path)(source)),
    }
}

fn model_config(
    settings: &TrainSettings,
    dataset: &Dataset,
    init: Option<&Checkpoint>,
    resumed: Option<&Checkpoint>,
) -> Result<BertConfig> {
    let size = dataset.manifest.vocabulary.size;
    if let Some(wanted) = settings.model.vocab_size.filter(|&wanted| wanted != size) {
        let message = format!(
            "{wanted}, but the vocabulary of {} has {size} entries; remove the key or name another dataset",
            dataset.dir.display()
        );
        return Err(Error::setting("model.vocab_size", message));
    }
    // The shape of a run that began with `init` lies in its own checkpoints.
    let checkpoint = init.or(resumed.filter(|_| settings.model.init.is_some()));
    let Some(checkpoint) = checkpoint else { return settings.model.config(size) };
    let config = checkpoint.config()?;
    if init.is_some() {
        check_fit(&config, checkpoint.vocabulary()?.sha256(), checkpoint.dir(), dataset)?;
    }
    settings.model.with_dropout(config)
}

/// What decides the numbers. `run.micro_batch` and `run.device` are not part of it: they change no more than
/// the rounding.
fn identity(settings: &TrainSettings, dataset: &Dataset, config: &BertConfig) -> Identity {
    let TrainSettings { optimizer, schedule, run, .. } = settings;
    let mut identity: Identity = [
        ("data.train", json!(dataset.manifest.fingerprint)),
        ("optimizer.kind", json!(optimizer.kind)),
        ("optimizer.learning_rate", json!(schedule.peak)),
        ("optimizer.weight_decay", json!(optimizer.weight_decay)),
        ("optimizer.beta1", json!(optimizer.beta_1)),
        ("optimizer.beta2", json!(optimizer.beta_2)),
        ("optimizer.epsilon", json!(optimizer.epsilon)),
        ("optimizer.clip_norm", json!(optimizer.clip_norm)),
        ("schedule.warmup_steps", json!(schedule.warmup_steps)),
        ("schedule.total_steps", json!(schedule.total_steps)),
        ("run.batch_size", json!(run.loader.batch_size)),
        ("run.seed", json!(run.seed)),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into();
    if let Ok(Value::Object(config)) = serde_json::to_value(config) {
        identity.extend(config.into_iter().map(|(key, value)| (format!("model ({key})"), value)));
    }
    identity
}

fn check_unchanged(checkpoint: &Checkpoint, identity: &Identity) -> Result<()> {
    let before = &checkpoint.record().identity;
    let keys = before.keys().chain(identity.keys());
    let Some(key) = keys.into_iter().find(|&key| before.get(key) != identity.get(key)) else { return Ok(()) };
    let show = |value: Option<&Value>| value.map_or_else(|| "absent".to_owned(), Value::to_string);
    let message = format!(
        "is {} now, but {} was trained with {}; a run goes on only with what it began with: change it back, or \
         start a new run in another run.output (model.init takes over the weights)",
        show(identity.get(key)),
        checkpoint.dir().display(),
        show(before.get(key))
    );
    Err(Error::setting(key, message))
}
