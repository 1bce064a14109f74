//! Gradients by hand, for any backend: each operation saves what its backward pass needs and nothing else.

use std::fmt::Debug;
use std::marker::PhantomData;

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::tensor::ops::FloatTensor;
use burn::tensor::{Int, Tensor, TensorPrimitive};

use super::{Activation, AttentionShape, CrossEntropy, Dropout, Kernels, generic};

/// What an operation with `N` inputs keeps for its backward pass.
trait Saved<B: Kernels, const N: usize>: Clone + Debug + Send + 'static {
    /// The gradients of the inputs, from that of the output.
    fn gradients(self, grad: FloatTensor<B>) -> [FloatTensor<B>; N];
}

/// A [`Saved`] as Burn's backward step.
#[derive(Debug)]
struct Step<S>(PhantomData<S>);

impl<B: Kernels, S: Saved<B, N>, const N: usize> Backward<B, N> for Step<S> {
    type State = S;

    fn backward(self, ops: Ops<S, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<B>(&ops.node);
        for (parent, grad) in ops.parents.into_iter().zip(ops.state.gradients(grad)) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

/// Runs an operation on the inner backend and puts it on the tape.
fn record<B: Kernels, C: CheckpointStrategy, S: Saved<B, N>, const N: usize>(
    inputs: [FloatTensor<Autodiff<B, C>>; N],
    operation: impl FnOnce([FloatTensor<B>; N]) -> (FloatTensor<B>, S),
) -> FloatTensor<Autodiff<B, C>> {
    let nodes = inputs.each_ref().map(|input| input.node.clone());
    // Inputs stay alive on the tape, but their values may be overwritten in place by the operation.
    let _alive = inputs.each_ref().map(|input| input.rc.clone());
    let (output, saved) = operation(inputs.map(|input| input.primitive));
    match Step(PhantomData).prepare::<C>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(saved, output),
        OpsKind::UnTracked(prep) => prep.finish(output),
    }
}

fn wrap<B: Kernels, const D: usize>(primitive: FloatTensor<B>) -> Tensor<B, D> {
    Tensor::from_primitive(TensorPrimitive::Float(primitive))
}

fn unwrap<B: Kernels, const D: usize>(tensor: Tensor<B, D>) -> FloatTensor<B> {
    tensor.into_primitive().tensor()
}

/// An integer tensor of the inner backend, which has the same representation.
fn inner<B: Kernels, C: CheckpointStrategy>(tensor: Tensor<Autodiff<B, C>, 1, Int>) -> Tensor<B, 1, Int> {
    Tensor::from_primitive(tensor.into_primitive())
}

#[derive(Clone, Debug)]
struct Affine<B: Kernels> {
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
}

impl<B: Kernels> Saved<B, 3> for Affine<B> {
    fn gradients(self, grad: FloatTensor<B>) -> [FloatTensor<B>; 3] {
        let (x, weight, bias) = B::affine_backward(self.x, self.weight, wrap(grad));
        [unwrap(x), unwrap(weight), unwrap(bias)]
    }
}

#[derive(Clone, Debug)]
struct Activate<B: Kernels> {
    x: Tensor<B, 2>,
    kind: Activation,
}

impl<B: Kernels> Saved<B, 1> for Activate<B> {
    fn gradients(self, grad: FloatTensor<B>) -> [FloatTensor<B>; 1] {
        [unwrap(B::activation_backward(self.x, wrap(grad), self.kind))]
    }
}

#[derive(Clone, Debug)]
struct LayerNormalize<B: Kernels> {
    x: Tensor<B, 2>,
    weight: Tensor<B, 1>,
    epsilon: f64,
}

impl<B: Kernels> Saved<B, 3> for LayerNormalize<B> {
    fn gradients(self, grad: FloatTensor<B>) -> [FloatTensor<B>; 3] {
        let (x, weight, bias) = B::layer_normalize_backward(self.x, self.weight, wrap(grad), self.epsilon);
        [unwrap(x), unwrap(weight), unwrap(bias)]
    }
}

impl<B: Kernels> Saved<B, 1> for Dropout {
    fn gradients(self, grad: FloatTensor<B>) -> [FloatTensor<B>; 1] {
        [unwrap(B::dropout(wrap(grad), &self))]
    }
}

#[derive(Clone, Debug)]
struct SelectRows<B: Kernels> {
    indices: Tensor<B, 1, Int>,
    rows: usize,
}

impl<B: Kernels> Saved<B, 1> for SelectRows<B> {
    fn gradients(self, grad: FloatTensor<B>) -> [FloatTensor<B>; 1] {
        [unwrap(B::select_rows_backward(wrap(grad), self.indices, self.rows))]
    }
}

#[derive(Clone, Debug)]
struct Embed<B: Kernels> {
    input_ids: Tensor<B, 1, Int>,
    segment_ids: Tensor<B, 1, Int>,
    length: usize,
    /// Rows of the three tables.
    rows: [usize; 3],
}

impl<B: Kernels> Saved<B, 3> for Embed<B> {
    fn gradients(self, grad: FloatTensor<B>) -> [FloatTensor<B>; 3] {
        let grad: Tensor<B, 2> = wrap(grad);
        let [tokens, channels] = grad.dims();
        let [words, positions, segments] = self.rows;
        let of_positions =
            B::column_sums(grad.clone().reshape([tokens / self.length, self.length * channels]))
                .reshape([self.length, channels]);
        let of_positions = if positions == self.length {
            of_positions
        } else {
            let unused = Tensor::zeros([positions - self.length, channels], &grad.device());
            Tensor::cat(vec![of_positions, unused], 0)
        };
        [
            unwrap(B::select_rows_backward(grad.clone(), self.input_ids, words)),
            unwrap(of_positions),
            unwrap(B::select_rows_backward(grad, self.segment_ids, segments)),
        ]
    }
}

#[derive(Clone, Debug)]
struct SelfAttention<B: Kernels> {
    queries_keys_values: Tensor<B, 2>,
    /// Before dropout.
    probabilities: Tensor<B, 2>,
    shape: AttentionShape,
    dropout: Option<Dropout>,
}

impl<B: Kernels> Saved<B, 1> for SelfAttention<B> {
    fn gradients(self, grad: FloatTensor<B>) -> [FloatTensor<B>; 1] {
        let AttentionShape { rows, length, heads, head_size } = self.shape;
        let drop = |x: Tensor<B, 2>| match &self.dropout {
            Some(dropout) => B::dropout(x, dropout),
            None => x,
        };
        let square = |x: Tensor<B, 2>| x.reshape([rows, heads, length, length]);
        let [queries, keys, values] = generic::split_heads(self.queries_keys_values, self.shape);
        let grad: Tensor<B, 4> = wrap::<B, 2>(grad).reshape([rows, length, heads, head_size]).swap_dims(1, 2);

        let kept = square(drop(self.probabilities.clone()));
        let grad_values = kept.swap_dims(2, 3).matmul(grad.clone());
        let grad_kept = grad.matmul(values.swap_dims(2, 3)).reshape([rows * heads * length, length]);
        let grad_scores =
            square(B::attention_softmax_backward(self.probabilities, drop(grad_kept), self.shape));
        let grad_queries = grad_scores.clone().matmul(keys);
        let grad_keys = grad_scores.swap_dims(2, 3).matmul(queries);
        [unwrap(B::merge_heads(vec![grad_queries, grad_keys, grad_values]))]
    }
}

#[derive(Clone, Debug)]
struct Classify<B: Kernels> {
    logits: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
    weights: Tensor<B, 1>,
    log_normalizers: Tensor<B, 1>,
}

impl<B: Kernels> Saved<B, 1> for Classify<B> {
    fn gradients(self, grad: FloatTensor<B>) -> [FloatTensor<B>; 1] {
        let Self { logits, labels, weights, log_normalizers } = self;
        [unwrap(B::cross_entropy_backward(logits, labels, weights * wrap(grad), log_normalizers))]
    }
}

impl<B: Kernels, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn affine(x: Tensor<Self, 2>, weight: Tensor<Self, 2>, bias: Tensor<Self, 1>) -> Tensor<Self, 2> {
        wrap(record::<B, C, _, 3>([unwrap(x), unwrap(weight), unwrap(bias)], |[x, weight, bias]| {
            let (x, weight) = (wrap(x), wrap(weight));
            let output = B::affine(x.clone(), weight.clone(), wrap(bias));
            (unwrap(output), Affine { x, weight })
        }))
    }

