//! The training loop.
//!
//! Update number `n`, counted from 0, uses examples `n * batch_size ..` of the plan, dropout keyed by `n` and
//! the learning rate of step `n`: as in Google's `optimization.py`, where the first update of a warmup has
//! rate 0. After it, `n + 1` updates are done: that is the `step` of metrics and checkpoints.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use burn::module::{AutodiffModule, Module};
use burn::tensor::{ElementConversion, Tensor};
use serde::Serialize;

use crate::batch::Batch;
use crate::checkpoint::Contents;
use crate::device::WithBackend;
use crate::dropout::DropoutKey;
use crate::error::{Error, Result};
use crate::evaluate::{EvaluateOptions, Evaluation, evaluate};
use crate::kernels::TrainBackend;
use crate::loader::plan::Order;
use crate::loader::{Loader, LoaderOptions, StepBatch};
use crate::loss::losses;
use crate::metrics::{StepMetrics, Sums};
use crate::model::{Bert, named_tensors};
use crate::optimizer::{Gradients, Optimizer};
use crate::settings::TrainSettings;
use crate::start::Start;

/// What happens during a run, for a progress display.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// Work begins.
    Started {
        /// Updates already done; above 0 for a resumed run.
        step: u64,
        /// Updates of the whole run.
        total_steps: u64,
        /// Examples of the train split.
        examples: u64,
        /// Parameters of the model.
        parameters: usize,
    },
    /// An update is done, or on its way through the device.
    Updated {
        /// Updates done.
        step: u64,
    },
    /// A line of metrics was written.
    Logged(&'a StepMetrics),
    /// The validation split was evaluated.
    Evaluated {
        /// Updates done.
        step: u64,
        /// The outcome.
        evaluation: &'a Evaluation,
    },
    /// A checkpoint was written.
    Saved {
        /// Updates done.
        step: u64,
        /// Its directory.
        checkpoint: &'a Path,
    },
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// Whether it was asked to stop before its last step; `--resume` goes on.
    pub interrupted: bool,
    /// Updates done.
    pub step: u64,
    /// The newest checkpoint, of this very step.
    pub checkpoint: PathBuf,
    /// The last evaluation of this process.
    pub evaluation: Option<Evaluation>,
}

/// Trains as the settings say; with `resume`, from the newest complete checkpoint of `run.output` if there is
/// one. Once `stop` is true, the update in progress is finished and a checkpoint written.
///
/// # Errors
/// Whatever is wrong with the datasets, the output directory or the device; a loss that is not a number. All
/// checkpoints written before stay.
pub fn train(
    settings: &TrainSettings,
    resume: bool,
    stop: &AtomicBool,
    observe: &mut dyn FnMut(Event<'_>),
) -> Result<Outcome> {
    let start = Start::new(settings, resume)?;
    settings.run.device.dispatch(Job { settings, start, stop, observe })?
}

struct Job<'a> {
    settings: &'a TrainSettings,
    start: Start,
    stop: &'a AtomicBool,
    observe: &'a mut dyn FnMut(Event<'_>),
}

impl WithBackend for Job<'_> {
    type Output = Result<Outcome>;

    fn run<B: TrainBackend>(self, device: B::Device) -> Result<Outcome> {
        let Self { settings, mut start, stop, observe } = self;
        let run = &settings.run;
        let total_steps = settings.schedule.total_steps;
        let mut state = State::<B>::load(&start, settings, device)?;
        // The newest checkpoint, as long as no update was done since.
        let mut saved = start.resumed.as_ref().map(|checkpoint| checkpoint.dir().to_owned());
        let mut evaluation = None;
        observe(Event::Started {
            step: state.step,
            total_steps,
            examples: start.train.examples(),
            parameters: state.model.num_params(),
        });

        if state.step == 0 {
            evaluation = state.evaluate(&mut start, settings)?;
            if let Some(evaluation) = &evaluation {
                observe(Event::Evaluated { step: 0, evaluation });
            }
        }
        let mut loader =
            Loader::start(&start.train, Order::Shuffled { seed: run.seed }, state.cursor, run.loader)?;
        let mut interval = Interval::<B>::new();
        while state.step < total_steps && !stop.load(Ordering::Relaxed) {
            let batch = loader.next().expect("a shuffled order has no end")?;
            state = state.update(&batch, settings, &mut interval);
            saved = None;
            let step = state.step;
            observe(Event::Updated { step });

            let due = |every: u64| step.is_multiple_of(every) || step == total_steps;
            if due(run.log_every) {
                let metrics = interval.finish(&state, settings, loader.take_waited(), &start)?;
                start.metrics.append(&metrics)?;
                observe(Event::Logged(&metrics));
                interval = Interval::new();
            }
            let pause = Instant::now();
            if due(run.evaluate_every) {
                evaluation = state.evaluate(&mut start, settings)?.or(evaluation);
                if let Some(evaluation) = &evaluation {
                    observe(Event::Evaluated { step, evaluation });
                }
            }
            if due(run.checkpoint_every) {
                let checkpoint = state.save(&start, settings)?;
                observe(Event::Saved { step, checkpoint: &checkpoint });
                saved = Some(checkpoint);
            }
            interval.pauses += pause.elapsed();
        }

        let checkpoint = if let Some(checkpoint) = saved {
            checkpoint
        } else {
            let checkpoint = state.save(&start, settings)?;
            observe(Event::Saved { step: state.step, checkpoint: &checkpoint });
            checkpoint
        };
        Ok(Outcome { interrupted: state.step < total_steps, step: state.step, checkpoint, evaluation })
    }
}

