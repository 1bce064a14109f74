//! The operations in terms of Burn's tensor operations: any backend, with or without automatic gradients.

use burn::tensor::activation::softmax;
use burn::tensor::{Bool, ElementConversion, IndexingUpdateOp, Int, Tensor};

use super::{Activation, AdamStep, AttentionShape, CrossEntropy, Kernels};
use crate::dropout::{BLOCK, Dropout, LOWBIAS};

/// `sqrt(2 / pi)` and the cubic coefficient of the tanh approximation (Hendrycks and Gimpel 2016).
pub(crate) const TANH_GELU: (f32, f32) = (0.797_884_6, 0.044_715);

pub(crate) fn affine<B: Kernels>(x: Tensor<B, 2>, weight: Tensor<B, 2>, bias: Tensor<B, 1>) -> Tensor<B, 2> {
    x.matmul(weight.transpose()) + bias.unsqueeze()
}

pub(crate) fn affine_backward<B: Kernels>(
    x: Tensor<B, 2>,
    weight: Tensor<B, 2>,
    grad: Tensor<B, 2>,
) -> (Tensor<B, 2>, Tensor<B, 2>, Tensor<B, 1>) {
    let grad_bias = B::column_sums(grad.clone());
    let grad_weight = grad.clone().transpose().matmul(x);
    (grad.matmul(weight), grad_weight, grad_bias)
}

pub(crate) fn activation<B: Kernels>(x: Tensor<B, 2>, kind: Activation) -> Tensor<B, 2> {
    // Composed: `activation::gelu` has the tanh approximation's gradient on Burn's GPU backends.
    let gate = match kind {
        Activation::Gelu => (x.clone() * std::f32::consts::FRAC_1_SQRT_2).erf(),
        Activation::GeluTanh => tanh_argument(x.clone()).tanh(),
    };
    x * (gate + 1.0) * 0.5
}

pub(crate) fn activation_backward<B: Kernels>(
    x: Tensor<B, 2>,
    grad: Tensor<B, 2>,
    kind: Activation,
) -> Tensor<B, 2> {
    let slope = match kind {
        Activation::Gelu => {
            let cumulative = ((x.clone() * std::f32::consts::FRAC_1_SQRT_2).erf() + 1.0) * 0.5;
            let density = (x.clone().square() * -0.5).exp()
                * (std::f32::consts::FRAC_2_SQRT_PI * std::f32::consts::FRAC_1_SQRT_2 * 0.5);
            cumulative + x * density
        }
        Activation::GeluTanh => {
            let tanh = tanh_argument(x.clone()).tanh();
            let inner = (x.clone().square() * (3.0 * TANH_GELU.1) + 1.0) * TANH_GELU.0;
            (tanh.clone() + 1.0) * 0.5 + x * 0.5 * (-tanh.square() + 1.0) * inner
        }
    };
    grad * slope
}

fn tanh_argument<B: Kernels>(x: Tensor<B, 2>) -> Tensor<B, 2> {
    (x.clone() + x.powi_scalar(3) * TANH_GELU.1) * TANH_GELU.0
}

pub(crate) fn layer_normalize<B: Kernels>(
    x: Tensor<B, 2>,
    weight: Tensor<B, 1>,
    bias: Tensor<B, 1>,
    epsilon: f64,
) -> Tensor<B, 2> {
    normalise(x, epsilon).0 * weight.unsqueeze() + bias.unsqueeze()
}

pub(crate) fn layer_normalize_backward<B: Kernels>(
    x: Tensor<B, 2>,
    weight: Tensor<B, 1>,
    grad: Tensor<B, 2>,
    epsilon: f64,
) -> (Tensor<B, 2>, Tensor<B, 1>, Tensor<B, 1>) {
    let (normal, scale) = normalise(x, epsilon);
    let grad_bias = column_sums(grad.clone());
    let grad_weight = column_sums(grad.clone() * normal.clone());
    let grad_normal = grad * weight.unsqueeze();
    let projection = (grad_normal.clone() * normal.clone()).mean_dim(1);
    let grad_x = (grad_normal.clone() - grad_normal.mean_dim(1) - normal * projection) * scale;
    (grad_x, grad_weight, grad_bias)
}

/// `(x - mean) / sqrt(variance + epsilon)`, and the factor.
fn normalise<B: Kernels>(x: Tensor<B, 2>, epsilon: f64) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let centred = x.clone() - x.mean_dim(1);
    let scale = (centred.clone().square().mean_dim(1) + epsilon).sqrt().recip();
    (centred * scale.clone(), scale)
}

pub(crate) fn dropout<B: Kernels>(x: Tensor<B, 2>, dropout: &Dropout) -> Tensor<B, 2> {
    let [_, channels] = x.dims();
    let keep = keep_mask::<B>(dropout, channels, &x.device());
    x * keep.float() * dropout.scale()
}

