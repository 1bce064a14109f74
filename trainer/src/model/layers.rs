//! The layers that everything is made of: linear and normalisation, and how weights begin.

use burn::module::{Module, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{Tensor, TensorData};
use cloze_schemas::{KeyedRng, RandomSource};
use rayon::prelude::*;

use crate::kernels::Kernels;

/// Draws initial weights.
pub(crate) struct Initializer<B: Backend> {
    pub(crate) seed: u64,
    pub(crate) deviation: f64,
    pub(crate) device: B::Device,
}

impl<B: Backend> Initializer<B> {
    /// A matrix under a normal distribution cut at two deviations, as TensorFlow's
    /// `truncated_normal_initializer` in Google's `modeling.py`. Stacks one `[rows, columns]` matrix for each
    /// name.
    pub(crate) fn matrix(&self, names: &[String], rows: usize, columns: usize) -> Param<Tensor<B, 2>> {
        let mut values = vec![0.0_f32; names.len() * rows * columns];
        for (name, matrix) in names.iter().zip(values.chunks_mut(rows * columns)) {
            let purpose = format!("initialise {name}");
            matrix.par_chunks_mut(columns).enumerate().for_each(|(row, values)| {
                let mut rng = KeyedRng::new(self.seed, &purpose, &[row as u64]);
                values.fill_with(|| (self.deviation * truncated_normal(&mut rng)) as f32);
            });
        }
        Param::from_data(TensorData::new(values, [names.len() * rows, columns]), &self.device)
    }

    /// A vector of one value.
    pub(crate) fn vector(&self, size: usize, value: f32) -> Param<Tensor<B, 1>> {
        Param::from_data(TensorData::new(vec![value; size], [size]), &self.device)
    }
}

/// A standard normal draw within two deviations: Box and Muller's method, drawing again outside.
fn truncated_normal(rng: &mut impl RandomSource) -> f64 {
    loop {
        let radius = (-2.0 * (1.0 - rng.random()).ln()).sqrt();
        let value = radius * (std::f64::consts::TAU * rng.random()).cos();
        if value.abs() <= 2.0 {
            return value;
        }
    }
}

/// `x Wᵀ + b`.
#[derive(Module, Debug)]
pub(crate) struct Linear<B: Backend> {
    /// `[out, in]`, as in checkpoints.
    weight: Param<Tensor<B, 2>>,
    /// `[out]`.
    bias: Param<Tensor<B, 1>>,
}

impl<B: Backend> Linear<B> {
    /// Random weights and zero biases under `<name>.weight`.
    pub(crate) fn new(initializer: &Initializer<B>, name: String, inputs: usize, outputs: usize) -> Self {
        Self::stacked(initializer, &[name], inputs, outputs)
    }

    /// Several layers of the same input in one product: outputs stacked in the order of `names`.
    pub(crate) fn stacked(
        initializer: &Initializer<B>,
        names: &[String],
        inputs: usize,
        outputs: usize,
    ) -> Self {
        let weights: Vec<String> = names.iter().map(|name| format!("{name}.weight")).collect();
        Self {
            weight: initializer.matrix(&weights, outputs, inputs),
            bias: initializer.vector(names.len() * outputs, 0.0),
        }
    }
}

impl<B: Kernels> Linear<B> {
    /// `[n, in]` to `[n, out]`.
    pub(crate) fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        B::affine(x, self.weight.val(), self.bias.val())
    }
}

/// Layer normalisation (Ba et al. 2016) over channels.
#[derive(Module, Debug)]
pub(crate) struct LayerNorm<B: Backend> {
    weight: Param<Tensor<B, 1>>,
    bias: Param<Tensor<B, 1>>,
    #[module(skip)]
    epsilon: f64,
}

impl<B: Backend> LayerNorm<B> {
    pub(crate) fn new(initializer: &Initializer<B>, size: usize, epsilon: f64) -> Self {
        Self { weight: initializer.vector(size, 1.0), bias: initializer.vector(size, 0.0), epsilon }
    }
}

impl<B: Kernels> LayerNorm<B> {
    /// `[n, channels]`, shape kept.
    pub(crate) fn forward(&self, x: Tensor<B, 2>) -> Tensor<B, 2> {
        B::layer_normalize(x, self.weight.val(), self.bias.val(), self.epsilon)
    }
}
