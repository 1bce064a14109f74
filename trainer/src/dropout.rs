//! Dropout as a pure function of (seed, step, site, example, position, channel).
//!
//! No draw depends on another, nor on where an example sits: splitting an optimizer batch into micro-batches
//! or ranks, padding rows further, or recomputing the mask in the backward pass leaves every decision as it
//! was. A decision has 16 random bits, so a probability is rounded to a multiple of 1/65,536; kept values are
//! scaled by the inverse of the rounded share, which keeps the expectation exact.

use std::sync::Arc;

use burn::tensor::backend::Backend;

use crate::batch::Batch;

/// The key of every mask of one training step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropoutKey {
    /// The run's seed.
    pub seed: u64,
    /// The optimizer step.
    pub step: u64,
}

/// Where in the model a mask is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Site {
    /// The sum of the embeddings.
    Embeddings,
    /// The attention probabilities of a layer.
    Attention(usize),
    /// The attention sublayer's output of a layer.
    AttentionOutput(usize),
    /// The feed-forward sublayer's output of a layer.
    Output(usize),
}

impl Site {
    fn code(self) -> u64 {
        match self {
            Self::Embeddings => 0,
            Self::Attention(layer) => 4 * layer as u64 + 1,
            Self::AttentionOutput(layer) => 4 * layer as u64 + 2,
            Self::Output(layer) => 4 * layer as u64 + 3,
        }
    }
}

/// The mask of one site in one step, over a tensor seen as lines of channels: `[examples, groups, positions]`
/// lines, where a group is an attention head and hidden states have one group.
#[derive(Clone, Debug)]
pub struct Dropout {
    key: [u32; 2],
    threshold: u32,
    examples: Arc<[u32]>,
    groups: usize,
    positions: usize,
}

/// Channels whose decisions come from the same 16 hashes: the low halves decide the first 16, the high halves
/// the last 16, which keeps a vector of hashes in order.
pub(crate) const BLOCK: usize = 32;

impl Dropout {
    /// The mask of `site`, dropping with `probability`; none where nothing would be dropped.
    pub(crate) fn new(
        key: DropoutKey,
        site: Site,
        probability: f64,
        examples: &Arc<[u32]>,
        groups: usize,
        positions: usize,
    ) -> Option<Self> {
        let threshold = (probability * 65_536.0).round() as u32;
        let key = mix(mix(mix(key.seed) ^ key.step) ^ site.code());
        let key = [key as u32, (key >> 32) as u32];
        (threshold > 0).then(|| Self { key, threshold, examples: examples.clone(), groups, positions })
    }

    /// The mask of the hidden states `[rows * length, hidden]` of a batch.
    pub(crate) fn hidden<B: Backend>(
        key: DropoutKey,
        site: Site,
        probability: f64,
        batch: &Batch<B>,
    ) -> Option<Self> {
        Self::new(key, site, probability, &batch.example_indices, 1, batch.length)
    }

    /// Lines of the masked tensor.
    pub(crate) fn lines(&self) -> usize {
        self.examples.len() * self.groups * self.positions
    }

    /// A channel is dropped when its 16 bits are below this.
    pub(crate) fn threshold(&self) -> u32 {
        self.threshold
    }

    /// The factor of kept values.
    pub(crate) fn scale(&self) -> f32 {
        (65_536.0 / (65_536.0 - f64::from(self.threshold))) as f32
    }

    /// The examples, by which lines are ordered first.
    pub(crate) fn examples(&self) -> &[u32] {
        &self.examples
    }

    /// Group and position of each line of an example, as one number.
    pub(crate) fn coordinates(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.groups * self.positions).map(|line| self.coordinate(line))
    }

    fn coordinate(&self, line: usize) -> u32 {
        (((line / self.positions) << 20) | (line % self.positions)) as u32
    }

    /// Two words, each mixed into one word of a line's key.
    pub(crate) fn key(&self) -> [u32; 2] {
        self.key
    }

    /// The key of a line: two words, see [`hash`].
    pub(crate) fn line_key(&self, line: usize) -> [u32; 2] {
        let lines = self.groups * self.positions;
        let (example, coordinate) = (self.examples[line / lines], self.coordinate(line % lines));
        self.key.map(|word| lowbias(lowbias(word.wrapping_add(example)) ^ coordinate))
    }
}

/// The 32 bits of hash number `index` of a line; decides two channels of a [`BLOCK`].
#[inline(always)]
#[allow(clippy::inline_always, reason = "inlined into loops compiled for several instruction sets")]
pub(crate) fn hash(line: [u32; 2], index: u32) -> u32 {
    lowbias(lowbias(line[0].wrapping_add(index)) ^ line[1])
}

/// Multipliers and shifts of [`lowbias`], shared with the tensor implementation.
pub(crate) const LOWBIAS: [(u32, u32); 2] = [(16, 0x21f0_aaad), (15, 0xd35a_2d97)];

