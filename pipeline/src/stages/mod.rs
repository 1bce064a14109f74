//! The three cached stages. Each knows how to fill a directory and what its bytes depend on; when to run one
//! and when to reuse it is decided by `prepare`.

pub mod documents;
pub mod engine;
pub mod examples;
pub mod tables;
pub mod tokens;
