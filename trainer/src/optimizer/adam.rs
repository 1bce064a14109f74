//! Adam (Kingma and Ba 2015) with decoupled weight decay (Loshchilov and Hutter 2019), in two variants: with
//! bias correction, and without it as in google-research/bert `optimization.py`.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::clip::{clip_factor, global_norm};
use super::gradients::Gradients;
use crate::error::Result;
use crate::kernels::{AdamStep, Kernels, TrainBackend};
use crate::model::Bert;
use crate::model::parameters::{Path, check_known, from_files, shapes, to_files};

/// The variant of Adam.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OptimizerKind {
    /// With bias correction.
    #[default]
    #[serde(rename = "adamw")]
    AdamW,
    /// Google's: without bias correction.
    BertAdam,
}

/// Adam's constants; the learning rate comes from the schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// The variant.
    pub kind: OptimizerKind,
    /// Decay of the first moment.
    pub beta_1: f64,
    /// Decay of the second moment.
    pub beta_2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decay of weight matrices and embeddings; biases and layer normalisation never decay.
    pub weight_decay: f64,
    /// Limit of the global gradient norm; none leaves gradients as they are.
    pub clip_norm: Option<f64>,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::AdamW,
            beta_1: 0.9,
            beta_2: 0.999,
            epsilon: 1e-6,
            weight_decay: 0.01,
            clip_norm: Some(1.0),
        }
    }
}

/// Adam's state for every parameter of a model.
#[derive(Clone, Debug)]
pub struct Optimizer<B: TrainBackend> {
    config: AdamConfig,
    /// Keyed by the parameter's path.
    moments: BTreeMap<String, Moments<B::InnerBackend>>,
}

/// The moments of one parameter's gradient, flattened.
#[derive(Clone, Debug)]
struct Moments<B: Kernels> {
    /// The parameter's shape.
    shape: Vec<usize>,
    first: Tensor<B, 1>,
    second: Tensor<B, 1>,
}

/// Prefixes of the moments' names in files: PyTorch's words.
const PREFIXES: [&str; 2] = ["exp_avg.", "exp_avg_sq."];

impl<B: TrainBackend> Optimizer<B> {
    /// An optimizer for a model, its moments all 0.
    pub fn new(config: AdamConfig, model: &Bert<B>, device: &B::Device) -> Self {
        let moments = shapes(model).into_iter().map(|(path, shape)| {
            let zeros = || Tensor::zeros([shape.iter().product::<usize>()], device);
            let (first, second) = (zeros(), zeros());
            (path, Moments { shape, first, second })
        });
        Self { config, moments: moments.collect() }
    }

    /// Clips the gradients and updates the model. `step` counts updates from 1, this one included. Returns
    /// the model and the gradients' norm before clipping, `[1]`, still on the device; where that is not
    /// finite, model and moments stay as they were.
    pub fn update(
        &mut self,
        model: Bert<B>,
        gradients: Gradients<B>,
        step: u64,
        learning_rate: f64,
    ) -> (Bert<B>, Tensor<B::InnerBackend, 1>) {
        let norm = global_norm(&gradients);
        let AdamConfig { kind, beta_1, beta_2, .. } = self.config;
        let correction = |beta: f64| match kind {
            OptimizerKind::AdamW => 1.0 - beta.powf(step as f64),
            OptimizerKind::BertAdam => 1.0,
        };
        let mut update = Update {
            path: Path::default(),
            gradients,
            scale: clip_factor(norm.clone(), self.config.clip_norm),
            moments: &mut self.moments,
            step: AdamStep {
                beta_1: beta_1 as f32,
                beta_2: beta_2 as f32,
                epsilon: self.config.epsilon as f32,
                learning_rate: learning_rate as f32,
                weight_decay: self.config.weight_decay as f32,
                correction_1: correction(beta_1) as f32,
                correction_2: correction(beta_2) as f32,
            },
        };
        (model.map(&mut update), norm)
    }

    /// The moments under the parameters' names in files, prefixed by `exp_avg.` and `exp_avg_sq.`, sorted by
    /// name.
    pub fn named_tensors(&self) -> Vec<(String, TensorData)> {
        let mut tensors = Vec::new();
        for (path, Moments { shape, first, second }) in &self.moments {
            for (prefix, moment) in PREFIXES.iter().zip([first, second]) {
                let mut data = moment.clone().into_data();
                data.shape = shape.clone().into();
                tensors.extend(to_files(prefix, path, &data));
            }
        }
        tensors.sort_by(|a, b| a.0.cmp(&b.0));
        tensors
    }

    /// Replaces the moments by those that [`Optimizer::named_tensors`] returned for a model of this shape.
    ///
    /// A missing, superfluous or mis-shaped tensor is an error that names it, and the moments are then
    /// unusable.
    pub fn load_named_tensors(
        &mut self,
        tensors: &BTreeMap<String, TensorData>,
        device: &B::Device,
    ) -> Result<()> {
        check_known(&PREFIXES, self.moments.keys(), tensors)?;
        for (path, Moments { shape, first, second }) in &mut self.moments {
            for (prefix, moment) in PREFIXES.iter().zip([first, second]) {
                let mut data = from_files(prefix, path, shape, tensors)?;
                data.shape = [data.num_elements()].into();
                *moment = Tensor::from_data(data, device);
            }
        }
        Ok(())
    }
}

struct Update<'a, B: TrainBackend> {
    path: Path,
    gradients: Gradients<B>,
    scale: Tensor<B::InnerBackend, 1>,
    moments: &'a mut BTreeMap<String, Moments<B::InnerBackend>>,
    step: AdamStep,
}

impl<B: TrainBackend> ModuleMapper<B> for Update<'_, B> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
        let path = self.path.name();
        let Some(gradient) = self.gradients.0.remove(&path) else { return param };
        // Taken out and put back, so that the kernel may overwrite them in place.
        let Some(Moments { shape, first, second }) = self.moments.remove(&path) else { return param };
        let decays = D > 1; // vectors are biases and layer normalisation
        let step = AdamStep { weight_decay: if decays { self.step.weight_decay } else { 0.0 }, ..self.step };
        param.map(|tensor| {
            let dims = tensor.dims();
            let state = (tensor.inner().flatten(0, D - 1), first, second);
            let (tensor, first, second) = B::InnerBackend::adam(state, gradient, self.scale.clone(), &step);
            self.moments.insert(path, Moments { shape, first, second });
            Tensor::from_inner(tensor.reshape(dims)).require_grad()
        })
    }
}
