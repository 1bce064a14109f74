//! `cloze inspect`

use std::fmt::Write;
use std::path::Path;

use cloze_schemas::{Dataset, Example, Split, Vocabulary, read_shard};
use serde::Serialize;
use serde_json::json;

use crate::exit::Outcome;

/// Bars of the length histogram.
const BINS: usize = 8;

/// Counts over all rows of a split.
#[derive(Default, Serialize)]
struct Statistics {
    examples: u64,
    tokens: u64,
    random_pairs: u64,
    predictions: u64,
    /// Predictions shown as `[MASK]`, as themselves, as another token.
    masked: u64,
    kept: u64,
    replaced: u64,
    unknown: u64,
    /// Rows by length, in [`BINS`] equal bins up to `max_seq_length`.
    lengths: [u64; BINS],
}

impl Statistics {
    fn add(&mut self, row: &Example<'_>, dataset: &Dataset) {
        let special = dataset.manifest.vocabulary.special;
        let length = row.input_ids.len();
        self.examples += 1;
        self.tokens += length as u64;
        self.random_pairs += u64::from(row.next_sentence_label);
        self.predictions += row.masked_lm_positions.len() as u64;
        for (&position, original) in row.masked_lm_positions.iter().zip(row.masked_lm_ids.iter()) {
            let shown = row.input_ids.get(usize::from(position));
            let count = if shown == special.mask {
                &mut self.masked
            } else if shown == original {
                &mut self.kept
            } else {
                &mut self.replaced
            };
            *count += 1;
            self.unknown += u64::from(original == special.unk);
        }
        self.unknown += row.input_ids.iter().filter(|&id| id == special.unk).count() as u64;
        self.lengths[(length - 1) * BINS / dataset.manifest.max_seq_length] += 1;
    }

    fn share(part: u64, whole: u64) -> f64 {
        part as f64 / whole.max(1) as f64
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "examples": self.examples,
            "tokens": self.tokens,
            "mean_length": Self::share(self.tokens, self.examples),
            "random_pairs": Self::share(self.random_pairs, self.examples),
            "predictions": Self::share(self.predictions, self.tokens),
            "mask_share": Self::share(self.masked, self.predictions),
            "keep_share": Self::share(self.kept, self.predictions),
            "random_share": Self::share(self.replaced, self.predictions),
            "unknown_tokens": Self::share(self.unknown, self.tokens),
            "length_histogram": self.lengths,
        })
    }

    fn write(&self, name: &str, dataset: &Dataset, text: &mut String) {
        let percent = |part, whole| 100.0 * Self::share(part, whole);
        let _ = writeln!(
            text,
            "\n{name}: {} examples of {:.1} tokens on average, {:.2} % random pairs, {:.3} % unknown tokens\n\
             {:.2} % of tokens predicted: {:.2} % [MASK], {:.2} % kept, {:.2} % random",
            self.examples,
            Self::share(self.tokens, self.examples),
            percent(self.random_pairs, self.examples),
            percent(self.unknown, self.tokens),
            percent(self.predictions, self.tokens),
            percent(self.masked, self.predictions),
            percent(self.kept, self.predictions),
            percent(self.replaced, self.predictions),
        );
        let longest = self.lengths.iter().max().copied().unwrap_or(0).max(1);
        for (bin, &rows) in self.lengths.iter().enumerate() {
            let upper = (bin + 1) * dataset.manifest.max_seq_length / BINS;
            let bar = "#".repeat((rows * 50).div_ceil(longest) as usize);
            let _ = writeln!(text, "  length ≤ {upper:>5}  {rows:>9}  {bar}");
        }
    }
}

/// Summarises a dataset and decodes its first `samples` examples.
pub fn run(dataset: &Path, samples: usize) -> anyhow::Result<Outcome> {
    let dataset = Dataset::open(dataset)?;
    let vocabulary = dataset.vocabulary()?;
    let manifest = &dataset.manifest;
    let mut decoded = Vec::new();
    let mut statistics = [Statistics::default(), Statistics::default()];
    for (split, statistics) in Split::ALL.into_iter().zip(&mut statistics) {
        for shard in dataset.shards(split) {
            read_shard(&dataset, shard, |rows| {
                for index in 0..rows.len() {
                    let row = rows.row(index);
                    statistics.add(&row, &dataset);
                    if decoded.len() < samples {
                        decoded.push(decode(&row, &vocabulary));
                    }
                }
                Ok(())
            })?;
        }
    }

    let bytes: u64 = manifest.shards.iter().map(|shard| shard.bytes).sum();
    let rows = manifest.train.examples + manifest.validation.examples;
    let mut text = format!(
        "{}\n{} at most {} tokens and {} predictions, vocabulary of {}, seed {}\n\
         {} documents in training, {} held out; {} shards, {:.1} bytes an example\n",
        dataset.dir.display(),
        manifest.name,
        manifest.max_seq_length,
        manifest.max_predictions_per_seq,
        manifest.vocabulary.size,
        manifest.seed,
        manifest.train.documents,
        manifest.validation.documents,
        manifest.shards.len(),
        bytes as f64 / rows.max(1) as f64,
    );
    for (split, statistics) in Split::ALL.into_iter().zip(&statistics) {
        if statistics.examples > 0 {
            statistics.write(split.as_str(), &dataset, &mut text);
        }
    }
    for example in &decoded {
        let _ = writeln!(text, "\n{example}");
    }
    let json = json!({
        "dataset": dataset.dir,
        "manifest": { "name": manifest.name, "fingerprint": manifest.fingerprint, "settings": manifest.settings },
        "bytes": bytes,
        "documents": manifest.train.documents + manifest.validation.documents,
        "train": statistics[0].json(),
        "validation": statistics[1].json(),
        "samples": decoded,
    });
    Ok(Outcome { text, json })
}

/// The row as text: predictions as `«shown|original»`, pieces joined to words.
fn decode(row: &Example<'_>, vocabulary: &Vocabulary) -> String {
    let mut text = match row.next_sentence_label {
        0 => format!("B follows A, document {:016x}", row.document_id),
        _ => format!("B is random, documents {:016x} and {:016x}", row.document_id, row.document_b_id),
    };
    let mut predictions = row.masked_lm_positions.iter().zip(row.masked_lm_ids.iter()).peekable();
    for (position, id) in row.input_ids.iter().enumerate() {
        let token = vocabulary.token(id);
        if position == 0 || position == row.segment_b_start {
            text.push_str("\n ");
        }
        match predictions.next_if(|(predicted, _)| usize::from(**predicted) == position) {
            Some((_, original)) => {
                let _ = write!(text, " «{token}|{}»", vocabulary.token(original));
            }
            None => match token.strip_prefix("##") {
                Some(piece) => text.push_str(piece),
                None => {
                    let _ = write!(text, " {token}");
                }
            },
        }
    }
    text
}