    fn activation(x: Tensor<Self, 2>, kind: Activation) -> Tensor<Self, 2> {
        wrap(record::<B, C, _, 1>([unwrap(x)], |[x]| {
            let x = wrap(x);
            (unwrap(B::activation(x.clone(), kind)), Activate { x, kind })
        }))
    }

    fn layer_normalize(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        epsilon: f64,
    ) -> Tensor<Self, 2> {
        wrap(record::<B, C, _, 3>([unwrap(x), unwrap(weight), unwrap(bias)], |[x, weight, bias]| {
            let (x, weight) = (wrap(x), wrap(weight));
            let output = B::layer_normalize(x.clone(), weight.clone(), wrap(bias), epsilon);
            (unwrap(output), LayerNormalize { x, weight, epsilon })
        }))
    }

    fn dropout(x: Tensor<Self, 2>, dropout: &Dropout) -> Tensor<Self, 2> {
        wrap(record::<B, C, _, 1>([unwrap(x)], |[x]| (unwrap(B::dropout(wrap(x), dropout)), dropout.clone())))
    }

    fn embeddings(
        words: Tensor<Self, 2>,
        positions: Tensor<Self, 2>,
        segments: Tensor<Self, 2>,
        input_ids: Tensor<Self, 1, Int>,
        segment_ids: Tensor<Self, 1, Int>,
        length: usize,
    ) -> Tensor<Self, 2> {
        let rows = [&words, &positions, &segments].map(|table| table.dims()[0]);
        let (input_ids, segment_ids) = (inner(input_ids), inner(segment_ids));
        let tables = [unwrap(words), unwrap(positions), unwrap(segments)];
        wrap(record::<B, C, _, 3>(tables, |[words, positions, segments]| {
            let (words, positions, segments) = (wrap(words), wrap(positions), wrap(segments));
            let sum =
                B::embeddings(words, positions, segments, input_ids.clone(), segment_ids.clone(), length);
            (unwrap(sum), Embed { input_ids, segment_ids, length, rows })
        }))
    }