/// The kept elements, `[lines, channels]`: the hashes of [`crate::dropout`], on the device.
fn keep_mask<B: Kernels>(dropout: &Dropout, channels: usize, device: &B::Device) -> Tensor<B, 2, Bool> {
    let lines = dropout.lines();
    let upload = |values: Vec<i32>| Tensor::<B, 1, Int>::from_data(values.as_slice(), device);
    let examples = upload(dropout.examples().iter().map(|&example| example as i32).collect());
    let coordinates = upload(dropout.coordinates().map(|coordinate| coordinate as i32).collect());
    let column = |word: u32| {
        let examples: Tensor<B, 2, Int> = (examples.clone() + word as i32).unsqueeze_dim(1);
        let key = lowbias(lowbias(examples).bitwise_xor(coordinates.clone().unsqueeze()));
        key.reshape([lines, 1])
    };
    let [first, second] = dropout.key().map(column);
    let blocks = channels.div_ceil(BLOCK);
    let hashes = blocks * BLOCK / 2;
    let index = Tensor::<B, 1, Int>::arange(0..hashes as i64, device).unsqueeze();
    let hash = lowbias(lowbias(first + index).bitwise_xor(second));
    let hash: Tensor<B, 3, Int> = hash.reshape([lines, blocks, BLOCK / 2]);
    let low = hash.clone().bitwise_and_scalar(0xffff.elem());
    let high = logical_shift(hash, 16);
    let bits: Tensor<B, 2, Int> = Tensor::cat(vec![low, high], 2).reshape([lines, blocks * BLOCK]);
    bits.slice([0..lines, 0..channels]).greater_equal_elem(dropout.threshold() as i32)
}

fn lowbias<B: Kernels>(mut x: Tensor<B, 2, Int>) -> Tensor<B, 2, Int> {
    for (shift, multiplier) in LOWBIAS {
        x = x.clone().bitwise_xor(logical_shift(x, shift)) * (multiplier as i32);
    }
    x.clone().bitwise_xor(logical_shift(x, 15))
}

/// Integers are signed here: clears the copies of the sign bit.
fn logical_shift<B: Kernels, const D: usize>(x: Tensor<B, D, Int>, bits: u32) -> Tensor<B, D, Int> {
    x.bitwise_right_shift_scalar(bits.elem()).bitwise_and_scalar((u32::MAX >> bits).elem())
}

pub(crate) fn embeddings<B: Kernels>(
    words: Tensor<B, 2>,
    positions: Tensor<B, 2>,
    segments: Tensor<B, 2>,
    input_ids: Tensor<B, 1, Int>,
    segment_ids: Tensor<B, 1, Int>,
    length: usize,
) -> Tensor<B, 2> {
    let [tokens] = input_ids.dims();
    let [_, channels] = words.dims();
    let sum = B::select_rows(words, input_ids) + B::select_rows(segments, segment_ids);
    let sum: Tensor<B, 3> = sum.reshape([tokens / length, length, channels]);
    (sum + positions.slice([0..length, 0..channels]).unsqueeze()).reshape([tokens, channels])
}

pub(crate) fn select_rows<B: Kernels>(table: Tensor<B, 2>, indices: Tensor<B, 1, Int>) -> Tensor<B, 2> {
    table.select(0, indices)
}

pub(crate) fn select_rows_backward<B: Kernels>(
    grad: Tensor<B, 2>,
    indices: Tensor<B, 1, Int>,
    rows: usize,
) -> Tensor<B, 2> {
    let [_, channels] = grad.dims();
    Tensor::zeros([rows, channels], &grad.device()).select_assign(0, indices, grad, IndexingUpdateOp::Add)
}

/// The context and the probabilities before dropout, `[rows * heads * length, length]`.
pub(crate) fn self_attention<B: Kernels>(
    queries_keys_values: Tensor<B, 2>,
    lengths: Tensor<B, 1, Int>,
    shape: AttentionShape,
    dropout: Option<&Dropout>,
) -> (Tensor<B, 2>, Tensor<B, 2>) {
    let AttentionShape { rows, length, heads, .. } = shape;
    let [queries, keys, values] = split_heads(queries_keys_values, shape);
    let scores = queries.matmul(keys.swap_dims(2, 3)).reshape([rows * heads * length, length]);
    let probabilities = B::attention_softmax(scores, lengths, shape);
    let kept = match dropout {
        Some(dropout) => B::dropout(probabilities.clone(), dropout),
        None => probabilities.clone(),
    };
    let context = kept.reshape([rows, heads, length, length]).matmul(values);
    (B::merge_heads(vec![context]), probabilities)
}

/// Views of queries, keys and values, `[rows, heads, length, head_size]` each.
pub(crate) fn split_heads<B: Kernels>(
    queries_keys_values: Tensor<B, 2>,
    shape: AttentionShape,
) -> [Tensor<B, 4>; 3] {
    let AttentionShape { rows, length, heads, head_size } = shape;
    let split: Tensor<B, 5> = queries_keys_values.reshape([rows, length, 3, heads, head_size]);
    [0, 1, 2].map(|part| split.clone().narrow(2, part, 1).squeeze_dim::<4>(2).swap_dims(1, 2))
}

