//! Figures of a run: summed on the device, read rarely, kept as JSON lines.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use burn::tensor::Tensor;
use cloze_schemas::atomic;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::kernels::Kernels;
use crate::loss::Losses;

/// Losses in nats and accuracies in shares of 1, averaged over predictions and over pairs.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Means {
    /// `mlm_loss + nsp_loss`
    pub loss: f64,
    /// Cross-entropy of a masked token.
    pub mlm_loss: f64,
    /// Share of masked tokens predicted right.
    pub mlm_accuracy: f64,
    /// Cross-entropy of a pair.
    pub nsp_loss: f64,
    /// Share of pairs predicted right.
    pub nsp_accuracy: f64,
}

/// One line of `metrics.jsonl`: means over the updates since the line before, or since the resumption.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepMetrics {
    /// Updates done.
    pub step: u64,
    /// Losses and accuracies, with dropout.
    #[serde(flatten)]
    pub means: Means,
    /// Of the last update.
    pub learning_rate: f64,
    /// Of the last update, before clipping.
    pub grad_norm: f64,
    /// Training throughput, evaluations and checkpoints not counted.
    pub examples_per_second: f64,
    /// Tokens that are not padding.
    pub tokens_per_second: f64,
    /// Share of the time spent waiting for the loader.
    pub data_wait_fraction: f64,
}

/// Sums of losses. Adding does not wait for the device; reading does.
pub(crate) struct Sums<B: Kernels> {
    /// `[4]`: masked-LM loss and hits, next-sentence loss and hits, not yet in `host`.
    device: Option<Tensor<B, 1>>,
    host: [f64; 4],
    pub(crate) masked_tokens: u64,
    pub(crate) rows: u64,
}

impl<B: Kernels> Sums<B> {
    pub(crate) fn new() -> Self {
        Self { device: None, host: [0.0; 4], masked_tokens: 0, rows: 0 }
    }

    /// Adds a micro-batch of so many predictions and rows.
    pub(crate) fn add(&mut self, losses: Losses<B>, masked_tokens: usize, rows: usize) {
        let Losses { mlm_sum, mlm_correct, nsp_sum, nsp_correct } = losses;
        let sums = Tensor::cat(vec![mlm_sum, mlm_correct, nsp_sum, nsp_correct], 0);
        self.device = Some(match self.device.take() {
            Some(earlier) => earlier + sums,
            None => sums,
        });
        self.masked_tokens += masked_tokens as u64;
        self.rows += rows as u64;
    }

    /// Reads what lies on the device; now and then, so that long sums keep their precision.
    pub(crate) fn collect(&mut self) {
        if let Some(sums) = self.device.take() {
            for (host, sum) in self.host.iter_mut().zip(sums.into_data().iter::<f64>()) {
                *host += sum;
            }
        }
    }

    pub(crate) fn means(mut self) -> Means {
        self.collect();
        let [mlm_loss, mlm_hits, nsp_loss, nsp_hits] = self.host;
        let (predictions, rows) = (self.masked_tokens.max(1) as f64, self.rows.max(1) as f64);
        Means {
            loss: mlm_loss / predictions + nsp_loss / rows,
            mlm_loss: mlm_loss / predictions,
            mlm_accuracy: mlm_hits / predictions,
            nsp_loss: nsp_loss / rows,
            nsp_accuracy: nsp_hits / rows,
        }
    }
}

/// `metrics.jsonl`
pub(crate) struct MetricsFile {
    path: PathBuf,
    file: File,
}

impl MetricsFile {
    /// Opens the file to go on after the step of a checkpoint: later lines, and one that a kill cut off, are
    /// dropped. Without a checkpoint the file begins anew.
    pub(crate) fn open(path: PathBuf, checkpoint: Option<u64>) -> Result<Self> {
        #[derive(Deserialize)]
        struct Line {
            step: u64,
        }

        let old = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            old => old.map_err(Error::io(&path))?,
        };
        let valid = |line: &&str| {
            line.ends_with('\n')
                && serde_json::from_str::<Line>(line).is_ok_and(|line| Some(line.step) <= checkpoint)
        };
        let kept: String = old.split_inclusive('\n').filter(valid).collect();
        atomic::write_file(&path, |file| file.write_all(kept.as_bytes()))?;
        let file = OpenOptions::new().append(true).open(&path).map_err(Error::io(&path))?;
        Ok(Self { path, file })
    }

    /// Appends one line.
    pub(crate) fn append(&mut self, line: &impl Serialize) -> Result<()> {
        let mut json = serde_json::to_vec(line).expect("structs with string keys are JSON");
        json.push(b'\n');
        self.file.write_all(&json).map_err(Error::io(&self.path))
    }

    /// Makes sure that the lines so far survive a crash: before a checkpoint that presumes them.
    pub(crate) fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(Error::io(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_cut_back_to_the_step() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("metrics.jsonl");
        let lines =
            ["{\"step\":1}\n", "{\"step\":2,\"evaluation\":true}\n", "{\"step\":3}\n", "{\"step\":2,\"lo"];
        std::fs::write(&path, lines.concat()).unwrap();
        let mut metrics = MetricsFile::open(path.clone(), Some(2)).unwrap();
        metrics.append(&serde_json::json!({"step": 3})).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), lines[..3].concat());
        MetricsFile::open(path.clone(), None).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "");
    }
}
