//! The pooler and the two pre-training heads.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Int, Tensor};

use super::config::{Activation, BertConfig};
use super::layers::{Initializer, LayerNorm, Linear};
use crate::batch::Batch;
use crate::kernels::Kernels;

/// The first token's state through a dense layer and tanh.
#[derive(Module, Debug)]
pub(crate) struct Pooler<B: Backend> {
    dense: Linear<B>,
}

impl<B: Backend> Pooler<B> {
    pub(crate) fn new(config: &BertConfig, initializer: &Initializer<B>) -> Self {
        let size = config.hidden_size;
        Self { dense: Linear::new(initializer, "bert.pooler.dense".into(), size, size) }
    }
}

impl<B: Kernels> Pooler<B> {
    /// `[rows * length, hidden]` to `[rows, hidden]`.
    pub(crate) fn forward(&self, hidden: &Tensor<B, 2>, batch: &Batch<B>) -> Tensor<B, 2> {
        let firsts =
            Tensor::<B, 1, Int>::arange(0..batch.rows as i64, &hidden.device()) * batch.length as i64;
        self.dense.forward(B::select_rows(hidden.clone(), firsts)).tanh()
    }
}

/// The masked-LM and the next-sentence head.
#[derive(Module, Debug)]
pub(crate) struct PretrainingHeads<B: Backend> {
    predictions: Predictions<B>,
    seq_relationship: Linear<B>,
}

/// The masked-LM head; its decoder is the word embedding table.
#[derive(Module, Debug)]
struct Predictions<B: Backend> {
    transform: Transform<B>,
    /// `[vocabulary]`.
    bias: Param<Tensor<B, 1>>,
    #[module(skip)]
    activation: Activation,
}

#[derive(Module, Debug)]
struct Transform<B: Backend> {
    dense: Linear<B>,
    layer_norm: LayerNorm<B>,
}

impl<B: Backend> PretrainingHeads<B> {
    pub(crate) fn new(config: &BertConfig, initializer: &Initializer<B>) -> Self {
        let size = config.hidden_size;
        Self {
            predictions: Predictions {
                transform: Transform {
                    dense: Linear::new(initializer, "cls.predictions.transform.dense".into(), size, size),
                    layer_norm: LayerNorm::new(initializer, size, config.layer_norm_eps),
                },
                bias: initializer.vector(config.vocab_size, 0.0),
                activation: config.hidden_act,
            },
            seq_relationship: Linear::new(initializer, "cls.seq_relationship".into(), size, 2),
        }
    }
}

impl<B: Kernels> PretrainingHeads<B> {
    /// `[n, hidden]` states of masked tokens to `[n, vocabulary]` logits.
    pub(crate) fn predict_tokens(&self, masked: Tensor<B, 2>, word_table: Tensor<B, 2>) -> Tensor<B, 2> {
        let Predictions { transform, bias, activation } = &self.predictions;
        let inner = B::activation(transform.dense.forward(masked), *activation);
        B::affine(transform.layer_norm.forward(inner), word_table, bias.val())
    }

    /// `[rows, hidden]` pooled states to `[rows, 2]` logits.
    pub(crate) fn predict_pairs(&self, pooled: Tensor<B, 2>) -> Tensor<B, 2> {
        self.seq_relationship.forward(pooled)
    }
}
