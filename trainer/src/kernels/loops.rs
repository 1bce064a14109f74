//! The inner loops of the CPU backend, over plain slices.

use super::AdamStep;
use super::generic::TANH_GELU;
use super::math::{erf, exp, largest, sum_by, sum_by_pairs, tanh, vectorized};
use crate::dropout::{BLOCK, hash};

vectorized! {
    pub(crate) fn add(sum: &mut [f32], x: &[f32]) {
        for (sum, &x) in sum.iter_mut().zip(x) {
            *sum += x;
        }
    }
}

vectorized! {
    pub(crate) fn add_three(sum: &mut [f32], a: &[f32], b: &[f32], c: &[f32]) {
        for (((sum, &a), &b), &c) in sum.iter_mut().zip(a).zip(b).zip(c) {
            *sum = a + b + c;
        }
    }
}

vectorized! {
    pub(crate) fn gelu(y: &mut [f32], x: &[f32]) {
        for (y, &x) in y.iter_mut().zip(x) {
            *y = 0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
        }
    }
}

vectorized! {
    pub(crate) fn gelu_backward(grad: &mut [f32], x: &[f32]) {
        /// `1 / sqrt(2 pi)`
        const PEAK: f32 = 0.398_942_3;
        for (grad, &x) in grad.iter_mut().zip(x) {
            let cumulative = 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
            *grad *= cumulative + x * PEAK * exp(-0.5 * x * x);
        }
    }
}

vectorized! {
    pub(crate) fn gelu_tanh(y: &mut [f32], x: &[f32]) {
        let (slope, cubic) = TANH_GELU;
        for (y, &x) in y.iter_mut().zip(x) {
            *y = 0.5 * x * (1.0 + tanh(slope * (x + cubic * x * x * x)));
        }
    }
}

vectorized! {
    pub(crate) fn gelu_tanh_backward(grad: &mut [f32], x: &[f32]) {
        let (slope, cubic) = TANH_GELU;
        for (grad, &x) in grad.iter_mut().zip(x) {
            let tanh = tanh(slope * (x + cubic * x * x * x));
            let inner = slope * (1.0 + 3.0 * cubic * x * x);
            *grad *= 0.5 * (1.0 + tanh) + 0.5 * x * (1.0 - tanh * tanh) * inner;
        }
    }
}

vectorized! {
    pub(crate) fn normalize_rows(y: &mut [f32], x: &[f32], weight: &[f32], bias: &[f32], epsilon: f32) {
        let channels = weight.len();
        for (y, x) in y.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            let (mean, scale) = moments(x, epsilon);
            for (((y, &x), &weight), &bias) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                *y = (x - mean) * scale * weight + bias;
            }
        }
    }
}

vectorized! {
    /// Replaces the gradient of the output by that of the input; adds those of weight and bias to `sums`.
    pub(crate) fn normalize_rows_backward(grad: &mut [f32], x: &[f32], weight: &[f32], sums: &mut [f32], epsilon: f32) {
        let channels = weight.len();
        let (sum_weight, sum_bias) = sums.split_at_mut(channels);
        let mut normal = vec![0.0; channels];
        for (grad, x) in grad.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            let (mean, scale) = moments(x, epsilon);
            for ((((normal, &x), grad), sum_weight), (sum_bias, &weight)) in normal
                .iter_mut()
                .zip(x)
                .zip(grad.iter_mut())
                .zip(sum_weight.iter_mut())
                .zip(sum_bias.iter_mut().zip(weight))
            {
                *normal = (x - mean) * scale;
                *sum_weight += *grad * *normal;
                *sum_bias += *grad;
                *grad *= weight;
            }
            let average = sum_by(grad, |grad| grad) / channels as f32;
            let projection = sum_by_pairs(grad, &normal, |grad, normal| grad * normal) / channels as f32;
            for (grad, &normal) in grad.iter_mut().zip(&normal) {
                *grad = (*grad - average - normal * projection) * scale;
            }
        }
    }
}

/// The mean of a row, and the inverse of its deviation.
#[inline(always)]
#[allow(clippy::inline_always, reason = "inlined into loops compiled for several instruction sets")]
fn moments(x: &[f32], epsilon: f32) -> (f32, f32) {
    let mean = sum_by(x, |x| x) / x.len() as f32;
    let variance = sum_by(x, |x| (x - mean) * (x - mean)) / x.len() as f32;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

vectorized! {
    pub(crate) fn drop_line(line: &mut [f32], key: [u32; 2], threshold: u32, scale: f32) {
        let (blocks, rest) = line.as_chunks_mut::<BLOCK>();
        let mut index = 0;
        for block in blocks {
            let (low, high) = block.split_at_mut(BLOCK / 2);
            for (low, high) in low.iter_mut().zip(high) {
                let bits = hash(key, index);
                *low = if (bits & 0xffff) >= threshold { *low * scale } else { 0.0 };
                *high = if (bits >> 16) >= threshold { *high * scale } else { 0.0 };
                index += 1;
            }
        }
        for (channel, value) in rest.iter_mut().enumerate() {
            let bits = hash(key, index + (channel % (BLOCK / 2)) as u32);
            let bits = if channel < BLOCK / 2 { bits & 0xffff } else { bits >> 16 };
            *value = if bits >= threshold { *value * scale } else { 0.0 };
        }
    }
}

vectorized! {
    pub(crate) fn softmax_line(keys: &mut [f32], scale: f32) {
        let largest = largest(keys);
        for key in keys.iter_mut() {
            *key = exp((*key - largest) * scale);
        }
        let normalizer = 1.0 / sum_by(keys, |key| key);
        for key in keys.iter_mut() {
            *key *= normalizer;
        }
    }
}

vectorized! {
    pub(crate) fn softmax_lines_backward(grad: &mut [f32], probabilities: &[f32], length: usize, scale: f32) {
        for (grad, probabilities) in grad.chunks_exact_mut(length).zip(probabilities.chunks_exact(length)) {
            let mean = sum_by_pairs(grad, probabilities, |grad, probability| grad * probability);
            for (grad, &probability) in grad.iter_mut().zip(probabilities) {
                *grad = probability * (*grad - mean) * scale;
            }
        }
    }
}

vectorized! {
    /// The largest logit, and the logarithm of the sum of exponentials.
    pub(crate) fn log_normalizer(logits: &[f32]) -> (f32, f32) {
        let largest = largest(logits);
        (largest, largest + sum_by(logits, |logit| exp(logit - largest)).ln())
    }
}

vectorized! {
    pub(crate) fn scaled_softmax(logits: &mut [f32], log_normalizer: f32, weight: f32) {
        for logit in logits {
            *logit = weight * exp(*logit - log_normalizer);
        }
    }
}

vectorized! {
    pub(crate) fn squares(x: &[f32]) -> f32 {
        sum_by(x, |x| x * x)
    }
}

vectorized! {
    pub(crate) fn adam_piece(
        parameter: &mut [f32],
        first: &mut [f32],
        second: &mut [f32],
        grad: &[f32],
        scale: f32,
        step: &AdamStep,
    ) {
        for (((parameter, first), second), &grad) in
            parameter.iter_mut().zip(first.iter_mut()).zip(second.iter_mut()).zip(grad)
        {
            let grad = grad * scale;
            *first = *first * step.beta_1 + grad * (1.0 - step.beta_1);
            *second = *second * step.beta_2 + grad * grad * (1.0 - step.beta_2);
            let direction = *first / step.correction_1 / ((*second / step.correction_2).sqrt() + step.epsilon)
                + *parameter * step.weight_decay;
            *parameter -= direction * step.learning_rate;
        }
    }
}