    fn select_rows(table: Tensor<Self, 2>, indices: Tensor<Self, 1, Int>) -> Tensor<Self, 2> {
        let rows = table.dims()[0];
        let indices = inner(indices);
        wrap(record::<B, C, _, 1>([unwrap(table)], |[table]| {
            (unwrap(B::select_rows(wrap(table), indices.clone())), SelectRows { indices, rows })
        }))
    }

    fn self_attention(
        queries_keys_values: Tensor<Self, 2>,
        lengths: Tensor<Self, 1, Int>,
        shape: AttentionShape,
        dropout: Option<&Dropout>,
    ) -> Tensor<Self, 2> {
        let lengths = inner(lengths);
        wrap(record::<B, C, _, 1>([unwrap(queries_keys_values)], |[x]| {
            let queries_keys_values: Tensor<B, 2> = wrap(x);
            let (context, probabilities) =
                generic::self_attention(queries_keys_values.clone(), lengths, shape, dropout);
            let dropout = dropout.cloned();
            (unwrap(context), SelfAttention { queries_keys_values, probabilities, shape, dropout })
        }))
    }

    fn cross_entropy(
        logits: Tensor<Self, 2>,
        labels: Tensor<Self, 1, Int>,
        weights: Tensor<Self, 1>,
    ) -> CrossEntropy<Self> {
        let (labels, weights) = (inner(labels), wrap(unwrap(weights).primitive));
        let mut rest = None;
        let loss = record::<B, C, _, 1>([unwrap(logits)], |[logits]| {
            let logits: Tensor<B, 2> = wrap(logits);
            let CrossEntropy { loss, correct, log_normalizers } =
                B::cross_entropy(logits.clone(), labels.clone(), weights.clone());
            rest = Some((correct, log_normalizers.clone()));
            (unwrap(loss), Classify { logits, labels, weights, log_normalizers })
        });
        let (correct, log_normalizers) = rest.expect("the operation ran");
        CrossEntropy {
            loss: wrap(loss),
            correct: Tensor::from_inner(correct),
            log_normalizers: Tensor::from_inner(log_normalizers),
        }
    }
}