pub(crate) fn merge_heads<B: Kernels>(parts: Vec<Tensor<B, 4>>) -> Tensor<B, 2> {
    let count = parts.len();
    let [rows, heads, length, head_size] = parts[0].dims();
    let stacked: Tensor<B, 5> = Tensor::stack(parts, 0);
    stacked.permute([1, 3, 0, 2, 4]).reshape([rows * length, count * heads * head_size])
}

pub(crate) fn attention_softmax<B: Kernels>(
    scores: Tensor<B, 2>,
    lengths: Tensor<B, 1, Int>,
    shape: AttentionShape,
) -> Tensor<B, 2> {
    let AttentionShape { rows, length, heads, head_size } = shape;
    let positions: Tensor<B, 2, Int> = Tensor::arange(0..length as i64, &scores.device()).unsqueeze();
    let padding: Tensor<B, 2, Bool> =
        positions.expand([rows, length]).greater_equal(lengths.reshape([rows, 1]).expand([rows, length]));
    // Low enough for an exact zero after the exponential, whatever the other scores.
    let mask = padding.float() * -1e9;
    let scores: Tensor<B, 3> = scores.reshape([rows, heads * length, length]);
    let scores = scores / (head_size as f64).sqrt() + mask.reshape([rows, 1, length]);
    softmax(scores, 2).reshape([rows * heads * length, length])
}

pub(crate) fn attention_softmax_backward<B: Kernels>(
    probabilities: Tensor<B, 2>,
    grad: Tensor<B, 2>,
    shape: AttentionShape,
) -> Tensor<B, 2> {
    let mean = (probabilities.clone() * grad.clone()).sum_dim(1);
    probabilities * (grad - mean) / (shape.head_size as f64).sqrt()
}

pub(crate) fn cross_entropy<B: Kernels>(
    logits: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
    weights: Tensor<B, 1>,
) -> CrossEntropy<B> {
    let [rows, _] = logits.dims();
    let largest = logits.clone().max_dim(1);
    let log_normalizers =
        ((logits.clone() - largest.clone()).exp().sum_dim(1).log() + largest.clone()).reshape([rows]);
    let of_labels = logits.gather(1, labels.reshape([rows, 1])).reshape([rows]);
    CrossEntropy {
        loss: ((log_normalizers.clone() - of_labels.clone()) * weights.clone()).sum(),
        correct: (of_labels.greater_equal(largest.reshape([rows])).float() * weights).sum(),
        log_normalizers,
    }
}

pub(crate) fn cross_entropy_backward<B: Kernels>(
    logits: Tensor<B, 2>,
    labels: Tensor<B, 1, Int>,
    weights: Tensor<B, 1>,
    log_normalizers: Tensor<B, 1>,
) -> Tensor<B, 2> {
    let [rows, classes] = logits.dims();
    let index: Tensor<B, 2, Int> = Tensor::arange(0..classes as i64, &logits.device()).unsqueeze();
    let target = index.expand([rows, classes]).equal(labels.reshape([rows, 1]).expand([rows, classes]));
    ((logits - log_normalizers.reshape([rows, 1])).exp() - target.float()) * weights.reshape([rows, 1])
}

pub(crate) fn column_sums<B: Kernels>(x: Tensor<B, 2>) -> Tensor<B, 1> {
    x.sum_dim(0).squeeze_dim(0)
}

pub(crate) fn sum_of_squares<B: Kernels>(x: Tensor<B, 1>) -> Tensor<B, 1> {
    x.square().sum()
}

pub(crate) fn adam<B: Kernels>(
    (parameter, first, second): (Tensor<B, 1>, Tensor<B, 1>, Tensor<B, 1>),
    grad: Tensor<B, 1>,
    scale: Tensor<B, 1>,
    step: &AdamStep,
) -> (Tensor<B, 1>, Tensor<B, 1>, Tensor<B, 1>) {
    // An infinite or undefined norm makes `scale * 0` undefined.
    let finite = (scale.clone() * 0.0).equal_elem(0.0);
    let skip = finite.bool_not().expand(parameter.dims());
    let grad = grad * scale;
    let new_first = first.clone() * step.beta_1 + grad.clone() * (1.0 - step.beta_1);
    let new_second = second.clone() * step.beta_2 + grad.square() * (1.0 - step.beta_2);
    let direction = new_first.clone()
        / step.correction_1
        / ((new_second.clone() / step.correction_2).sqrt() + step.epsilon)
        + parameter.clone() * step.weight_decay;
    let new_parameter = parameter.clone() - direction * step.learning_rate;
    (
        new_parameter.mask_where(skip.clone(), parameter),
        new_first.mask_where(skip.clone(), first),
        new_second.mask_where(skip, second),
    )
}
