//! The example rows: their Arrow schema, a builder, and a checked view of a batch.
//!
//! ```text
//! input_ids            List<UInt16|UInt32>  [CLS] a a m a [SEP] b b m [SEP]
//! segment_b_start      UInt16                                   ^6
//! masked_lm_positions  List<UInt16>                  3            8
//! masked_lm_ids        List<UInt16|UInt32>           a            b
//! next_sentence_label  UInt8                0 = B follows A, 1 = random
//! document_id, document_b_id  UInt64
//! ```

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt8Array, UInt16Array, UInt64Array};
use arrow::buffer::ScalarBuffer;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, UInt16Type, UInt32Type};

use crate::lists::{ListView, Lists, list_type};
use crate::{Error, ExampleRules, Masked, Result, columns};

/// The Arrow schema of the example rows; `wide` when ids need 32 bits. No column or item is ever null.
pub fn example_schema(wide: bool) -> SchemaRef {
    let ids = if wide { list_type::<UInt32Type>() } else { list_type::<UInt16Type>() };
    Arc::new(Schema::new(vec![
        Field::new(columns::INPUT_IDS, ids.clone(), false),
        Field::new(columns::SEGMENT_B_START, DataType::UInt16, false),
        Field::new(columns::MASKED_LM_POSITIONS, list_type::<UInt16Type>(), false),
        Field::new(columns::MASKED_LM_IDS, ids, false),
        Field::new(columns::NEXT_SENTENCE_LABEL, DataType::UInt8, false),
        Field::new(columns::DOCUMENT_ID, DataType::UInt64, false),
        Field::new(columns::DOCUMENT_B_ID, DataType::UInt64, false),
    ]))
}

/// Builds a batch of example rows.
pub struct ExampleBuilder {
    wide: bool,
    input_ids: Lists<u32>,
    segment_b_start: Vec<u16>,
    masked_lm_positions: Lists<u16>,
    masked_lm_ids: Lists<u32>,
    next_sentence_label: Vec<u8>,
    document_id: Vec<u64>,
    document_b_id: Vec<u64>,
}

impl ExampleBuilder {
    /// An empty builder; `wide` when ids need 32 bits.
    pub fn new(wide: bool) -> Self {
        Self {
            wide,
            input_ids: Lists::default(),
            segment_b_start: Vec::new(),
            masked_lm_positions: Lists::default(),
            masked_lm_ids: Lists::default(),
            next_sentence_label: Vec::new(),
            document_id: Vec::new(),
            document_b_id: Vec::new(),
        }
    }

    /// Appends a row: masked `input_ids`, where B starts, the predictions by position, the label, A's and B's
    /// documents.
    pub fn push(
        &mut self,
        input_ids: &[u32],
        segment_b_start: usize,
        masked: &[Masked],
        random_next: bool,
        documents: (u64, u64),
    ) {
        self.input_ids.push(input_ids.iter().copied());
        self.segment_b_start.push(segment_b_start as u16);
        self.masked_lm_positions.push(masked.iter().map(|m| m.position));
        self.masked_lm_ids.push(masked.iter().map(|m| m.id));
        self.next_sentence_label.push(u8::from(random_next));
        self.document_id.push(documents.0);
        self.document_b_id.push(documents.1);
    }

    /// Number of rows so far.
    pub fn len(&self) -> usize {
        self.document_id.len()
    }

    /// Whether there is no row yet.
    pub fn is_empty(&self) -> bool {
        self.document_id.is_empty()
    }

    /// The columns in the order of [`example_schema`].
    pub fn finish(self) -> Vec<ArrayRef> {
        let wide = self.wide;
        let ids = |lists: Lists<u32>| {
            if wide { lists.finish::<UInt32Type>() } else { lists.map(|id| id as u16).finish::<UInt16Type>() }
        };
        vec![
            ids(self.input_ids),
            Arc::new(UInt16Array::from(self.segment_b_start)),
            self.masked_lm_positions.finish::<UInt16Type>(),
            ids(self.masked_lm_ids),
            Arc::new(UInt8Array::from(self.next_sentence_label)),
            Arc::new(UInt64Array::from(self.document_id)),
            Arc::new(UInt64Array::from(self.document_b_id)),
        ]
    }

