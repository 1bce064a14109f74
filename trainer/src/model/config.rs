//! The shape of a model, under Hugging Face's names, so that `config.json` is this struct.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The activation of the feed-forward layers and of the masked-LM transform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Activation {
    /// `x Φ(x)` by the error function: Hugging Face's `gelu`.
    #[default]
    #[serde(rename = "gelu")]
    Gelu,
    /// The tanh approximation: Google's `gelu`.
    #[serde(rename = "gelu_new", alias = "gelu_tanh", alias = "gelu_pytorch_tanh")]
    GeluTanh,
}

/// A BERT's hyper-parameters (Devlin et al. 2018, section 3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BertConfig {
    /// Entries of the vocabulary.
    pub vocab_size: usize,
    /// Channels of a token's hidden state.
    pub hidden_size: usize,
    /// Encoder layers.
    pub num_hidden_layers: usize,
    /// Attention heads of a layer; divides `hidden_size`.
    pub num_attention_heads: usize,
    /// Channels inside the feed-forward network.
    pub intermediate_size: usize,
    /// The longest sequence.
    pub max_position_embeddings: usize,
    /// Segments; 2 for pairs.
    pub type_vocab_size: usize,
    /// The activation.
    pub hidden_act: Activation,
    /// Dropout of the embeddings and of each sublayer's output.
    pub hidden_dropout_prob: f64,
    /// Dropout of the attention probabilities.
    pub attention_probs_dropout_prob: f64,
    /// Standard deviation of the initial weights, before their cut at two of it.
    pub initializer_range: f64,
    /// Added to the variance in layer normalisation.
    pub layer_norm_eps: f64,
}

impl Default for BertConfig {
    /// BERT-base, uncased English vocabulary.
    fn default() -> Self {
        Self {
            vocab_size: 30_522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            hidden_act: Activation::Gelu,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
        }
    }
}

/// Name, layers, hidden size and heads of Google's published models.
const PRESETS: [(&str, usize, usize, usize); 6] = [
    ("bert-tiny", 2, 128, 2),
    ("bert-mini", 4, 256, 4),
    ("bert-small", 4, 512, 8),
    ("bert-medium", 8, 512, 8),
    ("bert-base", 12, 768, 12),
    ("bert-large", 24, 1024, 16),
];

impl BertConfig {
    /// One of Google's published sizes: `bert-tiny`, `-mini`, `-small`, `-medium`, `-base` or `-large`.
    pub fn preset(name: &str, vocab_size: usize) -> Result<Self> {
        let Some(&(_, layers, hidden, heads)) = PRESETS.iter().find(|preset| preset.0 == name) else {
            let known: Vec<_> = PRESETS.iter().map(|preset| preset.0).collect();
            return Err(Error::ModelConfig {
                key: "preset",
                message: format!("\"{name}\" is unknown; one of {}", known.join(", ")),
            });
        };
        Ok(Self {
            vocab_size,
            hidden_size: hidden,
            num_hidden_layers: layers,
            num_attention_heads: heads,
            intermediate_size: 4 * hidden,
            ..Self::default()
        })
    }

    /// Checks that the numbers make a model; the error names the key.
    pub fn validate(&self) -> Result<()> {
        let fail = |key, message| Err(Error::ModelConfig { key, message });
        for (key, value) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("intermediate_size", self.intermediate_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("type_vocab_size", self.type_vocab_size),
        ] {
            if value == 0 {
                return fail(key, "must be at least 1".into());
            }
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            return fail(
                "num_attention_heads",
                format!("{} does not divide hidden_size {}", self.num_attention_heads, self.hidden_size),
            );
        }
        for (key, value) in [
            ("hidden_dropout_prob", self.hidden_dropout_prob),
            ("attention_probs_dropout_prob", self.attention_probs_dropout_prob),
        ] {
            if !(0.0..1.0).contains(&value) {
                return fail(key, format!("{value} is not in [0, 1)"));
            }
        }
        for (key, value) in
            [("initializer_range", self.initializer_range), ("layer_norm_eps", self.layer_norm_eps)]
        {
            if !(value > 0.0 && value.is_finite()) {
                return fail(key, format!("{value} is not a positive number"));
            }
        }
        Ok(())
    }

    /// Channels of one attention head.
    pub fn head_size(&self) -> usize {
        self.hidden_size / self.num_attention_heads
    }

    /// Floating-point operations of one training step (forward and backward) for one sequence of `length`
    /// tokens, `masked` of them predicted: products of matrices only.
    pub fn flops_per_sequence(&self, length: usize, masked: usize) -> f64 {
        let [layers, hidden, inner, vocabulary, length, masked] = [
            self.num_hidden_layers,
            self.hidden_size,
            self.intermediate_size,
            self.vocab_size,
            length,
            masked,
        ]
        .map(|n| n as f64);
        // A weight costs 2 operations forward and 4 backward.
        let weights = layers * (4.0 * hidden * hidden + 2.0 * hidden * inner);
        let attention = 12.0 * layers * hidden * length * length;
        6.0 * weights * length + attention + 6.0 * masked * (hidden * vocabulary + hidden * hidden)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flops_agree_with_published_figures() {
        let check = |preset, length, masked, expected: f64| {
            let flops = BertConfig::preset(preset, 30_522).unwrap().flops_per_sequence(length, masked);
            assert!((flops / expected - 1.0).abs() < 5e-3, "{preset} at {length}: {flops:e}");
        };
        check("bert-base", 128, 20, 6.99e10);
        check("bert-base", 512, 77, 3.02e11);
        check("bert-large", 128, 20, 2.41e11);
        check("bert-large", 512, 77, 1.02e12);
    }

    #[test]
    fn presets_are_valid_and_unknown_ones_are_named() {
        for (name, ..) in PRESETS {
            BertConfig::preset(name, 100).unwrap().validate().unwrap();
        }
        let error = BertConfig::preset("bert-huge", 100).unwrap_err().to_string();
        assert!(error.contains("bert-huge") && error.contains("bert-large"), "{error}");
    }

    #[test]
    fn errors_name_the_key() {
        let check = |change: fn(&mut BertConfig), key: &str| {
            let mut config = BertConfig::default();
            change(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        };
        check(|c| c.vocab_size = 0, "vocab_size");
        check(|c| c.num_attention_heads = 5, "num_attention_heads");
        check(|c| c.hidden_dropout_prob = 1.0, "hidden_dropout_prob");
        check(|c| c.attention_probs_dropout_prob = f64::NAN, "attention_probs_dropout_prob");
        check(|c| c.initializer_range = 0.0, "initializer_range");
    }

    #[test]
    fn reads_hugging_face_names() {
        let config: BertConfig = serde_json::from_str(
            r#"{"vocab_size": 9, "hidden_act": "gelu_new", "num_hidden_layers": 3, "model_type": "bert"}"#,
        )
        .unwrap();
        assert_eq!((config.vocab_size, config.num_hidden_layers), (9, 3));
        assert_eq!(config.hidden_act, Activation::GeluTanh);
    }
}
