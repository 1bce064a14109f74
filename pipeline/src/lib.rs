//! Corpus to dataset.
//!
//! Sources become documents, documents become token ids, token ids become masked sentence pairs in shards. Each
//! step is a stage cached by fingerprint; what is trained on the dataset is none of this crate's business.

mod catalog;
mod error;
mod inputs_hash;
mod pairing;
mod prepare;
mod row_writer;
mod settings;
mod source;
mod stages;
mod store;
mod text;
mod tokenize;

pub use error::{Error, Result};
pub use prepare::{Options, Outcome, Stage, StageReport, Status, learn_vocabulary, prepare};
pub use settings::{PrepareJob, Settings};
pub use tokenize::{Encoder, WordPiece};
