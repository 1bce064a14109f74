//! The operations a model is made of, each replaceable per backend.
//!
//! Every operation has a default built from Burn's tensor operations, correct on any backend
//! ([`generic`]). The CPU backend overrides what profiles show ([`cpu`]); [`autodiff`] supplies the gradients
//! by hand, from the same trait, so that a backward pass keeps only what it needs and its formulas are exact
//! on every backend.
//!
//! Activations are flattened to `[tokens, channels]`, where `tokens = rows * length`.

mod autodiff;
mod cpu;
pub(crate) mod generic;
mod loops;
mod math;
mod matrix;
#[cfg(test)]
mod tests;

use burn::tensor::backend::{AutodiffBackend, Backend};
use burn::tensor::{Int, Tensor};

pub use crate::dropout::Dropout;
pub use crate::model::Activation;

/// How a `[rows * length, 3 * heads * head_size]` product of queries, keys and values is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Sequences.
    pub rows: usize,
    /// Tokens of a sequence, padding included.
    pub length: usize,
    /// Attention heads.
    pub heads: usize,
    /// Channels of a head.
    pub head_size: usize,
}

/// What [`Kernels::cross_entropy`] returns.
#[derive(Clone, Debug)]
pub struct CrossEntropy<B: Backend> {
    /// The sum of the weighted losses, in nats, `[1]`.
    pub loss: Tensor<B, 1>,
    /// The weighted number of rows whose label has the largest logit, `[1]`.
    pub correct: Tensor<B, 1>,
    /// The logarithm of each row's sum of exponentials, `[n]`; for the backward pass.
    pub log_normalizers: Tensor<B, 1>,
}

/// One step of Adam, shared by all parameters of a group.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// Decay of the first moment.
    pub beta_1: f32,
    /// Decay of the second moment.
    pub beta_2: f32,
    /// Added to the root of the second moment.
    pub epsilon: f32,
    /// The learning rate.
    pub learning_rate: f32,
    /// Decoupled weight decay.
    pub weight_decay: f32,
    /// Divisor that corrects the first moment's bias: `1 - beta_1^t`, or 1 without correction.
    pub correction_1: f32,
    /// Divisor that corrects the second moment's bias.
    pub correction_2: f32,
}

/// A backend that can run the model.
pub trait Kernels: Backend {
    /// `x Wᵀ + b`: `[n, in]`, `[out, in]`, `[out]` to `[n, out]`.
    fn affine(x: Tensor<Self, 2>, weight: Tensor<Self, 2>, bias: Tensor<Self, 1>) -> Tensor<Self, 2> {
        generic::affine(x, weight, bias)
    }

    /// The gradients of [`Kernels::affine`] with respect to `x`, `weight` and `bias`.
    fn affine_backward(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        grad: Tensor<Self, 2>,
    ) -> (Tensor<Self, 2>, Tensor<Self, 2>, Tensor<Self, 1>) {
        generic::affine_backward(x, weight, grad)
    }

    /// The activation, elementwise.
    fn activation(x: Tensor<Self, 2>, kind: Activation) -> Tensor<Self, 2> {
        generic::activation(x, kind)
    }

    /// The gradient of [`Kernels::activation`] at `x`, times `grad`.
    fn activation_backward(x: Tensor<Self, 2>, grad: Tensor<Self, 2>, kind: Activation) -> Tensor<Self, 2> {
        generic::activation_backward(x, grad, kind)
    }

    /// Normalises each row to mean 0 and variance 1, then applies `weight` and `bias`, both `[channels]`.
    fn layer_normalize(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        epsilon: f64,
    ) -> Tensor<Self, 2> {
        generic::layer_normalize(x, weight, bias, epsilon)
    }

    /// The gradients of [`Kernels::layer_normalize`] with respect to `x`, `weight` and `bias`.
    fn layer_normalize_backward(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 1>,
        grad: Tensor<Self, 2>,
        epsilon: f64,
    ) -> (Tensor<Self, 2>, Tensor<Self, 1>, Tensor<Self, 1>) {
        generic::layer_normalize_backward(x, weight, grad, epsilon)
    }

    /// Drops elements of `x`, one line of the mask a row, and scales the others. Its own gradient.
    fn dropout(x: Tensor<Self, 2>, dropout: &Dropout) -> Tensor<Self, 2> {
        generic::dropout(x, dropout)
    }

    /// The sum of word, position and segment embeddings, `[tokens, channels]`. Positions count from 0 in each
    /// row of `length` tokens.
    fn embeddings(
        words: Tensor<Self, 2>,
        positions: Tensor<Self, 2>,
        segments: Tensor<Self, 2>,
        input_ids: Tensor<Self, 1, Int>,
        segment_ids: Tensor<Self, 1, Int>,
        length: usize,
    ) -> Tensor<Self, 2> {
        generic::embeddings(words, positions, segments, input_ids, segment_ids, length)
    }

