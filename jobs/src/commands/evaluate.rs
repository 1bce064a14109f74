//! `cloze evaluate`

use std::path::Path;

use cloze_trainer::{DeviceSpec, EvaluateOptions, LoaderOptions, evaluate_checkpoint};
use serde_json::json;

use crate::cli::{Common, Split};
use crate::exit::Outcome;

/// The request's options.
pub fn options(
    split: Split,
    batch_size: usize,
    batches: Option<usize>,
    shuffle_context: Option<u64>,
    common: &Common,
) -> EvaluateOptions {
    let mut loader = LoaderOptions::new(batch_size);
    loader.reader_threads = loader.reader_threads.min(common.threads());
    EvaluateOptions {
        split: match split {
            Split::Train => cloze_schemas::Split::Train,
            Split::Validation => cloze_schemas::Split::Validation,
        },
        loader,
        batches,
        shuffle_context,
        unigram: true,
    }
}

/// Evaluates a checkpoint on a dataset.
pub fn run(
    checkpoint: &Path,
    dataset: &Path,
    device: &str,
    options: &EvaluateOptions,
) -> anyhow::Result<Outcome> {
    let device: DeviceSpec = device.parse()?;
    let evaluation = evaluate_checkpoint(checkpoint, dataset, device, options)?;
    let means = evaluation.means;
    let mut text = format!(
        "{} examples, {} predictions\n\
         masked-LM      loss {:.4} nats, accuracy {:.4}\n\
         next-sentence  loss {:.4} nats, accuracy {:.4}\n",
        evaluation.examples,
        evaluation.masked_tokens,
        means.mlm_loss,
        means.mlm_accuracy,
        means.nsp_loss,
        means.nsp_accuracy
    );
    if let Some(unigram) = evaluation.unigram_loss {
        let gain = unigram - means.mlm_loss;
        text += &format!("unigram        loss {unigram:.4} nats: context gains {gain:.4}\n");
    }
    Ok(Outcome { text, json: json!(evaluation) })
}
