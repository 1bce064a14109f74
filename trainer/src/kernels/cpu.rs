//! The CPU backend's own loops: one pass over memory where tensor operations would take many, in parallel
//! pieces whose size, and so whose order of sums, does not depend on the number of threads.

use burn::tensor::{Int, Tensor, TensorData, TensorPrimitive};
use burn_flex::{Flex, FlexTensor};
use rayon::prelude::*;

use super::loops::{
    adam_piece, add, add_three, drop_line, gelu, gelu_backward, gelu_tanh, gelu_tanh_backward,
    log_normalizer, normalize_rows, normalize_rows_backward, scaled_softmax, softmax_line,
    softmax_lines_backward, squares,
};
use super::matrix::{Matrix, product};
use super::{Activation, AdamStep, AttentionShape, CrossEntropy, Dropout, Kernels};

/// Elements of a parallel piece of work: large enough to hide the cost of handing it to a thread, small
/// enough to stay in a core's second-level cache.
pub(super) const PIECE: usize = 1 << 15;

/// Whole rows of about [`PIECE`] elements, as a number of elements.
fn rows_piece(channels: usize) -> usize {
    (PIECE / channels).max(1) * channels
}

fn contiguous<const D: usize>(x: Tensor<Flex, D>) -> FlexTensor {
    // A plain tensor is only wrapped anew, and stays the sole owner of its values.
    let x = x.into_primitive().tensor();
    let whole = x.bytes().len() == x.layout().num_elements() * size_of::<f32>();
    if x.is_contiguous() && whole { x } else { x.to_contiguous() }
}

fn integers(x: Tensor<Flex, 1, Int>) -> Vec<i32> {
    x.into_data().convert::<i32>().into_vec().expect("converted")
}

fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> Tensor<Flex, D> {
    wrap(FlexTensor::from_data(TensorData::new(values, shape)))
}

fn wrap<const D: usize>(x: FlexTensor) -> Tensor<Flex, D> {
    Tensor::from_primitive(TensorPrimitive::Float(x))
}

impl Kernels for Flex {
    fn affine(x: Tensor<Self, 2>, weight: Tensor<Self, 2>, bias: Tensor<Self, 1>) -> Tensor<Self, 2> {
        let ([rows, inputs], [outputs, _]) = (x.dims(), weight.dims());
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let x = Matrix::new(x.storage::<f32>(), rows, inputs, inputs);
        let weight = Matrix::new(weight.storage::<f32>(), outputs, inputs, inputs);
        tensor(product(x, weight.transposed(), Some(bias.storage::<f32>())), [rows, outputs])
    }

    fn affine_backward(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 2>,
        grad: Tensor<Self, 2>,
    ) -> (Tensor<Self, 2>, Tensor<Self, 2>, Tensor<Self, 1>) {
        let ([rows, inputs], [outputs, _]) = (x.dims(), weight.dims());
        let grad_bias = Self::column_sums(grad.clone());
        let (x, weight, grad) = (contiguous(x), contiguous(weight), contiguous(grad));
        let x = Matrix::new(x.storage::<f32>(), rows, inputs, inputs);
        let weight = Matrix::new(weight.storage::<f32>(), outputs, inputs, inputs);
        let grad = Matrix::new(grad.storage::<f32>(), rows, outputs, outputs);
        (
            tensor(product(grad, weight, None), [rows, inputs]),
            tensor(product(grad.transposed(), x, None), [outputs, inputs]),
            grad_bias,
        )
    }

