//! The CPU's loops against the tensor operations, and both against mathematics.

use std::sync::Arc;

use burn::backend::autodiff::Autodiff;
use burn::tensor::{Int, Tensor, TensorData};
use burn_flex::{Flex, FlexDevice};
use cloze_schemas::{KeyedRng, RandomSource};

use super::math::{erf, exp, tanh};
use super::{Activation, AdamStep, AttentionShape, Kernels, generic};
use crate::dropout::{Dropout, DropoutKey, Site};

type Train = Autodiff<Flex>;

const KINDS: [Activation; 2] = [Activation::Gelu, Activation::GeluTanh];

/// Uniform values in -2..2.
fn values(seed: u64, count: usize) -> Vec<f32> {
    let mut rng = KeyedRng::new(seed, "test", &[]);
    (0..count).map(|_| (4.0 * rng.random() - 2.0) as f32).collect()
}

fn random<B: Kernels<Device = FlexDevice>, const D: usize>(seed: u64, shape: [usize; D]) -> Tensor<B, D> {
    Tensor::from_data(TensorData::new(values(seed, shape.iter().product()), shape), &FlexDevice)
}

fn ints<B: Kernels<Device = FlexDevice>>(values: &[i32]) -> Tensor<B, 1, Int> {
    Tensor::from_data(values, &FlexDevice)
}

fn host<B: Kernels, const D: usize>(tensor: Tensor<B, D>) -> Vec<f32> {
    tensor.into_data().into_vec().unwrap()
}

#[track_caller]
fn assert_close<B: Kernels, const D: usize>(left: Tensor<B, D>, right: Tensor<B, D>, tolerance: f32) {
    assert_eq!(left.dims(), right.dims());
    assert_near(&host(left), &host(right), tolerance);
}

#[track_caller]
fn assert_near(left: &[f32], right: &[f32], tolerance: f32) {
    assert_eq!(left.len(), right.len());
    for (index, (left, right)) in left.iter().zip(right).enumerate() {
        assert!(
            (left - right).abs() <= tolerance * (1.0 + right.abs()),
            "element {index}: {left} is not {right} within {tolerance}"
        );
    }
}

fn mask(examples: &[u32], groups: usize, positions: usize) -> Dropout {
    let key = DropoutKey { seed: 3, step: 7 };
    Dropout::new(key, Site::Attention(1), 0.1, &Arc::from(examples), groups, positions).unwrap()
}

/// The error function by its Taylor series, in f64; exact enough below 4.
fn exact_erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * std::f64::consts::FRAC_2_SQRT_PI
}

fn exact_activation(x: f64, kind: Activation) -> f64 {
    match kind {
        Activation::Gelu => 0.5 * x * (1.0 + exact_erf(x * std::f64::consts::FRAC_1_SQRT_2)),
        Activation::GeluTanh => {
            0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044_715 * x.powi(3))).tanh())
        }
    }
}

#[test]
fn elementary_functions_are_accurate() {
    for i in -4000..=4000 {
        let x = i as f32 / 1000.0;
        assert!((f64::from(erf(x)) - exact_erf(f64::from(x))).abs() < 5e-7, "erf({x})");
        assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 5e-7, "tanh({x})");
        let x = x * 20.0;
        let relative = f64::from(exp(x)) / f64::from(x).exp() - 1.0;
        assert!(relative.abs() < 3e-7, "exp({x}): {relative:e}");
    }
    for (x, expected) in [(-1e9, 0.0), (-100.0, 0.0), (0.0, 1.0), (f32::NEG_INFINITY, 0.0)] {
        assert_near(&[exp(x)], &[expected], 0.0);
    }
    assert!(exp(1e9) > 1e38 && exp(f32::NAN).is_nan());
    assert_near(&[tanh(1e9), tanh(-1e9)], &[1.0, -1.0], 0.0);
}