    /// The rows as a batch.
    pub fn finish_batch(self) -> RecordBatch {
        let schema = example_schema(self.wide);
        RecordBatch::try_new(schema, self.finish()).expect("the builder fills exactly the schema's columns")
    }
}

/// Token ids at the width the dataset stores them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids<'a> {
    /// A vocabulary of at most 65,536 entries.
    U16(&'a [u16]),
    /// A larger one.
    U32(&'a [u32]),
}

impl Ids<'_> {
    /// Number of ids.
    pub fn len(self) -> usize {
        match self {
            Ids::U16(ids) => ids.len(),
            Ids::U32(ids) => ids.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The id at `index`, which must be below [`len`](Self::len).
    pub fn get(self, index: usize) -> u32 {
        match self {
            Ids::U16(ids) => u32::from(ids[index]),
            Ids::U32(ids) => ids[index],
        }
    }

    /// Appends the ids to a host buffer.
    pub fn extend_i32(self, out: &mut Vec<i32>) {
        match self {
            Ids::U16(ids) => out.extend(ids.iter().map(|&id| i32::from(id))),
            Ids::U32(ids) => out.extend(ids.iter().map(|&id| id as i32)),
        }
    }

    /// The ids one by one.
    pub fn iter(self) -> impl Iterator<Item = u32> {
        (0..self.len()).map(move |i| self.get(i))
    }

    /// How often an id occurs.
    pub(crate) fn count(self, wanted: u32) -> usize {
        match self {
            Ids::U16(ids) => ids.iter().filter(|&&id| u32::from(id) == wanted).count(),
            Ids::U32(ids) => ids.iter().filter(|&&id| id == wanted).count(),
        }
    }

    /// The largest id, if any.
    pub(crate) fn max(self) -> Option<u32> {
        match self {
            Ids::U16(ids) => ids.iter().max().map(|&id| u32::from(id)),
            Ids::U32(ids) => ids.iter().max().copied(),
        }
    }
}

/// One row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example<'a> {
    /// `[CLS] A [SEP] B [SEP]`, masked.
    pub input_ids: Ids<'a>,
    /// Index of B's first token; the length when there is no B.
    pub segment_b_start: usize,
    /// Positions to predict, ascending.
    pub masked_lm_positions: &'a [u16],
    /// The original tokens there.
    pub masked_lm_ids: Ids<'a>,
    /// 0 = B follows A, 1 = random.
    pub next_sentence_label: u8,
    /// A's document.
    pub document_id: u64,
    /// B's document.
    pub document_b_id: u64,
}

/// A batch of rows, downcast once and checked against the format.
pub struct ExampleBatch {
    input_ids: IdLists,
    segment_b_start: ScalarBuffer<u16>,
    masked_lm_positions: ListView<UInt16Type>,
    masked_lm_ids: IdLists,
    next_sentence_label: ScalarBuffer<u8>,
    document_id: ScalarBuffer<u64>,
    document_b_id: ScalarBuffer<u64>,
}

enum IdLists {
    U16(ListView<UInt16Type>),
    U32(ListView<UInt32Type>),
}

impl IdLists {
    fn row(&self, row: usize) -> Ids<'_> {
        match self {
            Self::U16(lists) => Ids::U16(lists.row(row)),
            Self::U32(lists) => Ids::U32(lists.row(row)),
        }
    }
}

impl ExampleBatch {
    /// Checks columns, types and every row. `shard` and `first_row` (the batch's first row within the shard)
    /// are named in errors.
    pub fn try_new(batch: &RecordBatch, rules: &ExampleRules, shard: &str, first_row: u64) -> Result<Self> {
        let rows = Self::view(batch, shard)?;
        for row in 0..rows.len() {
            rules.check(&rows.row(row)).map_err(|message| Error::Row {
                shard: shard.to_owned(),
                row: first_row + row as u64,
                message,
            })?;
        }
        Ok(rows)
    }

