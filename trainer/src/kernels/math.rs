//! Elementary functions of `f32` that compilers turn into vector code: no calls, no branches, no tables.
//!
//! Products and sums are never fused, so results are the same bits on every instruction set.

/// Compiles a function for AVX-512, AVX2 and the baseline, and picks one at run time.
macro_rules! vectorized {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $type:ty),* $(,)?) $(-> $return:ty)? $body:block) => {
        $(#[$meta])*
        $vis fn $name($($arg: $type),*) $(-> $return)? {
            #[inline(always)]
            #[allow(clippy::inline_always, reason = "the body must take on its caller's instruction set")]
            fn body($($arg: $type),*) $(-> $return)? $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($arg: $type),*) $(-> $return)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $type),*) $(-> $return)? {
                    body($($arg),*)
                }
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the processor has these instructions.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor has these instructions.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use vectorized;

/// Lanes of the sums below: a vector of AVX-512.
const LANES: usize = 16;

/// The sum of `f(x)`, in lanes that are added pairwise at the end: an order fixed by the length alone.
#[inline(always)]
#[allow(clippy::inline_always, reason = "inlined into loops compiled for several instruction sets")]
pub(crate) fn sum_by(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += f(value);
        }
    }
    for (lane, &value) in lanes.iter_mut().zip(rest) {
        *lane += f(value);
    }
    add_lanes(lanes)
}

/// The sum of `f(x, y)` over two slices of one length; see [`sum_by`].
#[inline(always)]
#[allow(clippy::inline_always, reason = "inlined into loops compiled for several instruction sets")]
pub(crate) fn sum_by_pairs(left: &[f32], right: &[f32], f: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (chunks, rest) = left.as_chunks::<LANES>();
    let (other_chunks, other_rest) = right.as_chunks::<LANES>();
    for (chunk, other) in chunks.iter().zip(other_chunks) {
        for ((lane, &x), &y) in lanes.iter_mut().zip(chunk).zip(other) {
            *lane += f(x, y);
        }
    }
    for ((lane, &x), &y) in lanes.iter_mut().zip(rest).zip(other_rest) {
        *lane += f(x, y);
    }
    add_lanes(lanes)
}

/// The largest value.
#[inline(always)]
#[allow(clippy::inline_always, reason = "inlined into loops compiled for several instruction sets")]
pub(crate) fn largest(values: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane = if value > *lane { value } else { *lane };
        }
    }
    lanes.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, f32::max)
}

#[inline(always)]
#[allow(clippy::inline_always, reason = "inlined into loops compiled for several instruction sets")]
fn add_lanes(mut lanes: [f32; LANES]) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            lanes[lane] += lanes[lane + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `e^x` within two units in the last place; 0 below -87.3, about 2.4e38 above 88.3.
///
/// Cephes' `expf`: the argument is reduced by multiples of ln 2, the rest goes through a polynomial.
#[inline(always)]
#[allow(clippy::inline_always, reason = "inlined into loops compiled for several instruction sets")]
#[allow(clippy::excessive_precision, reason = "ln 2 is split in two")]
pub(crate) fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it rounds to an integer, which then sits in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.3, 88.3);
    let rounded = clamped * std::f32::consts::LOG2_E + ROUND;
    let whole = rounded - ROUND;
    let r = clamped - whole * 0.693_359_375 - whole * -2.121_944_4e-4;
    let mut p = 1.987_569_15e-4;
    p = p * r + 1.398_199_95e-3;
    p = p * r + 8.333_451_9e-3;
    p = p * r + 4.166_579_6e-2;
    p = p * r + 0.166_666_65;
    p = p * r + 0.5;
    p = p * r * r + r + 1.0;
    let power = f32::from_bits((rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23);
    if x < -87.3 { 0.0 } else { p * power }
}

/// The error function, absolute error below 5e-7: the rational approximation of Eigen and XLA.
#[inline(always)]
#[allow(clippy::inline_always, reason = "inlined into loops compiled for several instruction sets")]
pub(crate) fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    let mut p = -2.726_142_3e-10;
    p = p * square + 2.770_681_4e-8;
    p = p * square - 2.101_024e-6;
    p = p * square - 5.692_506_5e-5;
    p = p * square - 7.349_906_3e-4;
    p = p * square - 2.954_6e-3;
    p = p * square - 1.609_603_3e-2;
    let mut q = -1.456_607_2e-5;
    q = q * square - 2.133_740_6e-4;
    q = q * square - 1.682_827e-3;
    q = q * square - 7.373_329e-3;
    q = q * square - 1.426_473_9e-2;
    x * p / q
}

/// The hyperbolic tangent, absolute error below 5e-7.
#[inline(always)]
#[allow(clippy::inline_always, reason = "inlined into loops compiled for several instruction sets")]
pub(crate) fn tanh(x: f32) -> f32 {
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}