    /// Rows of a table: `[n, channels]`, `[m]` to `[m, channels]`.
    fn select_rows(table: Tensor<Self, 2>, indices: Tensor<Self, 1, Int>) -> Tensor<Self, 2> {
        generic::select_rows(table, indices)
    }

    /// The gradient of [`Kernels::select_rows`] with respect to a table of `rows` rows: sums duplicates, in
    /// an order that does not depend on threads where the backend has one.
    fn select_rows_backward(
        grad: Tensor<Self, 2>,
        indices: Tensor<Self, 1, Int>,
        rows: usize,
    ) -> Tensor<Self, 2> {
        generic::select_rows_backward(grad, indices, rows)
    }

    /// Multi-head self-attention from the fused product of queries, keys and values (in this order along the
    /// channels) to the context, `[tokens, heads * head_size]`. Keys at and beyond a row's `lengths` are
    /// masked. `dropout` applies to the probabilities, one line for each (row, head, query).
    fn self_attention(
        queries_keys_values: Tensor<Self, 2>,
        lengths: Tensor<Self, 1, Int>,
        shape: AttentionShape,
        dropout: Option<&Dropout>,
    ) -> Tensor<Self, 2> {
        generic::self_attention(queries_keys_values, lengths, shape, dropout).0
    }

    /// Lays `[rows, heads, length, head_size]` tensors side by side: `[rows * length, parts * heads *
    /// head_size]`.
    fn merge_heads(parts: Vec<Tensor<Self, 4>>) -> Tensor<Self, 2> {
        generic::merge_heads(parts)
    }

    /// Softmax of scaled scores `[rows * heads * length, length]` over the keys of each row.
    fn attention_softmax(
        scores: Tensor<Self, 2>,
        lengths: Tensor<Self, 1, Int>,
        shape: AttentionShape,
    ) -> Tensor<Self, 2> {
        generic::attention_softmax(scores, lengths, shape)
    }

    /// The gradient of [`Kernels::attention_softmax`] with respect to the scores, from its output.
    fn attention_softmax_backward(
        probabilities: Tensor<Self, 2>,
        grad: Tensor<Self, 2>,
        shape: AttentionShape,
    ) -> Tensor<Self, 2> {
        generic::attention_softmax_backward(probabilities, grad, shape)
    }

    /// Weighted cross-entropy of `[n, classes]` logits and `[n]` labels. Only the loss has a gradient.
    fn cross_entropy(
        logits: Tensor<Self, 2>,
        labels: Tensor<Self, 1, Int>,
        weights: Tensor<Self, 1>,
    ) -> CrossEntropy<Self> {
        generic::cross_entropy(logits, labels, weights)
    }

    /// The gradient of the loss of [`Kernels::cross_entropy`] with respect to the logits.
    fn cross_entropy_backward(
        logits: Tensor<Self, 2>,
        labels: Tensor<Self, 1, Int>,
        weights: Tensor<Self, 1>,
        log_normalizers: Tensor<Self, 1>,
    ) -> Tensor<Self, 2> {
        generic::cross_entropy_backward(logits, labels, weights, log_normalizers)
    }

    /// The sum of each column: `[n, channels]` to `[channels]`.
    fn column_sums(x: Tensor<Self, 2>) -> Tensor<Self, 1> {
        generic::column_sums(x)
    }

    /// The sum of squares, `[1]`, added up in an order that does not depend on threads.
    fn sum_of_squares(x: Tensor<Self, 1>) -> Tensor<Self, 1> {
        generic::sum_of_squares(x)
    }

    /// One update of Adam: `(parameter, first moment, second moment)`. The gradient is first multiplied by
    /// `scale`, `[1]`; where that is not finite, everything stays as it was.
    fn adam(
        state: (Tensor<Self, 1>, Tensor<Self, 1>, Tensor<Self, 1>),
        grad: Tensor<Self, 1>,
        scale: Tensor<Self, 1>,
        step: &AdamStep,
    ) -> (Tensor<Self, 1>, Tensor<Self, 1>, Tensor<Self, 1>) {
        generic::adam(state, grad, scale, step)
    }
}

#[cfg(feature = "cuda")]
impl Kernels for burn_cuda::Cuda {}

/// A backend that can train the model.
pub trait TrainBackend: AutodiffBackend<InnerBackend: Kernels> + Kernels {}

impl<B: AutodiffBackend<InnerBackend: Kernels> + Kernels> TrainBackend for B {}
