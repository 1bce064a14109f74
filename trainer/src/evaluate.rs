//! Evaluation: one pass over a split without dropout, and what a model without context would reach on it.

use std::path::Path;
use std::sync::Arc;

use cloze_schemas::{Dataset, KeyedRng, RandomSource, SpecialTokens, Split};
use rayon::prelude::*;
use serde::Serialize;

use crate::batch::{Batch, HostBatch};
use crate::checkpoint::Checkpoint;
use crate::device::{DeviceSpec, WithBackend};
use crate::error::{Error, Result};
use crate::kernels::{Kernels, TrainBackend};
use crate::loader::plan::Order;
use crate::loader::{Loader, LoaderOptions, Shards};
use crate::loss::losses;
use crate::metrics::{Means, Sums};
use crate::model::{Bert, BertConfig};

/// Batches between reads of the sums off the device.
const COLLECT_EVERY: usize = 64;

/// How to evaluate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EvaluateOptions {
    /// The split to evaluate on.
    pub split: Split,
    /// Batches and channels.
    pub loader: LoaderOptions,
    /// Most batches; all by default.
    pub batches: Option<usize>,
    /// Permute each row's ordinary tokens that are not predicted, under this seed: what a model loses by it,
    /// it had learned from the order of the context.
    pub shuffle_context: Option<u64>,
    /// Also compute [`Evaluation::unigram_loss`], which reads the whole train split.
    pub unigram: bool,
}

impl EvaluateOptions {
    /// The validation split in batches of 32, nothing more.
    pub fn new() -> Self {
        Self {
            split: Split::Validation,
            loader: LoaderOptions::new(32),
            batches: None,
            shuffle_context: None,
            unigram: false,
        }
    }
}

impl Default for EvaluateOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// The outcome.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// Losses and accuracies, without dropout.
    #[serde(flatten)]
    pub means: Means,
    /// Mean cross-entropy, in nats, of the same labels under the distribution of `masked_lm_ids` in the train
    /// split, each entry of the vocabulary counted once more (add-one smoothing): what a model reaches that
    /// ignores its input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unigram_loss: Option<f64>,
    /// Rows.
    pub examples: u64,
    /// Predictions.
    pub masked_tokens: u64,
}

/// Evaluates a checkpoint (a step directory, or a run's output directory) on a dataset.
///
/// # Errors
/// A checkpoint or shard that is missing or damaged, an empty split, a dataset of another vocabulary.
pub fn evaluate_checkpoint(
    checkpoint: &Path,
    dataset: &Path,
    device: DeviceSpec,
    options: &EvaluateOptions,
) -> Result<Evaluation> {
    struct Work<'a>(&'a Checkpoint, &'a Arc<Shards>, &'a EvaluateOptions);
    impl WithBackend for Work<'_> {
        type Output = Result<Evaluation>;
        fn run<B: TrainBackend>(self, device: B::Device) -> Self::Output {
            let model = self.0.model::<B::InnerBackend>(&device)?;
            evaluate(&model, &device, self.1, self.2)
        }
    }

    let checkpoint = Checkpoint::open(checkpoint)?;
    let dataset = Dataset::open(dataset)?;
    check_fit(&checkpoint.config()?, checkpoint.vocabulary()?.sha256(), checkpoint.dir(), &dataset)?;
    let shards = Arc::new(Shards::open(&dataset, options.split)?);
    device.dispatch(Work(&checkpoint, &shards, options))?
}

/// Evaluates a model on a split.
pub fn evaluate<B: Kernels>(
    model: &Bert<B>,
    device: &B::Device,
    shards: &Arc<Shards>,
    options: &EvaluateOptions,
) -> Result<Evaluation> {
    let dataset = shards.dataset();
    let costs = if options.unigram { Some(unigram_costs(dataset)?) } else { None };
    let mut unigram = 0.0;
    let mut sums = Sums::<B>::new();
    let loader = Loader::start(shards, Order::Stored, 0, options.loader)?;
    for (index, step) in loader.take(options.batches.unwrap_or(usize::MAX)).enumerate() {
        for mut part in step?.micro_batches {
            if let Some(seed) = options.shuffle_context {
                shuffle_context(&mut part, dataset.manifest.vocabulary.special, seed, sums.rows);
            }
            let masked_tokens = part.masked_tokens();
            if let Some(costs) = &costs {
                unigram +=
                    part.masked_lm_ids[..masked_tokens].iter().map(|&id| costs[id as usize]).sum::<f64>();
            }
            let batch = Batch::upload(&part, device);
            let losses = losses(&model.forward(&batch, None), &batch);
            sums.add(losses, masked_tokens, part.rows);
        }
        if (index + 1) % COLLECT_EVERY == 0 {
            sums.collect();
        }
    }
    let (examples, masked_tokens) = (sums.rows, sums.masked_tokens);
    Ok(Evaluation {
        means: sums.means(),
        unigram_loss: costs.map(|_| unigram / masked_tokens.max(1) as f64),
        examples,
        masked_tokens,
    })
}

