//! Column names of the example rows, each written once.

/// `[CLS] A [SEP] B [SEP]`, masks applied unless the dataset is dynamic; real tokens only, never padded.
pub const INPUT_IDS: &str = "input_ids";
/// Index of B's first token; equals the length when there is no B.
pub const SEGMENT_B_START: &str = "segment_b_start";
/// Positions to predict, ascending.
pub const MASKED_LM_POSITIONS: &str = "masked_lm_positions";
/// The original token at each of [`MASKED_LM_POSITIONS`].
pub const MASKED_LM_IDS: &str = "masked_lm_ids";
/// 0 = B follows A, 1 = B is random (Google's convention).
pub const NEXT_SENTENCE_LABEL: &str = "next_sentence_label";
/// The document A comes from.
pub const DOCUMENT_ID: &str = "document_id";
/// The document B comes from; equals [`DOCUMENT_ID`] unless B is random.
pub const DOCUMENT_B_ID: &str = "document_b_id";
