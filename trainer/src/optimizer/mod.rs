//! From gradients to new parameters: accumulation, clipping of the global norm, Adam.

mod adam;
mod clip;
mod gradients;
#[cfg(test)]
mod tests;

pub use adam::{AdamConfig, Optimizer, OptimizerKind};
pub use gradients::Gradients;
