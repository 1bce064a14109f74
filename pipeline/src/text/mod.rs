//! Plain text: normalisation and sentences. Knows nothing of where the text comes from.

pub(crate) mod clean;
mod sentence;

pub use sentence::Splitter;
