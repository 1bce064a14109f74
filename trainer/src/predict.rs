//! What a trained model puts in the place of `[MASK]`.

use burn::tensor::activation::softmax;

use crate::batch::{Batch, HostBatch};
use crate::checkpoint::Checkpoint;
use crate::device::{DeviceSpec, WithBackend};
use crate::error::{Error, Result};
use crate::kernels::TrainBackend;

/// A token and its probability.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// The token's id.
    pub id: u32,
    /// Its probability, from 0 to 1.
    pub probability: f32,
}

/// The `top` most probable tokens for every `[MASK]` of `input_ids` (`[CLS] … [SEP]`, one segment), masks in
/// order, the most probable token first.
///
/// # Errors
/// A damaged checkpoint, a sequence longer than the model's positions, an id beyond its vocabulary.
pub fn fill_masks(
    checkpoint: &Checkpoint,
    device: DeviceSpec,
    input_ids: &[u32],
    top: usize,
) -> Result<Vec<Vec<Prediction>>> {
    let config = checkpoint.config()?;
    let mask = checkpoint.vocabulary()?.special().mask;
    if input_ids.len() > config.max_position_embeddings {
        let message = format!(
            "the text has {} tokens, the model takes {}; give a shorter text",
            input_ids.len(),
            config.max_position_embeddings
        );
        return Err(Error::checkpoint(checkpoint.dir(), message));
    }
    if let Some(id) = input_ids.iter().find(|&&id| id as usize >= config.vocab_size) {
        return Err(Error::checkpoint(checkpoint.dir(), format!("its vocabulary has no id {id}")));
    }
    let positions: Vec<i32> =
        (0..).zip(input_ids).filter(|&(_, &id)| id == mask).map(|(position, _)| position).collect();
    if positions.is_empty() {
        return Ok(Vec::new());
    }
    device.dispatch(Work { checkpoint, input_ids, positions, top })?
}

struct Work<'a> {
    checkpoint: &'a Checkpoint,
    input_ids: &'a [u32],
    positions: Vec<i32>,
    top: usize,
}

impl WithBackend for Work<'_> {
    type Output = Result<Vec<Vec<Prediction>>>;

    fn run<B: TrainBackend>(self, device: B::Device) -> Self::Output {
        let model = self.checkpoint.model::<B::InnerBackend>(&device)?;
        let (length, masks) = (self.input_ids.len(), self.positions.len());
        let host = HostBatch {
            rows: 1,
            length,
            input_ids: self.input_ids.iter().map(|&id| id as i32).collect(),
            segment_ids: vec![0; length],
            lengths: vec![length as i32],
            masked_lm_positions: self.positions,
            masked_lm_ids: vec![0; masks],
            masked_lm_weights: vec![1.0; masks],
            next_sentence_labels: vec![0],
            example_indices: vec![0],
        };
        let output = model.forward(&Batch::upload(&host, &device), None);
        let probabilities: Vec<f32> = softmax(output.mlm_logits, 1).into_data().iter::<f32>().collect();
        let vocabulary = probabilities.len() / masks;
        Ok(probabilities.chunks_exact(vocabulary).map(|row| most_probable(row, self.top)).collect())
    }
}

fn most_probable(probabilities: &[f32], top: usize) -> Vec<Prediction> {
    let mut all: Vec<Prediction> =
        (0..).zip(probabilities).map(|(id, &probability)| Prediction { id, probability }).collect();
    all.sort_unstable_by(|a, b| b.probability.total_cmp(&a.probability).then(a.id.cmp(&b.id)));
    all.truncate(top);
    all
}
