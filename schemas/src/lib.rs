//! What a Cloze dataset is, and what its writer and its reader must agree on.
//!
//! Schemas, manifest, fingerprints, special tokens, keyed random numbers and masking live here; how a corpus
//! becomes a dataset (`cloze-pipeline`) and what is trained on it (`cloze-trainer`) do not.

pub mod atomic;
pub mod columns;
mod error;
mod example_rules;
mod examples;
mod fingerprint;
mod lists;
mod manifest;
mod masking;
mod rng;
mod verify;
mod vocabulary;

pub use error::{Error, Result};
pub use example_rules::ExampleRules;
pub use examples::{Example, ExampleBatch, ExampleBuilder, Ids, example_schema};
pub use fingerprint::{Fingerprint, sha256_file, sha256_hex};
pub use lists::{ListView, Lists, list_type};
pub use manifest::{
    Compat, Dataset, FORMAT_VERSION, MANIFEST_FILE, Manifest, Masks, Pairs, Shard, Split, Totals,
    VocabularyInfo,
};
pub use masking::{Masked, Masker, MaskingKind, MaskingRules, prediction_count};
pub use rng::{KeyedRng, RandomSource};
pub use verify::{read_shard, verify};
pub use vocabulary::{SpecialTokens, Vocabulary};
