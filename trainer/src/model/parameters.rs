//! Parameters by name: paths within the model, Hugging Face's names in files, and the way between them.
//!
//! A path (`bert.encoder.layer.0.attention.query_key_value.weight`) keys gradients and optimizer state; in
//! files, each path becomes one tensor or, for the fused product of queries, keys and values, three of equal
//! size, split along the first dimension.

use std::collections::{BTreeMap, BTreeSet};

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::backend::Backend;
use burn::tensor::{DType, Tensor, TensorData};

use super::Bert;
use crate::error::{Error, Result};

/// Where a walk over a module stands.
#[derive(Debug, Default)]
pub(crate) struct Path(Vec<String>);

impl Path {
    pub(crate) fn enter(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    pub(crate) fn exit(&mut self) {
        self.0.pop();
    }

    /// The parts, joined by dots.
    pub(crate) fn name(&self) -> String {
        self.0.join(".")
    }
}

/// The names of a parameter in files, in the order of their rows.
fn file_names(path: &str) -> Vec<String> {
    let name = path.replace("layer_norm", "LayerNorm").replace(".intermediate.", ".intermediate.dense.");
    if ["word", "position", "token_type"].iter().any(|table| name.ends_with(&format!("embeddings.{table}"))) {
        return vec![format!("{name}_embeddings.weight")];
    }
    match name.split_once("query_key_value") {
        Some((before, after)) => {
            ["query", "key", "value"].map(|part| format!("{before}self.{part}{after}")).into()
        }
        None => vec![name],
    }
}

/// Splits a parameter, its gradient or its optimizer state into the tensors of a file, each name prefixed.
pub(crate) fn to_files(prefix: &str, path: &str, data: &TensorData) -> Vec<(String, TensorData)> {
    let names = file_names(path);
    let mut shape = data.shape.to_vec();
    shape[0] /= names.len();
    let size: usize = shape.iter().product();
    let values = data.as_slice::<f32>().expect("parameters are f32");
    let parts = values.chunks_exact(size).map(|part| TensorData::new(part.to_vec(), shape.clone()));
    names.into_iter().map(|name| format!("{prefix}{name}")).zip(parts).collect()
}

/// Takes what [`to_files`] made of a parameter of the given shape out of `tensors`.
///
/// A missing tensor, another shape and another element type are errors that name the tensor.
pub(crate) fn from_files(
    prefix: &str,
    path: &str,
    shape: &[usize],
    tensors: &BTreeMap<String, TensorData>,
) -> Result<TensorData> {
    let names = file_names(path);
    let mut part = shape.to_vec();
    part[0] /= names.len();
    let mut values = Vec::with_capacity(shape.iter().product());
    for name in names {
        let name = format!("{prefix}{name}");
        let Some(data) = tensors.get(&name) else {
            return Err(Error::Tensor {
                name,
                message: "missing; is this a checkpoint of another model?".into(),
            });
        };
        if data.shape.to_vec() != part {
            let message = format!("has shape {:?}, but the model needs {part:?}", data.shape.to_vec());
            return Err(Error::Tensor { name, message });
        }
        if data.dtype != DType::F32 {
            let message = format!("has elements of type {:?}, but F32 is needed", data.dtype);
            return Err(Error::Tensor { name, message });
        }
        values.extend_from_slice(data.as_slice::<f32>().expect("checked above"));
    }
    Ok(TensorData::new(values, shape.to_vec()))
}

/// Paths and shapes of all parameters.
pub(crate) fn shapes<B: Backend>(model: &Bert<B>) -> Vec<(String, Vec<usize>)> {
    struct Shapes(Path, Vec<(String, Vec<usize>)>);
    impl<B: Backend> ModuleVisitor<B> for Shapes {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.enter(name);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.1.push((self.0.name(), param.dims().to_vec()));
        }
    }
    let mut shapes = Shapes(Path::default(), Vec::new());
    model.visit(&mut shapes);
    shapes.1
}

/// Checks that every tensor belongs to one of the parameters under one of the prefixes.
pub(crate) fn check_known<'a>(
    prefixes: &[&str],
    paths: impl Iterator<Item = &'a String>,
    tensors: &BTreeMap<String, TensorData>,
) -> Result<()> {
    let names: BTreeSet<String> = paths.flat_map(|path| file_names(path)).collect();
    let known = |name: &str| {
        prefixes.iter().any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| names.contains(rest)))
    };
    match tensors.keys().find(|name| !known(name)) {
        Some(name) => Err(Error::Tensor {
            name: name.clone(),
            message: "not a tensor of this model; is this a checkpoint of another one?".into(),
        }),
        None => Ok(()),
    }
}

/// All parameters under Hugging Face's names, sorted by name. Linear weights are `[out, in]`. The decoder of
/// the masked-LM head is the word embedding table and has no tensor of its own.
pub fn named_tensors<B: Backend>(model: &Bert<B>) -> Vec<(String, TensorData)> {
    struct Collect(Path, Vec<(String, TensorData)>);
    impl<B: Backend> ModuleVisitor<B> for Collect {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.0.enter(name);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.0.exit();
        }
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<B, D>>) {
            self.1.extend(to_files("", &self.0.name(), &param.val().into_data()));
        }
    }
    let mut collect = Collect(Path::default(), Vec::new());
    model.visit(&mut collect);
    let mut tensors = collect.1;
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    tensors
}

/// The model with its parameters replaced.
///
/// A missing, superfluous or mis-shaped tensor is an error that names it.
pub fn load_named_tensors<B: Backend>(
    model: Bert<B>,
    tensors: &BTreeMap<String, TensorData>,
) -> Result<Bert<B>> {
    struct Load<'a> {
        path: Path,
        tensors: &'a BTreeMap<String, TensorData>,
        error: Option<Error>,
    }
    impl<B: Backend> ModuleMapper<B> for Load<'_> {
        fn enter_module(&mut self, name: &str, _: &str) {
            self.path.enter(name);
        }
        fn exit_module(&mut self, _: &str, _: &str) {
            self.path.exit();
        }
        fn map_float<const D: usize>(&mut self, param: Param<Tensor<B, D>>) -> Param<Tensor<B, D>> {
            if self.error.is_some() {
                return param;
            }
            match from_files("", &self.path.name(), &param.dims(), self.tensors) {
                Ok(data) => param.map(|old| {
                    Tensor::from_data(data, &old.device()).set_require_grad(old.is_require_grad())
                }),
                Err(error) => {
                    self.error = Some(error);
                    param
                }
            }
        }
    }
    let shapes = shapes(&model);
    check_known(&[""], shapes.iter().map(|(path, _)| path), tensors)?;
    let mut load = Load { path: Path::default(), tensors, error: None };
    let model = model.map(&mut load);
    load.error.map_or(Ok(model), Err)
}
