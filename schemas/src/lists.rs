//! Lists of numbers: a builder and a view, the one shape every nested column here has.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, ListArray, PrimitiveArray};
use arrow::buffer::{OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{ArrowNativeType, ArrowPrimitiveType, DataType, Field};

/// The Arrow type of a list of `T`; neither lists nor items are null.
pub fn list_type<T: ArrowPrimitiveType>() -> DataType {
    DataType::List(Arc::new(Field::new("element", T::DATA_TYPE, false)))
}

/// Builds a list column.
#[derive(Debug)]
pub struct Lists<T> {
    offsets: Vec<i32>,
    values: Vec<T>,
}

impl<T> Default for Lists<T> {
    fn default() -> Self {
        Self { offsets: vec![0], values: Vec::new() }
    }
}

impl<T> Lists<T> {
    /// Appends a list.
    pub fn push(&mut self, items: impl IntoIterator<Item = T>) {
        self.values.extend(items);
        self.offsets.push(i32::try_from(self.values.len()).expect("a batch holds fewer than 2^31 items"));
    }

    /// Applies a function to every item.
    pub fn map<U>(self, f: impl Fn(T) -> U) -> Lists<U> {
        Lists { offsets: self.offsets, values: self.values.into_iter().map(f).collect() }
    }

    /// The column.
    pub fn finish<A: ArrowPrimitiveType<Native = T>>(self) -> ArrayRef
    where
        T: ArrowNativeType,
    {
        let values = PrimitiveArray::<A>::new(self.values.into(), None);
        let field = Arc::new(Field::new("element", A::DATA_TYPE, false));
        Arc::new(ListArray::new(field, OffsetBuffer::new(self.offsets.into()), Arc::new(values), None))
    }
}

/// A list column, downcast once. Cloning shares the buffers.
#[derive(Clone, Debug)]
pub struct ListView<A: ArrowPrimitiveType> {
    offsets: OffsetBuffer<i32>,
    values: ScalarBuffer<A::Native>,
}

impl<A: ArrowPrimitiveType> ListView<A> {
    /// A view of `column` if it is a list of `A` without null items. Null lists read as what their offsets span.
    pub fn new(column: &ArrayRef) -> Option<Self> {
        let lists = column.as_any().downcast_ref::<ListArray>()?;
        let values = lists.values().as_any().downcast_ref::<PrimitiveArray<A>>()?;
        (values.null_count() == 0)
            .then(|| Self { offsets: lists.offsets().clone(), values: values.values().clone() })
    }

    /// The list at `row`.
    pub fn row(&self, row: usize) -> &[A::Native] {
        &self.values[self.offsets[row] as usize..self.offsets[row + 1] as usize]
    }
}