    /// Checks columns and types only.
    fn view(batch: &RecordBatch, shard: &str) -> Result<Self> {
        let bad = |message: String| Error::Shard { shard: shard.to_owned(), message };
        let column = |name: &str| {
            let column = batch.column_by_name(name).ok_or_else(|| bad(format!("no column {name}")))?;
            if column.null_count() > 0 {
                return Err(bad(format!("column {name} holds nulls")));
            }
            Ok(column)
        };
        let ids = |name: &str| {
            let column = column(name)?;
            if let Some(lists) = ListView::<UInt16Type>::new(column) {
                Ok(IdLists::U16(lists))
            } else if let Some(lists) = ListView::<UInt32Type>::new(column) {
                Ok(IdLists::U32(lists))
            } else {
                Err(bad(format!(
                    "column {name} is {}, expected a list of UInt16 or UInt32",
                    column.data_type()
                )))
            }
        };
        let wrong = |name: &str, expected: &str| bad(format!("column {name} is not {expected}"));
        Ok(Self {
            input_ids: ids(columns::INPUT_IDS)?,
            segment_b_start: column(columns::SEGMENT_B_START)?
                .as_any()
                .downcast_ref::<UInt16Array>()
                .ok_or_else(|| wrong(columns::SEGMENT_B_START, "UInt16"))?
                .values()
                .clone(),
            masked_lm_positions: ListView::new(column(columns::MASKED_LM_POSITIONS)?)
                .ok_or_else(|| wrong(columns::MASKED_LM_POSITIONS, "a list of UInt16"))?,
            masked_lm_ids: ids(columns::MASKED_LM_IDS)?,
            next_sentence_label: column(columns::NEXT_SENTENCE_LABEL)?
                .as_any()
                .downcast_ref::<UInt8Array>()
                .ok_or_else(|| wrong(columns::NEXT_SENTENCE_LABEL, "UInt8"))?
                .values()
                .clone(),
            document_id: u64s(column(columns::DOCUMENT_ID)?)
                .ok_or_else(|| wrong(columns::DOCUMENT_ID, "UInt64"))?,
            document_b_id: u64s(column(columns::DOCUMENT_B_ID)?)
                .ok_or_else(|| wrong(columns::DOCUMENT_B_ID, "UInt64"))?,
        })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.document_id.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.document_id.is_empty()
    }

    /// The row at `index`, which must be below [`len`](Self::len).
    pub fn row(&self, index: usize) -> Example<'_> {
        Example {
            input_ids: self.input_ids.row(index),
            segment_b_start: usize::from(self.segment_b_start[index]),
            masked_lm_positions: self.masked_lm_positions.row(index),
            masked_lm_ids: self.masked_lm_ids.row(index),
            next_sentence_label: self.next_sentence_label[index],
            document_id: self.document_id[index],
            document_b_id: self.document_b_id[index],
        }
    }
}

fn u64s(column: &ArrayRef) -> Option<ScalarBuffer<u64>> {
    Some(column.as_any().downcast_ref::<UInt64Array>()?.values().clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example_rules::tests::RULES;

    #[test]
    fn a_wrong_column_is_named() {
        let mut builder = ExampleBuilder::new(true);
        builder.push(&[2, 9, 3, 8, 3], 3, &[], false, (1, 1));
        let batch = builder.finish_batch();
        assert_eq!(batch.schema(), example_schema(true));
        let without = batch.project(&[0, 1, 2, 3, 4, 5]).unwrap();
        let error = ExampleBatch::try_new(&without, &RULES, "s", 0).err().unwrap().to_string();
        assert_eq!(error, "shard s: no column document_b_id");
    }
}
