//! The pre-training loss: masked language modelling plus next-sentence prediction (Devlin et al. 2018,
//! section 3.1), as sums, so that micro-batches and ranks can be put together before dividing.

use burn::tensor::{Int, Tensor};

use crate::batch::Batch;
use crate::kernels::{Kernels, TrainBackend};
use crate::model::PretrainingOutput;

/// Sums over one micro-batch, each `[1]` and on the device.
#[derive(Clone, Debug)]
pub struct Losses<B: Kernels> {
    /// Cross-entropy of the masked tokens, in nats.
    pub mlm_sum: Tensor<B, 1>,
    /// Masked tokens whose most likely prediction is right.
    pub mlm_correct: Tensor<B, 1>,
    /// Cross-entropy of the pairs, in nats.
    pub nsp_sum: Tensor<B, 1>,
    /// Pairs predicted right.
    pub nsp_correct: Tensor<B, 1>,
}

/// The losses of one micro-batch.
pub fn losses<B: Kernels>(output: &PretrainingOutput<B>, batch: &Batch<B>) -> Losses<B> {
    let mlm = B::cross_entropy(
        output.mlm_logits.clone(),
        batch.masked_lm_ids.clone(),
        batch.masked_lm_weights.clone(),
    );
    let labels: Tensor<B, 1, Int> = batch.next_sentence_labels.clone();
    let weights = Tensor::ones([batch.rows], &labels.device());
    let nsp = B::cross_entropy(output.nsp_logits.clone(), labels, weights);
    Losses { mlm_sum: mlm.loss, mlm_correct: mlm.correct, nsp_sum: nsp.loss, nsp_correct: nsp.correct }
}

impl<B: TrainBackend> Losses<B> {
    /// The sums without their tape: what a log keeps.
    pub fn inner(self) -> Losses<B::InnerBackend> {
        Losses {
            mlm_sum: self.mlm_sum.inner(),
            mlm_correct: self.mlm_correct.inner(),
            nsp_sum: self.nsp_sum.inner(),
            nsp_correct: self.nsp_correct.inner(),
        }
    }
}

impl<B: Kernels> Losses<B> {
    /// What a micro-batch contributes to the loss of its optimizer batch, `[1]`: `masked_tokens` and `rows`
    /// count the whole batch, so that contributions and their gradients simply add up. Without `rows`, there
    /// is no next-sentence loss (a dataset without pairs).
    pub fn objective(&self, masked_tokens: usize, rows: Option<usize>) -> Tensor<B, 1> {
        let mlm = self.mlm_sum.clone() / masked_tokens.max(1) as f64;
        match rows {
            Some(rows) => mlm + self.nsp_sum.clone() / rows as f64,
            None => mlm,
        }
    }
}
