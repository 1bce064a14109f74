//! The three cached stages. Each knows how to fill a directory and what its bytes depend on; when to run one
//! and when to reuse it is decided by `prepare`.

pub mod documents;
pub mod engine;
pub mod examples;
pub mod tables;
pub mod tokens;

use cloze_schemas::Fingerprint;

/// The crates whose output is part of our bytes, with their versions; a test compares them with `Cargo.lock`.
const CRATES: [(&str, &str); 7] = [
    ("arrow", "59.3.2"),
    ("encoding_rs", "0.8.44"),
    ("parquet", "59.3.2"),
    ("quick-xml", "0.42.0"),
    ("sentencex", "0.1.33"),
    ("tokenizers", "0.23.2"),
    ("zstd-sys", "2.1.3+zstd.1.5.7"),
];

/// Starts the fingerprint of a stage at a version of its code.
pub fn fingerprint(stage: &str, version: u32) -> Fingerprint {
    CRATES.iter().fold(Fingerprint::new(stage, version), |all, (name, version)| all.with(name, version))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crate_versions_are_those_of_the_lock_file() {
        let lock = include_str!("../../../Cargo.lock");
        for (name, version) in CRATES {
            let entry = format!("name = \"{name}\"\nversion = \"{version}\"");
            assert!(lock.contains(&entry), "{name} is no longer {version}: change CRATES with it");
        }
    }
}