#[test]
fn activation_and_its_gradient_match_finite_differences() {
    for kind in KINDS {
        let inputs: Vec<f32> = (-400..=400).map(|i| i as f32 / 80.0).collect();
        let count = inputs.len();
        let x =
            Tensor::<Train, 1>::from_data(inputs.as_slice(), &FlexDevice).reshape([1, count]).require_grad();
        let y = <Train as Kernels>::activation(x.clone(), kind);
        let gradient = x.grad(&y.clone().sum().backward()).unwrap();
        let (y, gradient) = (host(y.inner()), host(gradient));
        for (i, &x) in inputs.iter().enumerate() {
            let exact = |x| exact_activation(x, kind);
            let x = f64::from(x);
            let slope = (exact(x + 1e-5) - exact(x - 1e-5)) / 2e-5;
            assert!((f64::from(y[i]) - exact(x)).abs() < 2e-6, "{kind:?}({x}) = {}", y[i]);
            assert!((f64::from(gradient[i]) - slope).abs() < 2e-6, "{kind:?}'({x}) = {}", gradient[i]);
        }
    }
}

#[test]
fn layer_norm_gradient_matches_finite_differences() {
    const CHANNELS: usize = 5;
    /// The sum of `layer_norm(x) * direction`, in f64.
    fn objective(parts: &[Vec<f64>; 3], direction: &[f64]) -> f64 {
        let [x, weight, bias] = parts;
        let rows = x.chunks(CHANNELS).zip(direction.chunks(CHANNELS));
        rows.map(|(x, direction)| {
            let mean = x.iter().sum::<f64>() / CHANNELS as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / CHANNELS as f64;
            let scale = 1.0 / (variance + 1e-12).sqrt();
            (0..CHANNELS).map(|c| ((x[c] - mean) * scale * weight[c] + bias[c]) * direction[c]).sum::<f64>()
        })
        .sum()
    }
    let inputs = [values(1, 3 * CHANNELS), values(2, CHANNELS), values(3, CHANNELS)];
    let direction = values(4, 3 * CHANNELS);
    let [x, weight, bias] = &inputs;
    let x = Tensor::<Train, 1>::from_data(x.as_slice(), &FlexDevice).reshape([3, CHANNELS]).require_grad();
    let weight = Tensor::<Train, 1>::from_data(weight.as_slice(), &FlexDevice).require_grad();
    let bias = Tensor::<Train, 1>::from_data(bias.as_slice(), &FlexDevice).require_grad();
    let along = Tensor::<Train, 1>::from_data(direction.as_slice(), &FlexDevice).reshape([3, CHANNELS]);
    let y = <Train as Kernels>::layer_normalize(x.clone(), weight.clone(), bias.clone(), 1e-12);
    let tape = (y * along).sum().backward();
    let gradients =
        [host(x.grad(&tape).unwrap()), host(weight.grad(&tape).unwrap()), host(bias.grad(&tape).unwrap())];

    let wide = |values: &[f32]| values.iter().map(|&value| f64::from(value)).collect::<Vec<_>>();
    let parts = inputs.each_ref().map(|values| wide(values));
    for part in 0..3 {
        for index in 0..parts[part].len() {
            let at = |delta: f64| {
                let mut parts = parts.clone();
                parts[part][index] += delta;
                objective(&parts, &wide(&direction))
            };
            let slope = (at(1e-5) - at(-1e-5)) / 2e-5;
            assert!((f64::from(gradients[part][index]) - slope).abs() < 1e-5, "part {part}, element {index}");
        }
    }
}

#[test]
fn cpu_loops_equal_tensor_operations() {
    for kind in KINDS {
        let x = || random::<Flex, 2>(1, [33, 70]) * 3.0;
        let grad = || random::<Flex, 2>(2, [33, 70]);
        assert_close(<Flex as Kernels>::activation(x(), kind), generic::activation(x(), kind), 2e-6);
        assert_close(
            Flex::activation_backward(x(), grad(), kind),
            generic::activation_backward(x(), grad(), kind),
            4e-6,
        );
    }

    // 700 rows make several pieces; 37 channels leave a rest in every vector loop.
    let (x, grad) = (random::<Flex, 2>(3, [700, 37]), random::<Flex, 2>(4, [700, 37]));
    let (weight, bias) = (random::<Flex, 1>(5, [37]), random::<Flex, 1>(6, [37]));
    assert_close(
        Flex::layer_normalize(x.clone(), weight.clone(), bias.clone(), 1e-12),
        generic::layer_normalize(x.clone(), weight.clone(), bias, 1e-12),
        2e-6,
    );
    let cpu = Flex::layer_normalize_backward(x.clone(), weight.clone(), grad.clone(), 1e-12);
    let other = generic::layer_normalize_backward(x.clone(), weight, grad, 1e-12);
    assert_close(cpu.0, other.0, 1e-5);
    assert_close(cpu.1, other.1, 1e-4);
    assert_close(cpu.2, other.2, 1e-4);

    let weight = random::<Flex, 2>(7, [9, 37]);
    let bias = random::<Flex, 1>(8, [9]);
    assert_close(
        Flex::affine(x.clone(), weight.clone(), bias.clone()),
        generic::affine(x.clone(), weight, bias),
        1e-5,
    );
    assert_close(Flex::column_sums(x.clone()), generic::column_sums(x.clone()), 1e-5);
    let wide = random::<Flex, 2>(9, [3, 9000]);
    assert_close(Flex::column_sums(wide.clone()), generic::column_sums(wide), 1e-6);
    let flat = random::<Flex, 1>(10, [100_003]);
    assert_close(Flex::sum_of_squares(flat.clone()), generic::sum_of_squares(flat), 1e-5);

    let heads = || vec![random::<Flex, 4>(11, [2, 3, 5, 7]), random::<Flex, 4>(12, [2, 3, 5, 7])];
    assert_close(Flex::merge_heads(heads()), generic::merge_heads(heads()), 0.0);
}

