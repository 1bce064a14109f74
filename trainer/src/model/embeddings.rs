//! Word, position and segment embeddings, summed, normalised and dropped.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::config::BertConfig;
use super::layers::{Initializer, LayerNorm};
use crate::batch::Batch;
use crate::dropout::{Dropout, DropoutKey, Site};
use crate::kernels::Kernels;

#[derive(Module, Debug)]
pub(crate) struct Embeddings<B: Backend> {
    /// `[vocabulary, hidden]`; the masked-LM decoder uses it too.
    word: Param<Tensor<B, 2>>,
    /// `[positions, hidden]`.
    position: Param<Tensor<B, 2>>,
    /// `[segments, hidden]`.
    token_type: Param<Tensor<B, 2>>,
    layer_norm: LayerNorm<B>,
    #[module(skip)]
    dropout: f64,
}

impl<B: Backend> Embeddings<B> {
    pub(crate) fn new(config: &BertConfig, initializer: &Initializer<B>) -> Self {
        let table = |name: &str, rows| {
            initializer.matrix(&[format!("bert.embeddings.{name}.weight")], rows, config.hidden_size)
        };
        Self {
            word: table("word_embeddings", config.vocab_size),
            position: table("position_embeddings", config.max_position_embeddings),
            token_type: table("token_type_embeddings", config.type_vocab_size),
            layer_norm: LayerNorm::new(initializer, config.hidden_size, config.layer_norm_eps),
            dropout: config.hidden_dropout_prob,
        }
    }

    /// The word embedding table, `[vocabulary, hidden]`.
    pub(crate) fn word_table(&self) -> Tensor<B, 2> {
        self.word.val()
    }
}

impl<B: Kernels> Embeddings<B> {
    /// The encoder's input, `[rows * length, hidden]`.
    pub(crate) fn forward(&self, batch: &Batch<B>, dropout: Option<&DropoutKey>) -> Tensor<B, 2> {
        let sum = B::embeddings(
            self.word.val(),
            self.position.val(),
            self.token_type.val(),
            batch.input_ids.clone(),
            batch.segment_ids.clone(),
            batch.length,
        );
        let normal = self.layer_norm.forward(sum);
        match dropout.and_then(|&key| Dropout::hidden(key, Site::Embeddings, self.dropout, batch)) {
            Some(dropout) => B::dropout(normal, &dropout),
            None => normal,
        }
    }
}
