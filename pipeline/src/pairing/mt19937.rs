//! Python's `random.Random`: MT19937 (Matsumoto and Nishimura) and the ways Python draws from it.

use cloze_schemas::RandomSource;

const N: usize = 624;
const M: usize = 397;

/// The generator of `random.Random(seed)` for an integer seed below 2^32.
pub struct Mt19937 {
    state: [u32; N],
    index: usize,
}

impl Mt19937 {
    /// `init_by_array([seed])`, as Python seeds an integer.
    pub fn new(seed: u32) -> Self {
        let mut state = [0; N];
        state[0] = 19_650_218;
        for i in 1..N {
            let previous: u32 = state[i - 1];
            state[i] = (previous ^ (previous >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        // A key of one word: its index stays 0 throughout.
        let mut i = 1;
        for _ in 0..N {
            let previous = state[i - 1];
            state[i] = (state[i] ^ (previous ^ (previous >> 30)).wrapping_mul(1_664_525)).wrapping_add(seed);
            i = following(i, &mut state);
        }
        for _ in 1..N {
            let previous = state[i - 1];
            state[i] =
                (state[i] ^ (previous ^ (previous >> 30)).wrapping_mul(1_566_083_941)).wrapping_sub(i as u32);
            i = following(i, &mut state);
        }
        state[0] = 0x8000_0000;
        Self { state, index: N }
    }

    fn next_u32(&mut self) -> u32 {
        if self.index == N {
            self.refill();
        }
        let mut y = self.state[self.index];
        self.index += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn refill(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let twist = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ twist;
        }
        self.index = 0;
    }
}

/// The next index of seeding; wrapping around carries the last word to the front.
fn following(i: usize, state: &mut [u32; N]) -> usize {
    if i + 1 < N {
        return i + 1;
    }
    state[0] = state[N - 1];
    1
}

impl RandomSource for Mt19937 {
    /// `_randbelow_with_getrandbits`: as many bits as `n` has, drawn again until below it.
    fn below(&mut self, n: u32) -> u32 {
        debug_assert!(n > 0, "an empty range has no draw");
        let shift = n.leading_zeros();
        loop {
            let draw = self.next_u32() >> shift;
            if draw < n {
                return draw;
            }
        }
    }

    fn random(&mut self) -> f64 {
        let (high, low) = (self.next_u32() >> 5, self.next_u32() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `random.Random(12345)` of Python 3.
    #[test]
    fn draws_as_python_does() {
        let mut rng = Mt19937::new(12345);
        let draws: Vec<f64> = (0..3).map(|_| rng.random()).collect();
        assert_eq!(draws, PYTHON_RANDOM);
        let mut items: Vec<u32> = (0..10).collect();
        rng.shuffle(&mut items);
        assert_eq!(items, PYTHON_SHUFFLE);
        let below: Vec<u32> = [1, 2, 7, 1000, u32::MAX].into_iter().map(|n| rng.below(n)).collect();
        assert_eq!(below, PYTHON_RANDRANGE);
    }

    #[allow(clippy::unreadable_literal, reason = "as Python prints them")]
    const PYTHON_RANDOM: [f64; 3] = [0.41661987254534116, 0.010169169457068361, 0.8252065092537432];
    const PYTHON_SHUFFLE: [u32; 10] = [6, 0, 8, 1, 7, 9, 2, 3, 5, 4];
    const PYTHON_RANDRANGE: [u32; 5] = [0, 1, 4, 642, 748_799_881];
}
