//! Dataset to weights: shards are streamed by threads, collated, and trained on.
//!
//! One batch, file to device: [`loader`] plans an order of rows (a pure function of dataset, seed and epoch),
//! reader threads turn Parquet pages into checked rows, a collating thread pads them into [`HostBatch`]es, and
//! the training thread, the only one that touches the device, uploads them and takes a step ([`train`]).
//!
//! How a corpus becomes a dataset is not this crate's business; what a dataset is, `cloze-schemas` knows.

mod batch;
mod checkpoint;
mod device;
mod dropout;
mod error;
mod evaluate;
#[cfg(test)]
mod fixture;
pub mod kernels;
pub mod loader;
mod loss;
mod metrics;
mod model;
mod optimizer;
mod predict;
mod schedule;
mod settings;
mod start;
mod train;

pub use batch::{Batch, HostBatch};
pub use checkpoint::Checkpoint;
pub use device::{DeviceSpec, WithBackend};
pub use dropout::DropoutKey;
pub use error::{Error, Result};
pub use evaluate::{EvaluateOptions, Evaluation, evaluate, evaluate_checkpoint};
pub use loader::LoaderOptions;
pub use loss::{Losses, losses};
pub use metrics::{Means, StepMetrics};
pub use model::{Activation, Bert, BertConfig, PretrainingOutput, load_named_tensors, named_tensors};
pub use optimizer::{AdamConfig, Gradients, Optimizer, OptimizerKind};
pub use predict::{Prediction, fill_masks};
pub use schedule::Schedule;
pub use settings::{DataSettings, ModelSettings, RunSettings, TrainSettings};
pub use train::{Event, Outcome, train};