/// Checks that a model (its shape, the hash of its vocabulary, where it lies) can read a dataset.
pub(crate) fn check_fit(
    config: &BertConfig,
    vocabulary: &str,
    model: &Path,
    dataset: &Dataset,
) -> Result<()> {
    let manifest = &dataset.manifest;
    let (dir, model) = (dataset.dir.display(), model.display());
    if config.vocab_size != manifest.vocabulary.size {
        let message = format!(
            "the model {model} has a vocabulary of {} entries, the dataset {dir} one of {}; use the dataset \
             that was prepared with the model's vocab.txt",
            config.vocab_size, manifest.vocabulary.size
        );
        return Err(Error::setting("vocab_size", message));
    }
    if vocabulary != manifest.vocabulary.sha256 {
        let message = format!(
            "the model {model} and the dataset {dir} have vocabularies of the same size but different tokens; use \
             the dataset that was prepared with the model's vocab.txt"
        );
        return Err(Error::setting("vocabulary", message));
    }
    check_length(config, dataset)
}

/// Checks that a model has positions for the dataset's rows.
pub(crate) fn check_length(config: &BertConfig, dataset: &Dataset) -> Result<()> {
    let longest = dataset.manifest.max_seq_length;
    if longest > config.max_position_embeddings {
        let message = format!(
            "the model has {} positions, but rows of {} have up to {longest} tokens; raise model.max_positions, \
             or prepare shorter examples",
            config.max_position_embeddings,
            dataset.dir.display()
        );
        return Err(Error::setting("model.max_positions", message));
    }
    Ok(())
}

/// The cost in nats of each id under the train split's smoothed distribution of labels.
fn unigram_costs(dataset: &Dataset) -> Result<Vec<f64>> {
    let shards = Shards::open(dataset, Split::Train)?;
    let size = dataset.manifest.vocabulary.size;
    // Whole numbers: their sum does not depend on the order in which threads add them.
    let counts = shards
        .plan(Order::Stored)
        .blocks(0)
        .par_bridge()
        .map(|block| {
            let rows = shards.read(block.shard, block.first_row, block.rows)?;
            let mut counts = vec![0_u64; size];
            for row in 0..rows.len() {
                rows.row(row).masked_lm_ids.iter().for_each(|id| counts[id as usize] += 1);
            }
            Ok::<_, Error>(counts)
        })
        .try_reduce(|| vec![0; size], |a, b| Ok(a.iter().zip(&b).map(|(a, b)| a + b).collect()))?;
    let total = counts.iter().sum::<u64>() + size as u64;
    Ok(counts.iter().map(|&count| (total as f64 / (count + 1) as f64).ln()).collect())
}

/// Permutes, row by row, the tokens that are neither special nor predicted. `first_row` is the index of the
/// batch's first row within the split: with the seed, it keys the permutation.
fn shuffle_context(batch: &mut HostBatch, special: SpecialTokens, seed: u64, first_row: u64) {
    let mut predicted = vec![false; batch.input_ids.len()];
    for &position in &batch.masked_lm_positions[..batch.masked_tokens()] {
        predicted[position as usize] = true;
    }
    let fixed = [special.pad, special.cls, special.sep, special.mask].map(|id| id as i32);
    for row in 0..batch.rows {
        let tokens = row * batch.length..(row + 1) * batch.length;
        let ordinary: Vec<usize> =
            tokens.filter(|&at| !predicted[at] && !fixed.contains(&batch.input_ids[at])).collect();
        let mut ids: Vec<i32> = ordinary.iter().map(|&at| batch.input_ids[at]).collect();
        KeyedRng::new(seed, "shuffle context", &[first_row + row as u64]).shuffle(&mut ids);
        for (at, id) in ordinary.into_iter().zip(ids) {
            batch.input_ids[at] = id;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_moves_ordinary_unpredicted_tokens_only() {
        let special = SpecialTokens { pad: 0, unk: 1, cls: 2, sep: 3, mask: 4 };
        let row: Vec<i32> = [2].into_iter().chain(10..26).chain([3, 4, 30, 3, 0, 0]).collect();
        let before = HostBatch {
            rows: 2,
            length: row.len(),
            input_ids: [row.clone(), row.clone()].concat(),
            masked_lm_positions: vec![1, 18, 0, 0],
            masked_lm_ids: vec![9, 9, 0, 0],
            masked_lm_weights: vec![1.0, 1.0, 0.0, 0.0],
            ..HostBatch::default()
        };
        let mut after = before.clone();
        shuffle_context(&mut after, special, 1, 7);
        for at in [0, 1, 17, 18, 20, 21, 22] {
            assert_eq!(after.input_ids[at], row[at], "position {at}");
        }
        let (first, second) = after.input_ids.split_at(row.len());
        assert!(first != row && second != row && first != second);
        for shuffled in [first, second] {
            let sorted = |ids: &[i32]| {
                let mut ids = ids.to_vec();
                ids.sort_unstable();
                ids
            };
            assert_eq!(sorted(shuffled), sorted(&row));
        }
        // Keyed by the row's index in the split: batches of one row give the same.
        let mut alone = HostBatch {
            rows: 1,
            input_ids: row.clone(),
            masked_lm_positions: vec![],
            masked_lm_ids: vec![],
            masked_lm_weights: vec![],
            ..before
        };
        shuffle_context(&mut alone, special, 1, 8);
        assert_eq!(alone.input_ids, second);
    }
}
