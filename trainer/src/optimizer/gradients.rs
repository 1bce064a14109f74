//! Gradients by parameter, and their sum over micro-batches.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::Tensor;
use burn::tensor::backend::AutodiffBackend;

use crate::kernels::TrainBackend;
use crate::model::Bert;
use crate::model::parameters::Path;

/// The gradient of each parameter, flattened, keyed by the parameter's path. Parameters that the loss does
/// not depend on have none.
#[derive(Clone, Debug)]
pub struct Gradients<B: TrainBackend>(pub(crate) BTreeMap<String, Tensor<B::InnerBackend, 1>>);

impl<B: TrainBackend> Gradients<B> {
    /// The gradients of a loss, `[1]`, with respect to the parameters of the model.
    pub fn backward(loss: &Tensor<B, 1>, model: &Bert<B>) -> Self {
        let mut collect =
            Collect::<B> { path: Path::default(), tape: loss.backward(), gradients: BTreeMap::new() };
        model.visit(&mut collect);
        Self(collect.gradients)
    }

    /// Adds the gradients of another micro-batch.
    #[must_use]
    pub fn accumulate(mut self, other: Self) -> Self {
        for (name, gradient) in other.0 {
            let sum = match self.0.remove(&name) {
                Some(sum) => sum + gradient,
                None => gradient,
            };
            self.0.insert(name, sum);
        }
        self
    }
}

struct Collect<B: TrainBackend> {
    path: Path,
    tape: <B as AutodiffBackend>::Gradients,
    gradients: BTreeMap<String, Tensor<B::InnerBackend, 1>>,
}

impl<B: TrainBackend> ModuleVisitor<B> for Collect<B> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.enter(name);
    }

    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.exit();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
        if let Some(gradient) = param.val().grad_remove(&mut self.tape) {
            self.gradients.insert(self.path.name(), gradient.flatten(0, D - 1));
        }
    }
}
