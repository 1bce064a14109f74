//! Products of matrices into buffers of our own.
//!
//! Burn's CPU backend zeroes and then copies every product's buffer (`FlexTensor::empty`): a third of a
//! bert-tiny step. The kernels are the same: the `gemm` crate's.

use std::mem::MaybeUninit;

use rayon::prelude::*;

/// A view of a matrix within a slice.
#[derive(Clone, Copy)]
pub(super) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// `rows` rows of `columns` values, `stride` apart.
    pub(super) fn new(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(rows == 0 || (rows - 1) * stride + columns <= values.len(), "a matrix lies within its slice");
        Self { values, rows, columns, row_stride: stride, column_stride: 1 }
    }

    /// The transposed view.
    pub(super) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// Products of at least this many multiplications are spread over threads: 192³, as in Burn's CPU backend.
const PARALLEL: usize = 192 * 192 * 192;

/// `left · right`, plus `bias` on each row, row-major.
pub(super) fn product(left: Matrix<'_>, right: Matrix<'_>, bias: Option<&[f32]>) -> Vec<f32> {
    let (rows, columns) = (left.rows, right.columns);
    let mut output = Vec::with_capacity(rows * columns);
    let spare = &mut output.spare_capacity_mut()[..rows * columns];
    if let Some(bias) = bias {
        let piece = (super::cpu::PIECE / columns).max(1) * columns;
        spare.par_chunks_mut(piece).for_each(|rows| {
            for row in rows.chunks_exact_mut(columns) {
                row.write_copy_of_slice(bias);
            }
        });
    }
    // SAFETY: with a bias, the output is initialised above, and otherwise not read.
    unsafe {
        multiply(spare, columns, left, right, bias.is_some());
        output.set_len(rows * columns);
    }
    output
}

/// Writes or adds `left · right` to rows `stride` apart.
///
/// # Safety
///
/// Where it is added to, the output must be initialised. It is initialised afterwards.
pub(super) unsafe fn multiply(
    output: &mut [MaybeUninit<f32>],
    stride: usize,
    left: Matrix<'_>,
    right: Matrix<'_>,
    add: bool,
) {
    let (rows, columns, depth) = (left.rows, right.columns, left.columns);
    assert_eq!(depth, right.rows, "inner dimensions agree");
    assert!(rows == 0 || (rows - 1) * stride + columns <= output.len(), "the output is large enough");
    let parallel = rows * columns * depth >= PARALLEL;
    // SAFETY: both views and the output lie within their slices, as asserted here and in `Matrix::new`.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            output.as_mut_ptr().cast::<f32>(),
            1,
            stride as isize,
            add,
            left.values.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.values.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            if parallel { gemm::Parallelism::Rayon(0) } else { gemm::Parallelism::None },
        );
    }
}
