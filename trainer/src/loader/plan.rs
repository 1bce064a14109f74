//! The order in which rows are visited: a pure function of the shards' sizes, the seed and the epoch.
//!
//! ```text
//! epoch    shards in an order of the epoch's own     3 0 2 1 | 2 3 1 0 | …
//! shard    its blocks, shuffled                      b1 b0 b2
//! block    a run of rows read in one go, shuffled    r7 r2 r5 …
//! ```
//!
//! Rows of a dataset are shuffled when it is made; shuffling blocks again only keeps epochs from being alike.
//! Nothing here depends on threads, and the position in the order is one number: the examples visited.

use cloze_schemas::{KeyedRng, RandomSource};

/// Most rows of a block: about 1 MB of a shard at 128 tokens a row.
pub const BLOCK_ROWS: u64 = 4096;

/// How to visit the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Once, as stored.
    Stored,
    /// Epoch after epoch without end, each shuffled differently.
    Shuffled {
        /// The run's seed.
        seed: u64,
    },
}

/// A run of rows of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Passes over the data before this one.
    pub epoch: u64,
    /// Index of the shard within its split.
    pub shard: usize,
    /// The first row within the shard.
    pub first_row: u64,
    /// Number of rows.
    pub rows: usize,
    /// Rows to leave off at the start of the order of visit: visited before a resumption.
    pub skip: usize,
}

/// The order of visit.
#[derive(Clone, Debug)]
pub struct Plan {
    order: Order,
    /// Rows of each shard.
    shards: Vec<u64>,
    examples: u64,
}

impl Plan {
    /// A plan over shards of these numbers of rows.
    pub fn new(shards: Vec<u64>, order: Order) -> Self {
        Self { order, examples: shards.iter().sum(), shards }
    }

    /// The blocks from the `cursor`-th example on.
    pub fn blocks(&self, cursor: u64) -> impl Iterator<Item = Block> + '_ {
        let (epochs, mut skip) = match self.order {
            _ if self.examples == 0 => (0..0, 0),
            Order::Stored => (0..1, cursor),
            Order::Shuffled { .. } => (cursor / self.examples..u64::MAX, cursor % self.examples),
        };
        epochs.flat_map(|epoch| self.epoch(epoch)).filter_map(move |block| {
            let skipped = skip.min(block.rows as u64);
            skip -= skipped;
            (skipped < block.rows as u64).then_some(Block { skip: skipped as usize, ..block })
        })
    }

    fn epoch(&self, epoch: u64) -> impl Iterator<Item = Block> + '_ {
        let mut shards: Vec<usize> = (0..self.shards.len()).collect();
        self.shuffle(&mut shards, "order of shards", &[epoch]);
        shards.into_iter().flat_map(move |shard| {
            let rows = self.shards[shard];
            let mut starts: Vec<u64> = (0..rows).step_by(BLOCK_ROWS as usize).collect();
            self.shuffle(&mut starts, "order of blocks", &[epoch, shard as u64]);
            starts.into_iter().map(move |first_row| Block {
                epoch,
                shard,
                first_row,
                rows: BLOCK_ROWS.min(rows - first_row) as usize,
                skip: 0,
            })
        })
    }

    /// The block's rows still to visit, as offsets from its first row, in the order of visit.
    pub fn rows(&self, block: &Block) -> Vec<u32> {
        let mut rows: Vec<u32> = (0..block.rows as u32).collect();
        self.shuffle(&mut rows, "order of rows", &[block.epoch, block.shard as u64, block.first_row]);
        rows.split_off(block.skip)
    }

    fn shuffle<T>(&self, items: &mut [T], purpose: &str, ids: &[u64]) {
        if let Order::Shuffled { seed } = self.order {
            KeyedRng::new(seed, purpose, ids).shuffle(items);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// `(shard, row)` of each example in the order of visit.
    fn visits(plan: &Plan, cursor: u64) -> impl Iterator<Item = (usize, u64)> + '_ {
        plan.blocks(cursor).flat_map(|block| {
            plan.rows(&block).into_iter().map(move |row| (block.shard, block.first_row + u64::from(row)))
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_row_once_an_epoch(shards in prop::collection::vec(0..9_000_u64, 1..5), seed: u64) {
            let total = shards.iter().sum::<u64>() as usize;
            let plan = Plan::new(shards, Order::Shuffled { seed });
            let seen: Vec<_> = visits(&plan, 0).take(2 * total).collect();
            let distinct = |part: &[(usize, u64)]| part.iter().collect::<BTreeSet<_>>().len();
            prop_assert_eq!(seen.len(), 2 * total);
            prop_assert_eq!((distinct(&seen[..total]), distinct(&seen[total..])), (total, total));
            // Two permutations of 50 rows agree with probability 1/50!.
            prop_assert!(total < 50 || seen[..total] != seen[total..]);
        }

        #[test]
        fn seeking_is_skipping(shards in prop::collection::vec(0..6_000_u64, 1..4), seed: u64, share in 0.0..3.0) {
            let total = shards.iter().sum::<u64>();
            let cursor = (total as f64 * share) as u64;
            let plan = Plan::new(shards, Order::Shuffled { seed });
            let skipped: Vec<_> = visits(&plan, 0).skip(cursor as usize).take(5_000).collect();
            prop_assert_eq!(visits(&plan, cursor).take(5_000).collect::<Vec<_>>(), skipped);
        }
    }

    #[test]
    fn stored_order_is_visited_once() {
        let plan = Plan::new(vec![2, 0, 3], Order::Stored);
        let all = [(0, 0), (0, 1), (2, 0), (2, 1), (2, 2)];
        assert_eq!(visits(&plan, 0).collect::<Vec<_>>(), all);
        assert_eq!(visits(&plan, 3).collect::<Vec<_>>(), all[3..]);
        assert_eq!(visits(&plan, 5).count(), 0);
    }
}