/// What an update changes.
struct State<B: TrainBackend> {
    device: B::Device,
    model: Bert<B>,
    optimizer: Optimizer<B>,
    /// Updates done.
    step: u64,
    /// Examples consumed.
    cursor: u64,
}

impl<B: TrainBackend> State<B> {
    fn load(start: &Start, settings: &TrainSettings, device: B::Device) -> Result<Self> {
        let (model, optimizer) = start.load(settings, &device)?;
        let (step, cursor) = start.resumed.as_ref().map_or((0, 0), |c| (c.step(), c.record().cursor));
        Ok(Self { device, model, optimizer, step, cursor })
    }

    /// One update. The parts of the batch contribute their sums over the whole batch's denominators, so that
    /// their gradients add up to the batch's own.
    fn update(mut self, batch: &StepBatch, settings: &TrainSettings, interval: &mut Interval<B>) -> Self {
        let dropout = DropoutKey { seed: settings.run.seed, step: self.step };
        let mut gradients: Option<Gradients<B>> = None;
        for part in &batch.micro_batches {
            let uploaded = Batch::upload(part, &self.device);
            let output = self.model.forward(&uploaded, Some(&dropout));
            let losses = losses(&output, &uploaded);
            // The backward pass can then reuse the logits, the largest tensor of a step.
            drop(output);
            let objective = losses.objective(batch.masked_tokens, Some(batch.rows));
            let contribution = Gradients::backward(&objective, &self.model);
            gradients = Some(match gradients {
                Some(sum) => sum.accumulate(contribution),
                None => contribution,
            });
            interval.sums.add(losses.inner(), part.masked_tokens(), part.rows);
        }
        let gradients = gradients.expect("a batch has at least one part");
        let rate = settings.schedule.learning_rate(self.step);
        self.step += 1;
        self.cursor = batch.cursor;
        let (model, norm) = self.optimizer.update(self.model, gradients, self.step, rate);
        self.model = model;
        interval.tokens += batch.real_tokens as u64;
        interval.last_norm = Some(norm);
        self
    }

    /// Evaluates on the validation split, if there is one, and writes the line.
    fn evaluate(&self, start: &mut Start, settings: &TrainSettings) -> Result<Option<Evaluation>> {
        #[derive(Serialize)]
        struct Line {
            step: u64,
            evaluation: bool,
            #[serde(flatten)]
            outcome: Evaluation,
        }

        let Some(validation) = &start.validation else { return Ok(None) };
        let loader = settings.run.loader;
        let options = EvaluateOptions {
            loader: LoaderOptions { batch_size: loader.micro_batch, ..loader },
            batches: settings.run.evaluate_batches,
            ..EvaluateOptions::new()
        };
        let outcome = evaluate(&self.model.valid(), &self.device, validation, &options)?;
        start.metrics.append(&Line { step: self.step, evaluation: true, outcome })?;
        Ok(Some(outcome))
    }

    fn save(&self, start: &Start, settings: &TrainSettings) -> Result<PathBuf> {
        start.metrics.sync()?;
        let contents = Contents {
            step: self.step,
            cursor: self.cursor,
            identity: &start.identity,
            config: &start.config,
            vocabulary: &start.vocabulary,
            lowercase: start.train.dataset().manifest.vocabulary.lowercase,
            model: named_tensors(&self.model),
            optimizer: self.optimizer.named_tensors(),
        };
        start.checkpoints.save(&contents, settings.run.keep)
    }
}

/// What was done since the last line of metrics. Nothing of it is read off the device before the next.
struct Interval<B: TrainBackend> {
    sums: Sums<B::InnerBackend>,
    tokens: u64,
    last_norm: Option<Tensor<B::InnerBackend, 1>>,
    began: Instant,
    /// Time spent on evaluations and checkpoints.
    pauses: Duration,
}

impl<B: TrainBackend> Interval<B> {
    fn new() -> Self {
        Self { sums: Sums::new(), tokens: 0, last_norm: None, began: Instant::now(), pauses: Duration::ZERO }
    }

    /// Waits for the device and divides.
    fn finish(
        &mut self,
        state: &State<B>,
        settings: &TrainSettings,
        waited: Duration,
        start: &Start,
    ) -> Result<StepMetrics> {
        let sums = std::mem::replace(&mut self.sums, Sums::new());
        let rows = sums.rows;
        let means = sums.means();
        let grad_norm = self.last_norm.take().map_or(0.0, |norm| norm.into_scalar().elem());
        // The device has answered: only now is the time up.
        let seconds = self.began.elapsed().saturating_sub(self.pauses).as_secs_f64();
        if !means.loss.is_finite() {
            let newest = start.checkpoints.steps()?.last().map(|step| format!("step {step}"));
            let cure = format!(
                "updates that are not finite were left out; the newest checkpoint is {}: start a new run with a \
                 lower optimizer.learning_rate or a longer schedule.warmup_steps",
                newest.as_deref().unwrap_or("missing")
            );
            return Err(Error::NotFinite { step: state.step, loss: means.loss, cure });
        }
        Ok(StepMetrics {
            step: state.step,
            means,
            learning_rate: settings.schedule.learning_rate(state.step - 1),
            grad_norm,
            examples_per_second: rows as f64 / seconds,
            tokens_per_second: self.tokens as f64 / seconds,
            data_wait_fraction: waited.as_secs_f64() / seconds,
        })
    }
}

#[cfg(test)]
mod tests;
