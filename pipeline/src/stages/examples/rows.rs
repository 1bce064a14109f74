//! The token rows as functions see them, and lists of structs as they return them.

use std::sync::Arc;

use arrow::array::{ArrayRef, ListArray, StructArray, UInt32Array, UInt64Array};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, Fields, UInt32Type};
use cloze_schemas::ListView;

use crate::catalog::{Catalog, Document, Place};
use crate::pairing::Sentences;
use crate::stages::engine::argument;

/// The columns of token rows, downcast.
pub struct TokenRows<'a> {
    files: &'a UInt64Array,
    documents: &'a UInt32Array,
    parts: &'a UInt32Array,
    ids: ListView<UInt32Type>,
    lengths: ListView<UInt32Type>,
}

/// A kept part of a document.
pub struct Part<'a> {
    /// The document.
    pub document: &'a Document,
    /// Its split and index there.
    pub place: Place,
    /// The part's number, corpus-wide.
    pub number: u32,
    /// Sentences of the document before this part.
    pub first_sentence: u32,
    /// The part's tokens.
    pub sentences: Sentences<'a>,
}

impl<'a> TokenRows<'a> {
    /// From the arguments of a function over [`token_types`](super::token_types).
    pub fn new(columns: &'a [ArrayRef]) -> Self {
        let list = |index: usize| ListView::new(&columns[index]).expect("the engine coerces arguments");
        Self {
            files: argument(columns, 0),
            documents: argument(columns, 1),
            parts: argument(columns, 2),
            ids: list(3),
            lengths: list(4),
        }
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// The part at `row`, unless its document was left out.
    pub fn part<'b>(&'b self, row: usize, catalog: &'b Catalog) -> Option<Part<'b>> {
        let place = catalog.place(self.files.value(row), self.documents.value(row))?;
        let document = catalog.document(place);
        let (number, first_sentence) = catalog.part(document, self.parts.value(row));
        let sentences = Sentences { ids: self.ids.row(row), lengths: self.lengths.row(row) };
        Some(Part { document, place, number, first_sentence, sentences })
    }
}

/// The type of a list of structs.
pub fn struct_list_type(fields: &Fields) -> DataType {
    DataType::List(Arc::new(Field::new("element", DataType::Struct(fields.clone()), false)))
}

/// A column of lists of structs: `lengths[i]` structs in row `i`.
pub fn struct_lists(
    fields: &Fields,
    columns: Vec<ArrayRef>,
    lengths: impl IntoIterator<Item = usize>,
) -> ArrayRef {
    let structs = StructArray::new(fields.clone(), columns, None);
    let item = Arc::new(Field::new("element", DataType::Struct(fields.clone()), false));
    Arc::new(ListArray::new(item, OffsetBuffer::from_lengths(lengths), Arc::new(structs), None))
}