#[test]
fn cpu_tables_equal_tensor_operations() {
    let (words, positions, segments) =
        (random::<Flex, 2>(1, [50, 8]), random::<Flex, 2>(2, [6, 8]), random::<Flex, 2>(3, [2, 8]));
    let (ids, kinds) = (ints::<Flex>(&[4, 49, 0, 4, 7, 4, 49, 1]), ints::<Flex>(&[0, 1, 1, 0, 0, 0, 1, 1]));
    assert_close(
        Flex::embeddings(words.clone(), positions.clone(), segments.clone(), ids.clone(), kinds.clone(), 4),
        generic::embeddings(words, positions, segments, ids.clone(), kinds, 4),
        1e-6,
    );
    let grad = random::<Flex, 2>(4, [8, 8]);
    assert_close(
        Flex::select_rows_backward(grad.clone(), ids.clone(), 50),
        generic::select_rows_backward(grad, ids, 50),
        1e-6,
    );
}

#[test]
fn cpu_dropout_drops_what_tensor_operations_drop() {
    // Channels of no, one and several blocks, with and without a rest.
    for channels in [5, 32, 37, 128] {
        let dropout = mask(&[0, 9, 4_000_000_000], 2, 3);
        let x = random::<Flex, 2>(1, [18, channels]);
        assert_close(Flex::dropout(x.clone(), &dropout), generic::dropout(x, &dropout), 0.0);
    }
}

#[test]
fn cpu_softmax_and_loss_equal_tensor_operations() {
    let shape = AttentionShape { rows: 2, length: 19, heads: 3, head_size: 4 };
    let lengths = || ints::<Flex>(&[19, 6]);
    let scores = || random::<Flex, 2>(1, [2 * 3 * 19, 19]) * 9.0;
    let probabilities = Flex::attention_softmax(scores(), lengths(), shape);
    assert_close(probabilities.clone(), generic::attention_softmax(scores(), lengths(), shape), 1e-6);
    let padded = host(probabilities.clone())[3 * 19 * 19 + 6];
    assert!(padded == 0.0, "a masked key has probability {padded}");
    let grad = || random::<Flex, 2>(2, [2 * 3 * 19, 19]);
    assert_close(
        Flex::attention_softmax_backward(probabilities.clone(), grad(), shape),
        generic::attention_softmax_backward(probabilities, grad(), shape),
        1e-6,
    );

    let logits = || random::<Flex, 2>(3, [5, 1003]) * 5.0;
    let best = logits().argmax(1).into_data().convert::<i32>().into_vec::<i32>().unwrap();
    let labels = || ints::<Flex>(&[0, best[1], 1002, best[3], 7]);
    let weights = || Tensor::<Flex, 1>::from_floats([1.0, 1.0, 1.0, 0.0, 1.0], &FlexDevice);
    let cpu = Flex::cross_entropy(logits(), labels(), weights());
    let other = generic::cross_entropy(logits(), labels(), weights());
    assert_near(&host(cpu.correct), &[1.0], 0.0);
    assert_near(&host(other.correct), &[1.0], 0.0);
    assert_close(cpu.loss, other.loss, 1e-6);
    assert_close(cpu.log_normalizers.clone(), other.log_normalizers, 1e-6);
    assert_close(
        Flex::cross_entropy_backward(logits(), labels(), weights(), cpu.log_normalizers.clone()),
        generic::cross_entropy_backward(logits(), labels(), weights(), cpu.log_normalizers),
        1e-6,
    );
}