    fn activation(x: Tensor<Self, 2>, kind: Activation) -> Tensor<Self, 2> {
        let shape = x.dims();
        let x = contiguous(x);
        let x = x.storage::<f32>();
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).for_each(|(y, x)| match kind {
            Activation::Gelu => gelu(y, x),
            Activation::GeluTanh => gelu_tanh(y, x),
        });
        tensor(y, shape)
    }

    fn activation_backward(x: Tensor<Self, 2>, grad: Tensor<Self, 2>, kind: Activation) -> Tensor<Self, 2> {
        let (x, mut grad) = (contiguous(x), contiguous(grad));
        let x = x.storage::<f32>();
        grad.storage_mut::<f32>().par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).for_each(|(grad, x)| {
            match kind {
                Activation::Gelu => gelu_backward(grad, x),
                Activation::GeluTanh => gelu_tanh_backward(grad, x),
            }
        });
        wrap(grad)
    }

    fn layer_normalize(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 1>,
        bias: Tensor<Self, 1>,
        epsilon: f64,
    ) -> Tensor<Self, 2> {
        let shape = x.dims();
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let (x, weight, bias) = (x.storage::<f32>(), weight.storage::<f32>(), bias.storage::<f32>());
        let piece = rows_piece(shape[1]);
        let mut y = vec![0.0; x.len()];
        y.par_chunks_mut(piece)
            .zip(x.par_chunks(piece))
            .for_each(|(y, x)| normalize_rows(y, x, weight, bias, epsilon as f32));
        tensor(y, shape)
    }

    fn layer_normalize_backward(
        x: Tensor<Self, 2>,
        weight: Tensor<Self, 1>,
        grad: Tensor<Self, 2>,
        epsilon: f64,
    ) -> (Tensor<Self, 2>, Tensor<Self, 1>, Tensor<Self, 1>) {
        let [_, channels] = x.dims();
        let (x, weight, mut grad) = (contiguous(x), contiguous(weight), contiguous(grad));
        let (x, weight) = (x.storage::<f32>(), weight.storage::<f32>());
        let piece = rows_piece(channels);
        // Gradients of weight and bias, side by side, for each piece.
        let partial: Vec<Vec<f32>> = grad
            .storage_mut::<f32>()
            .par_chunks_mut(piece)
            .zip(x.par_chunks(piece))
            .map(|(grad, x)| {
                let mut sums = vec![0.0; 2 * channels];
                normalize_rows_backward(grad, x, weight, &mut sums, epsilon as f32);
                sums
            })
            .collect();
        let sums = add_all(&partial, 2 * channels);
        let (grad_weight, grad_bias) = sums.split_at(channels);
        (wrap(grad), tensor(grad_weight.to_vec(), [channels]), tensor(grad_bias.to_vec(), [channels]))
    }

    fn dropout(x: Tensor<Self, 2>, dropout: &Dropout) -> Tensor<Self, 2> {
        let [_, channels] = x.dims();
        let piece = rows_piece(channels);
        let mut x = contiguous(x);
        x.storage_mut::<f32>().par_chunks_mut(piece).enumerate().for_each(|(index, lines)| {
            let first = index * piece / channels;
            for (offset, line) in lines.chunks_exact_mut(channels).enumerate() {
                drop_line(line, dropout.line_key(first + offset), dropout.threshold(), dropout.scale());
            }
        });
        wrap(x)
    }

    fn embeddings(
        words: Tensor<Self, 2>,
        positions: Tensor<Self, 2>,
        segments: Tensor<Self, 2>,
        input_ids: Tensor<Self, 1, Int>,
        segment_ids: Tensor<Self, 1, Int>,
        length: usize,
    ) -> Tensor<Self, 2> {
        let [_, channels] = words.dims();
        let (words, positions, segments) = (contiguous(words), contiguous(positions), contiguous(segments));
        let (input_ids, segment_ids) = (integers(input_ids), integers(segment_ids));
        let (words, positions, segments) =
            (words.storage::<f32>(), positions.storage::<f32>(), segments.storage::<f32>());
        let row = |index: usize| index * channels..(index + 1) * channels;
        let mut sum = vec![0.0; input_ids.len() * channels];
        sum.par_chunks_mut(channels).enumerate().with_min_len(PIECE / channels).for_each(|(token, sum)| {
            add_three(
                sum,
                &words[row(input_ids[token] as usize)],
                &positions[row(token % length)],
                &segments[row(segment_ids[token] as usize)],
            );
        });
        tensor(sum, [input_ids.len(), channels])
    }

    fn select_rows_backward(
        grad: Tensor<Self, 2>,
        indices: Tensor<Self, 1, Int>,
        rows: usize,
    ) -> Tensor<Self, 2> {
        let [_, channels] = grad.dims();
        let grad = contiguous(grad);
        let grad = grad.storage::<f32>();
        // Grouped by row, and within a row in the order of the batch.
        let mut order: Vec<(i32, u32)> = integers(indices).into_iter().zip(0..).collect();
        order.sort_unstable();
        let groups: Vec<&[(i32, u32)]> = order.chunk_by(|a, b| a.0 == b.0).collect();
        let mut table = vec![0.0; rows * channels];
        let mut rest = table.as_mut_slice();
        let mut start = 0;
        let mut targets = Vec::with_capacity(groups.len());
        for group in groups {
            let row = group[0].0 as usize;
            let (target, after) = rest[(row - start) * channels..].split_at_mut(channels);
            targets.push((target, group));
            (rest, start) = (after, row + 1);
        }
        targets.into_par_iter().with_min_len(PIECE / channels / 4).for_each(|(target, group)| {
            for &(_, token) in group {
                add(target, &grad[token as usize * channels..][..channels]);
            }
        });
        tensor(table, [rows, channels])
    }

    fn merge_heads(parts: Vec<Tensor<Self, 4>>) -> Tensor<Self, 2> {
        let [rows, heads, length, head_size] = parts[0].dims();
        let count = parts.len();
        let parts: Vec<_> = parts.into_iter().map(contiguous).collect();
        let parts: Vec<_> = parts.iter().map(FlexTensor::storage::<f32>).collect();
        let channels = count * heads * head_size;
        let mut merged = vec![0.0; rows * length * channels];
        merged.par_chunks_mut(channels).enumerate().with_min_len(PIECE / channels).for_each(
            |(token, merged)| {
                let (row, position) = (token / length, token % length);
                for (index, target) in merged.chunks_exact_mut(head_size).enumerate() {
                    let (part, head) = (index / heads, index % heads);
                    let start = ((row * heads + head) * length + position) * head_size;
                    target.copy_from_slice(&parts[part][start..start + head_size]);
                }
            },
        );
        tensor(merged, [rows * length, channels])
    }

    fn attention_softmax(
        scores: Tensor<Self, 2>,
        lengths: Tensor<Self, 1, Int>,
        shape: AttentionShape,
    ) -> Tensor<Self, 2> {
        let AttentionShape { length, heads, head_size, .. } = shape;
        let lengths = integers(lengths);
        let scale = 1.0 / (head_size as f32).sqrt();
        let mut scores = contiguous(scores);
        scores.storage_mut::<f32>().par_chunks_mut(length).enumerate().with_min_len(PIECE / length).for_each(
            |(line, scores)| {
                let (keys, padding) = scores.split_at_mut(lengths[line / (heads * length)] as usize);
                softmax_line(keys, scale);
                padding.fill(0.0);
            },
        );
        wrap(scores)
    }

    fn attention_softmax_backward(
        probabilities: Tensor<Self, 2>,
        grad: Tensor<Self, 2>,
        shape: AttentionShape,
    ) -> Tensor<Self, 2> {
        let scale = 1.0 / (shape.head_size as f32).sqrt();
        let (probabilities, mut grad) = (contiguous(probabilities), contiguous(grad));
        let piece = rows_piece(shape.length);
        grad.storage_mut::<f32>()
            .par_chunks_mut(piece)
            .zip(probabilities.storage::<f32>().par_chunks(piece))
            .for_each(|(grad, probabilities)| {
                softmax_lines_backward(grad, probabilities, shape.length, scale);
            });
        wrap(grad)
    }

    fn cross_entropy(
        logits: Tensor<Self, 2>,
        labels: Tensor<Self, 1, Int>,
        weights: Tensor<Self, 1>,
    ) -> CrossEntropy<Self> {
        let [rows, classes] = logits.dims();
        let (logits, weights, labels) = (contiguous(logits), contiguous(weights), integers(labels));
        let log_normalizers: Vec<(f32, f32)> =
            logits.storage::<f32>().par_chunks(classes).map(log_normalizer).collect();
        let (mut loss, mut correct) = (0.0_f64, 0.0_f64);
        for (row, &(largest, log_normalizer)) in log_normalizers.iter().enumerate() {
            let weight = f64::from(weights.storage::<f32>()[row]);
            let logit = logits.storage::<f32>()[row * classes + labels[row] as usize];
            loss += weight * f64::from(log_normalizer - logit);
            correct += if logit >= largest { weight } else { 0.0 };
        }
        CrossEntropy {
            loss: tensor(vec![loss as f32], [1]),
            correct: tensor(vec![correct as f32], [1]),
            log_normalizers: tensor(log_normalizers.into_iter().map(|row| row.1).collect(), [rows]),
        }
    }

    fn cross_entropy_backward(
        logits: Tensor<Self, 2>,
        labels: Tensor<Self, 1, Int>,
        weights: Tensor<Self, 1>,
        log_normalizers: Tensor<Self, 1>,
    ) -> Tensor<Self, 2> {
        let [_, classes] = logits.dims();
        let (logits, weights) = (contiguous(logits), contiguous(weights));
        let (log_normalizers, labels) = (contiguous(log_normalizers), integers(labels));
        // In place where nobody else holds the logits, the largest tensor of a step.
        let mut grad = logits;
        grad.storage_mut::<f32>()
            .par_chunks_mut(classes)
            .enumerate()
            .with_min_len((PIECE / classes).max(1))
            .for_each(|(row, logits)| {
                let weight = weights.storage::<f32>()[row];
                if weight == 0.0 {
                    logits.fill(0.0);
                } else {
                    scaled_softmax(logits, log_normalizers.storage::<f32>()[row], weight);
                    logits[labels[row] as usize] -= weight;
                }
            });
        wrap(grad)
    }

    fn column_sums(x: Tensor<Self, 2>) -> Tensor<Self, 1> {
        let [_, channels] = x.dims();
        let x = contiguous(x);
        // Tall pieces of all columns, or, where a row is long, all rows of a piece of columns.
        let x = x.storage::<f32>();
        let mut sums = vec![0.0; channels];
        if channels <= PIECE / 8 {
            let partial: Vec<Vec<f32>> = x
                .par_chunks(rows_piece(channels))
                .map(|rows| {
                    let mut sums = vec![0.0; channels];
                    rows.chunks_exact(channels).for_each(|row| add(&mut sums, row));
                    sums
                })
                .collect();
            sums = add_all(&partial, channels);
        } else {
            sums.par_chunks_mut(PIECE / 8).enumerate().for_each(|(index, sums)| {
                let start = index * PIECE / 8;
                x.chunks_exact(channels).for_each(|row| add(sums, &row[start..start + sums.len()]));
            });
        }
        tensor(sums, [channels])
    }

    fn sum_of_squares(x: Tensor<Self, 1>) -> Tensor<Self, 1> {
        let x = contiguous(x);
        let partial: Vec<f32> = x.storage::<f32>().par_chunks(PIECE).map(squares).collect();
        let sum: f64 = partial.into_iter().map(f64::from).sum();
        tensor(vec![sum as f32], [1])
    }

    fn adam(
        (parameter, first, second): (Tensor<Self, 1>, Tensor<Self, 1>, Tensor<Self, 1>),
        grad: Tensor<Self, 1>,
        scale: Tensor<Self, 1>,
        step: &AdamStep,
    ) -> (Tensor<Self, 1>, Tensor<Self, 1>, Tensor<Self, 1>) {
        let scale = contiguous(scale).storage::<f32>()[0];
        if !scale.is_finite() {
            return (parameter, first, second);
        }
        let (mut parameter, mut first, mut second) =
            (contiguous(parameter), contiguous(first), contiguous(second));
        let grad = contiguous(grad);
        (
            parameter.storage_mut::<f32>().par_chunks_mut(PIECE),
            first.storage_mut::<f32>().par_chunks_mut(PIECE),
            second.storage_mut::<f32>().par_chunks_mut(PIECE),
            grad.storage::<f32>().par_chunks(PIECE),
        )
            .into_par_iter()
            .for_each(|(parameter, first, second, grad)| {
                adam_piece(parameter, first, second, grad, scale, step);
            });
        (wrap(parameter), wrap(first), wrap(second))
    }
}

/// The sum of vectors of one size, in their order.
fn add_all(vectors: &[Vec<f32>], size: usize) -> Vec<f32> {
    let mut sum = vec![0.0; size];
    for vector in vectors {
        add(&mut sum, vector);
    }
    sum
}
