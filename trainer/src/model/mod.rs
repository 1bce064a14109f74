//! BERT (Devlin et al. 2018) with its two pre-training heads.
//!
//! Fields are named after Hugging Face's modules, so that a parameter's path is its name in a checkpoint
//! ([`parameters`] knows the few differences).

mod config;
mod embeddings;
mod encoder;
mod heads;
mod layers;
pub(crate) mod parameters;
#[cfg(test)]
pub(crate) mod tests;

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

pub use config::{Activation, BertConfig};
pub use parameters::{load_named_tensors, named_tensors};

use crate::batch::Batch;
use crate::dropout::DropoutKey;
use crate::error::Result;
use crate::kernels::Kernels;
use embeddings::Embeddings;
use encoder::Encoder;
use heads::{Pooler, PretrainingHeads};
use layers::Initializer;

/// BERT for pre-training. Its configuration is not part of it: see [`BertConfig`].
#[derive(Module, Debug)]
pub struct Bert<B: Backend> {
    bert: Trunk<B>,
    cls: PretrainingHeads<B>,
}

/// Everything below the heads.
#[derive(Module, Debug)]
struct Trunk<B: Backend> {
    embeddings: Embeddings<B>,
    encoder: Encoder<B>,
    pooler: Pooler<B>,
}

/// What the heads predict.
#[derive(Clone, Debug)]
pub struct PretrainingOutput<B: Backend> {
    /// `[masked, vocabulary]`.
    pub mlm_logits: Tensor<B, 2>,
    /// `[rows, 2]`: 0 = B follows A, 1 = it does not.
    pub nsp_logits: Tensor<B, 2>,
}

impl<B: Backend> Bert<B> {
    /// A model with initial weights: a pure function of (seed, parameter's name, element).
    ///
    /// Fails where the configuration is invalid, naming the key.
    pub fn new(config: &BertConfig, seed: u64, device: &B::Device) -> Result<Self> {
        config.validate()?;
        let initializer = Initializer { seed, deviation: config.initializer_range, device: device.clone() };
        Ok(Self {
            bert: Trunk {
                embeddings: Embeddings::new(config, &initializer),
                encoder: Encoder::new(config, &initializer),
                pooler: Pooler::new(config, &initializer),
            },
            cls: PretrainingHeads::new(config, &initializer),
        })
    }
}

impl<B: Kernels> Bert<B> {
    /// Hidden states of the last layer, `[rows * length, hidden]`. Padding tokens have states too; nothing
    /// else depends on them.
    pub fn encode(&self, batch: &Batch<B>, dropout: Option<&DropoutKey>) -> Tensor<B, 2> {
        let embedded = self.bert.embeddings.forward(batch, dropout);
        self.bert.encoder.forward(embedded, batch, dropout)
    }

    /// Predictions for the masked tokens and the pairs of a batch. Without `dropout`, nothing is dropped.
    pub fn forward(&self, batch: &Batch<B>, dropout: Option<&DropoutKey>) -> PretrainingOutput<B> {
        let hidden = self.encode(batch, dropout);
        let pooled = self.bert.pooler.forward(&hidden, batch);
        let masked = B::select_rows(hidden, batch.masked_lm_positions.clone());
        PretrainingOutput {
            mlm_logits: self.cls.predict_tokens(masked, self.bert.embeddings.word_table()),
            nsp_logits: self.cls.predict_pairs(pooled),
        }
    }
}
