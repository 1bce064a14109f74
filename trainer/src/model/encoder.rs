//! The encoder: layers of self-attention and a feed-forward network, each followed by dropout, the residual
//! sum and layer normalisation (post-norm, as published).

use burn::module::Module;
use burn::tensor::Tensor;
use burn::tensor::backend::Backend;

use super::config::{Activation, BertConfig};
use super::layers::{Initializer, LayerNorm, Linear};
use crate::batch::Batch;
use crate::dropout::{Dropout, DropoutKey, Site};
use crate::kernels::{AttentionShape, Kernels};

#[derive(Module, Debug)]
pub(crate) struct Encoder<B: Backend> {
    layer: Vec<Layer<B>>,
}

impl<B: Backend> Encoder<B> {
    pub(crate) fn new(config: &BertConfig, initializer: &Initializer<B>) -> Self {
        Self {
            layer: (0..config.num_hidden_layers)
                .map(|index| Layer::new(config, initializer, index))
                .collect(),
        }
    }
}

impl<B: Kernels> Encoder<B> {
    /// `[rows * length, hidden]`, shape kept.
    pub(crate) fn forward(
        &self,
        embedded: Tensor<B, 2>,
        batch: &Batch<B>,
        dropout: Option<&DropoutKey>,
    ) -> Tensor<B, 2> {
        self.layer.iter().fold(embedded, |hidden, layer| layer.forward(hidden, batch, dropout))
    }
}

#[derive(Module, Debug)]
struct Layer<B: Backend> {
    attention: Attention<B>,
    intermediate: Linear<B>,
    output: SublayerOutput<B>,
    #[module(skip)]
    activation: Activation,
    #[module(skip)]
    index: usize,
}

#[derive(Module, Debug)]
struct Attention<B: Backend> {
    /// Queries, keys and values in one product; three tensors in checkpoints.
    query_key_value: Linear<B>,
    output: SublayerOutput<B>,
    #[module(skip)]
    heads: usize,
    #[module(skip)]
    head_size: usize,
    #[module(skip)]
    dropout: f64,
}

/// The end of a sublayer: projection, dropout, residual sum, normalisation.
#[derive(Module, Debug)]
struct SublayerOutput<B: Backend> {
    dense: Linear<B>,
    layer_norm: LayerNorm<B>,
    #[module(skip)]
    dropout: f64,
}

impl<B: Backend> Layer<B> {
    fn new(config: &BertConfig, initializer: &Initializer<B>, index: usize) -> Self {
        let name = |part: &str| format!("bert.encoder.layer.{index}.{part}");
        let BertConfig { hidden_size, intermediate_size, .. } = *config;
        let parts = ["query", "key", "value"].map(|part| name(&format!("attention.self.{part}")));
        Self {
            attention: Attention {
                query_key_value: Linear::stacked(initializer, &parts, hidden_size, hidden_size),
                output: SublayerOutput::new(config, initializer, &name("attention.output"), hidden_size),
                heads: config.num_attention_heads,
                head_size: config.head_size(),
                dropout: config.attention_probs_dropout_prob,
            },
            intermediate: Linear::new(
                initializer,
                name("intermediate.dense"),
                hidden_size,
                intermediate_size,
            ),
            output: SublayerOutput::new(config, initializer, &name("output"), intermediate_size),
            activation: config.hidden_act,
            index,
        }
    }
}

impl<B: Backend> SublayerOutput<B> {
    fn new(config: &BertConfig, initializer: &Initializer<B>, name: &str, inputs: usize) -> Self {
        Self {
            dense: Linear::new(initializer, format!("{name}.dense"), inputs, config.hidden_size),
            layer_norm: LayerNorm::new(initializer, config.hidden_size, config.layer_norm_eps),
            dropout: config.hidden_dropout_prob,
        }
    }
}

impl<B: Kernels> Layer<B> {
    fn forward(&self, hidden: Tensor<B, 2>, batch: &Batch<B>, dropout: Option<&DropoutKey>) -> Tensor<B, 2> {
        let site =
            |site, probability| dropout.and_then(|&key| Dropout::hidden(key, site, probability, batch));
        let attention = &self.attention;
        let context = attention.forward(hidden.clone(), batch, dropout, self.index);
        let mask = site(Site::AttentionOutput(self.index), attention.output.dropout);
        let attended = attention.output.forward(context, hidden, mask.as_ref());
        let inner = B::activation(self.intermediate.forward(attended.clone()), self.activation);
        let mask = site(Site::Output(self.index), self.output.dropout);
        self.output.forward(inner, attended, mask.as_ref())
    }
}

impl<B: Kernels> Attention<B> {
    /// The heads' contexts, side by side.
    fn forward(
        &self,
        hidden: Tensor<B, 2>,
        batch: &Batch<B>,
        dropout: Option<&DropoutKey>,
        layer: usize,
    ) -> Tensor<B, 2> {
        let shape = AttentionShape {
            rows: batch.rows,
            length: batch.length,
            heads: self.heads,
            head_size: self.head_size,
        };
        let mask = dropout.and_then(|&key| {
            Dropout::new(
                key,
                Site::Attention(layer),
                self.dropout,
                &batch.example_indices,
                self.heads,
                batch.length,
            )
        });
        B::self_attention(self.query_key_value.forward(hidden), batch.lengths.clone(), shape, mask.as_ref())
    }
}

impl<B: Kernels> SublayerOutput<B> {
    fn forward(&self, x: Tensor<B, 2>, residual: Tensor<B, 2>, dropout: Option<&Dropout>) -> Tensor<B, 2> {
        let projected = self.dense.forward(x);
        let kept = match dropout {
            Some(dropout) => B::dropout(projected, dropout),
            None => projected,
        };
        self.layer_norm.forward(kept + residual)
    }
}