#[test]
fn cpu_adam_equals_tensor_operations_and_skips_undefined_gradients() {
    let step = AdamStep {
        beta_1: 0.9,
        beta_2: 0.999,
        epsilon: 1e-6,
        learning_rate: 0.01,
        weight_decay: 0.01,
        correction_1: 0.19,
        correction_2: 0.002,
    };
    let state = || (random::<Flex, 1>(1, [50]), random::<Flex, 1>(2, [50]), random::<Flex, 1>(3, [50]).abs());
    let grad = || random::<Flex, 1>(4, [50]);
    let scale = |value: f32| Tensor::<Flex, 1>::from_floats([value], &FlexDevice);
    let cpu = Flex::adam(state(), grad(), scale(0.5), &step);
    let other = generic::adam(state(), grad(), scale(0.5), &step);
    assert_close(cpu.0, other.0, 1e-6);
    assert_close(cpu.1, other.1, 1e-6);
    assert_close(cpu.2, other.2, 1e-6);
    for undefined in [f32::NAN, f32::INFINITY] {
        for result in [
            Flex::adam(state(), grad() * undefined, scale(undefined), &step),
            generic::adam(state(), grad() * undefined, scale(undefined), &step),
        ] {
            assert_close(result.0, state().0, 0.0);
            assert_close(result.1, state().1, 0.0);
            assert_close(result.2, state().2, 0.0);
        }
    }
}

/// Gradients by hand against Burn's, through the same tensor operations.
#[test]
fn gradients_equal_automatic_ones() {
    let shape = AttentionShape { rows: 2, length: 5, heads: 2, head_size: 3 };
    let (of_probabilities, of_context) = (mask(&[0, 1], 2, 5), mask(&[0, 1], 1, 5));
    let run = |by_hand: bool| -> Vec<Vec<f32>> {
        let leaf = |seed, rows| (random::<Train, 2>(seed, [rows, 6]) * 0.4).require_grad();
        let (words, positions, segments, weight) = (leaf(1, 20), leaf(2, 9), leaf(3, 2), leaf(4, 18));
        let bias = random::<Train, 1>(5, [18]).require_grad();
        let tables = (words.clone(), positions.clone(), segments.clone());
        let ids = ints::<Train>(&[1, 2, 3, 1, 1, 19, 0, 2, 2, 5]);
        let kinds = ints::<Train>(&[0, 0, 1, 1, 1, 0, 0, 0, 1, 1]);
        let (lengths, rows) = (ints::<Train>(&[5, 3]), ints::<Train>(&[0, 4, 4, 9]));
        let labels = ints::<Train>(&[0, 5, 1, 2]);
        let weights = Tensor::<Train, 1>::from_floats([1.0, 1.0, 0.0, 1.0], &FlexDevice);
        let (context, loss);
        if by_hand {
            let embedded = Train::embeddings(tables.0, tables.1, tables.2, ids, kinds, 5);
            let product = Train::affine(embedded, weight.clone(), bias.clone());
            let attended = Train::self_attention(product, lengths, shape, Some(&of_probabilities));
            context = <Train as Kernels>::dropout(attended, &of_context);
            loss = Train::cross_entropy(Train::select_rows(context.clone(), rows), labels, weights).loss;
        } else {
            let embedded = generic::embeddings(tables.0, tables.1, tables.2, ids, kinds, 5);
            let product = generic::affine(embedded, weight.clone(), bias.clone());
            let attended = generic::self_attention(product, lengths, shape, Some(&of_probabilities)).0;
            context = generic::dropout(attended, &of_context);
            loss = generic::cross_entropy(generic::select_rows(context.clone(), rows), labels, weights).loss;
        }
        let direction = random::<Train, 2>(6, [10, 6]);
        let tape = (loss * 3.0 + (context * direction).sum()).backward();
        let tables = [words, positions, segments, weight].map(|leaf| host(leaf.grad(&tape).unwrap()));
        tables.into_iter().chain([host(bias.grad(&tape).unwrap())]).collect()
    };
    for (by_hand, automatic) in run(true).iter().zip(&run(false)) {
        assert!(automatic.iter().any(|value| value.abs() > 0.01));
        assert_near(by_hand, automatic, 2e-6);
    }
}
