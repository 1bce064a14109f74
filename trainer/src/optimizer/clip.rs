//! Clipping by the global norm: one norm over all gradients, not one for each tensor (Burn's own clipping).

use burn::tensor::Tensor;

use super::Gradients;
use crate::kernels::{Kernels, TrainBackend};

/// The norm of all gradients together, `[1]`; tensors are added up in the order of their names.
pub(crate) fn global_norm<B: TrainBackend>(gradients: &Gradients<B>) -> Tensor<B::InnerBackend, 1> {
    gradients
        .0
        .values()
        .map(|gradient| B::InnerBackend::sum_of_squares(gradient.clone()))
        .reduce(|sum, squares| sum + squares)
        .expect("a loss depends on some parameter")
        .sqrt()
}

/// The factor, `[1]`, that brings a norm down to `limit`; 1 where it is below. Not finite where the norm is
/// not, which tells the update to leave everything as it was.
pub(crate) fn clip_factor<B: Kernels>(norm: Tensor<B, 1>, limit: Option<f64>) -> Tensor<B, 1> {
    let poison = norm.clone() * 0.0;
    match limit {
        Some(limit) => norm.clamp_min(limit).recip() * limit + poison,
        None => poison + 1.0,
    }
}
