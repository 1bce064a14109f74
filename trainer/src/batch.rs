//! A micro-batch, on the host and on the device. The upload below is the only place where examples reach a
//! device.

use std::sync::Arc;

use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor, TensorData};

/// A collated micro-batch on the host, row-major: `rows` examples padded to `length` tokens.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HostBatch {
    /// Examples.
    pub rows: usize,
    /// Tokens of a row, padding included.
    pub length: usize,
    /// `[rows * length]`, padded with \[PAD].
    pub input_ids: Vec<i32>,
    /// `[rows * length]`: 0 for A and padding, 1 for B.
    pub segment_ids: Vec<i32>,
    /// `[rows]`: real tokens of each row, at least 1.
    pub lengths: Vec<i32>,
    /// `[masked]`: `row * length + position` of each masked token; padding entries point at 0.
    pub masked_lm_positions: Vec<i32>,
    /// `[masked]`: the original token at each of those positions.
    pub masked_lm_ids: Vec<i32>,
    /// `[masked]`: 1 for a masked token, 0 for padding.
    pub masked_lm_weights: Vec<f32>,
    /// `[rows]`.
    pub next_sentence_labels: Vec<i32>,
    /// `[rows]`: index of each row within the optimizer batch, the key of its dropout.
    pub example_indices: Vec<u32>,
}

impl HostBatch {
    /// Masked tokens, padding entries not counted.
    pub fn masked_tokens(&self) -> usize {
        self.masked_lm_weights.iter().filter(|&&weight| weight > 0.0).count()
    }

    /// Tokens, padding not counted.
    pub fn real_tokens(&self) -> usize {
        self.lengths.iter().map(|&length| length as usize).sum()
    }
}

/// A micro-batch on the device.
#[derive(Clone, Debug)]
pub struct Batch<B: Backend> {
    /// Examples.
    pub rows: usize,
    /// Tokens of a row, padding included.
    pub length: usize,
    /// `[rows * length]`.
    pub input_ids: Tensor<B, 1, Int>,
    /// `[rows * length]`.
    pub segment_ids: Tensor<B, 1, Int>,
    /// `[rows]`.
    pub lengths: Tensor<B, 1, Int>,
    /// `[masked]`, indices into the flattened tokens.
    pub masked_lm_positions: Tensor<B, 1, Int>,
    /// `[masked]`.
    pub masked_lm_ids: Tensor<B, 1, Int>,
    /// `[masked]`.
    pub masked_lm_weights: Tensor<B, 1>,
    /// `[rows]`.
    pub next_sentence_labels: Tensor<B, 1, Int>,
    /// `[rows]`; stays on the host, where the keys of dropout are derived.
    pub example_indices: Arc<[u32]>,
}

impl<B: Backend> Batch<B> {
    /// Copies a batch to the device, one upload per column.
    pub fn upload(host: &HostBatch, device: &B::Device) -> Self {
        let ints =
            |values: &[i32]| Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), device);
        Self {
            rows: host.rows,
            length: host.length,
            input_ids: ints(&host.input_ids),
            segment_ids: ints(&host.segment_ids),
            lengths: ints(&host.lengths),
            masked_lm_positions: ints(&host.masked_lm_positions),
            masked_lm_ids: ints(&host.masked_lm_ids),
            masked_lm_weights: Tensor::from_data(
                TensorData::new(host.masked_lm_weights.clone(), [host.masked_lm_weights.len()]),
                device,
            ),
            next_sentence_labels: ints(&host.next_sentence_labels),
            example_indices: host.example_indices.clone().into(),
        }
    }
}