/// A bijection of 32 bits with low bias (Chris Wellons, "Prospecting for hash functions", 2018).
#[inline(always)]
#[allow(clippy::inline_always, reason = "inlined into loops compiled for several instruction sets")]
fn lowbias(mut x: u32) -> u32 {
    x = (x ^ (x >> LOWBIAS[0].0)).wrapping_mul(LOWBIAS[0].1);
    x = (x ^ (x >> LOWBIAS[1].0)).wrapping_mul(LOWBIAS[1].1);
    x ^ (x >> 15)
}

/// SplitMix64's finaliser.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;
    use burn_flex::{Flex, FlexDevice};

    use super::*;
    use crate::kernels::Kernels;

    const KEY: DropoutKey = DropoutKey { seed: 1, step: 2 };

    /// The factors applied to ones, by line.
    fn factors(
        key: DropoutKey,
        site: Site,
        examples: &[u32],
        positions: usize,
        channels: usize,
    ) -> Vec<Vec<f32>> {
        let dropout = Dropout::new(key, site, 0.1, &Arc::from(examples), 1, positions).unwrap();
        let ones = Tensor::<Flex, 2>::ones([examples.len() * positions, channels], &FlexDevice);
        let dropped: Vec<f32> = <Flex as Kernels>::dropout(ones, &dropout).into_data().into_vec().unwrap();
        dropped.chunks(channels).map(<[f32]>::to_vec).collect()
    }

    #[test]
    fn masks_ignore_micro_batches_and_padding() {
        let whole = factors(KEY, Site::Embeddings, &[0, 1, 2, 3], 8, 100);
        let first = factors(KEY, Site::Embeddings, &[0, 1], 8, 100);
        let second = factors(KEY, Site::Embeddings, &[2, 3], 8, 100);
        assert_eq!(whole, [first, second].concat());
        let padded = factors(KEY, Site::Embeddings, &[0, 1, 2, 3], 11, 100);
        for (line, expected) in whole.iter().enumerate() {
            assert_eq!(&padded[line / 8 * 11 + line % 8], expected);
        }
        let narrow = factors(KEY, Site::Embeddings, &[0, 1, 2, 3], 8, 60);
        assert!(narrow.iter().zip(&whole).all(|(narrow, whole)| narrow[..] == whole[..60]));
    }

    #[test]
    fn every_part_of_the_key_matters() {
        let base = factors(KEY, Site::Output(1), &[5], 1, 256);
        for (key, site, example) in [
            (DropoutKey { seed: 2, ..KEY }, Site::Output(1), 5),
            (DropoutKey { step: 3, ..KEY }, Site::Output(1), 5),
            (KEY, Site::Output(2), 5),
            (KEY, Site::AttentionOutput(1), 5),
            (KEY, Site::Output(1), 6),
        ] {
            assert_ne!(base, factors(key, site, &[example], 1, 256));
        }
        let groups = Dropout::new(KEY, Site::Attention(0), 0.1, &Arc::from([0]), 2, 2).unwrap();
        let lines: Vec<_> = (0..groups.lines()).map(|line| groups.line_key(line)).collect();
        assert!((1..4).all(|line| !lines[..line].contains(&lines[line])));
    }

    #[test]
    fn share_and_scale_are_right() {
        let lines = factors(KEY, Site::Embeddings, &[0, 1, 2, 3, 4, 5, 6, 7], 128, 1000);
        let all: Vec<f32> = lines.concat();
        let count = all.len() as f64;
        let dropped = all.iter().filter(|&&factor| factor == 0.0).count() as f64;
        // Five sigma around the expected count; the mean of a kept and scaled one is 1.
        assert!((dropped - 0.1 * count).abs() < 5.0 * (0.09 * count).sqrt(), "{dropped} of {count}");
        let mean = all.iter().map(|&factor| f64::from(factor)).sum::<f64>() / count;
        assert!((mean - 1.0).abs() < 2e-3, "{mean}");
        // No channel is favoured: 1,024 lines, six sigma.
        for channel in 0..1000 {
            let dropped = lines.iter().filter(|line| line[channel] == 0.0).count() as f64;
            assert!((dropped - 102.4).abs() < 6.0 * 9.6, "channel {channel}: {dropped}");
        }
        // Neighbours are independent: the share of pairs dropped together is the square.
        let pairs = all.windows(2).filter(|pair| pair[0] == 0.0 && pair[1] == 0.0).count() as f64;
        assert!((pairs - 0.01 * count).abs() < 6.0 * (0.01 * count).sqrt(), "{pairs}");
    }

    #[test]
    fn no_probability_no_mask() {
        assert!(Dropout::new(KEY, Site::Embeddings, 0.0, &Arc::from([0]), 1, 1).is_none());
    }
}
