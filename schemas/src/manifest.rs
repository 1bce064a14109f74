//! The manifest: what a dataset says about itself. Written last: without it the dataset does not exist.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::{Error, ExampleRules, Result, SpecialTokens, Vocabulary, atomic, sha256_file};

/// The version of the dataset format that this build reads and writes.
pub const FORMAT_VERSION: u64 = 1;

/// The manifest's file name in a dataset's directory.
pub const MANIFEST_FILE: &str = "manifest.json";

/// The part of a dataset a shard belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// For training.
    Train,
    /// Held out: no document of it occurs in training, not even as a random partner.
    Validation,
}

impl Split {
    /// Both splits.
    pub const ALL: [Self; 2] = [Self::Train, Self::Validation];

    /// The split's name, also its directory.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Validation => "validation",
        }
    }
}

/// When masks are drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Masks {
    /// Drawn once and stored in the rows.
    Static,
}

/// What the second segment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pairs {
    /// The sentences that follow, or random ones (paper section 3.1, task #2).
    NextSentence,
}

/// Whose draws were replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compat {
    /// Nobody's: keyed draws, Google's traps mended.
    None,
    /// Google's `create_pretraining_data.py`, draw for draw.
    Google,
}

/// The vocabulary a dataset was made with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VocabularyInfo {
    /// Number of tokens.
    pub size: usize,
    /// SHA-256 of `vocab.txt`.
    pub sha256: String,
    /// Whether text was lowercased and stripped of accents.
    pub lowercase: bool,
    /// Ids of the special tokens.
    pub special: SpecialTokens,
}

/// Sums over a split.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Documents that examples were made from.
    pub documents: u64,
    /// Examples (rows).
    pub examples: u64,
    /// Tokens, `[CLS]` and `[SEP]` counted.
    pub tokens: u64,
}

/// One Parquet file of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Path relative to the dataset's directory, with `/`.
    pub path: String,
    /// The split it belongs to.
    pub split: Split,
    /// Rows in the file.
    pub rows: u64,
    /// Tokens in all its rows, `[CLS]` and `[SEP]` counted.
    pub tokens: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
}

/// The content of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT_VERSION`] of the build that wrote it.
    pub format_version: u64,
    /// What the rows are: `bert-pretraining`.
    pub kind: String,
    /// The name the job gave the dataset.
    pub name: String,
    /// Hash of everything that determines the shards' bytes.
    pub fingerprint: String,
    /// The version of cloze that wrote the dataset.
    pub created_by: String,
    /// Upper bound of tokens in a row.
    pub max_seq_length: usize,
    /// Upper bound of predictions in a row.
    pub max_predictions_per_seq: usize,
    /// When masks are drawn.
    pub masks: Masks,
    /// What the second segment is.
    pub pairs: Pairs,
    /// Whose draws were replayed.
    pub compat: Compat,
    /// The seed of every draw.
    pub seed: u64,
    /// The vocabulary of `input_ids`.
    pub vocabulary: VocabularyInfo,
    /// Sums over the train split.
    pub train: Totals,
    /// Sums over the validation split.
    pub validation: Totals,
    /// The resolved job, as JSON.
    pub settings: serde_json::Value,
    /// The shards of both splits, in order.
    pub shards: Vec<Shard>,
}

impl Manifest {
    /// The value of [`kind`](Self::kind).
    pub const KIND: &'static str = "bert-pretraining";

    /// The sums of one split.
    pub fn totals(&self, split: Split) -> Totals {
        match split {
            Split::Train => self.train,
            Split::Validation => self.validation,
        }
    }

    /// What every row must satisfy.
    pub fn example_rules(&self) -> ExampleRules {
        ExampleRules {
            vocabulary_size: self.vocabulary.size,
            special: self.vocabulary.special,
            max_seq_length: self.max_seq_length,
            max_predictions_per_seq: self.max_predictions_per_seq,
            google: self.compat == Compat::Google,
        }
    }

    /// Writes `manifest.json` into `directory`, atomically.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let mut json = serde_json::to_vec_pretty(self).expect("a manifest has string keys only");
        json.push(b'\n');
        atomic::write_file(&directory.join(MANIFEST_FILE), |file| file.write_all(&json))
    }

    /// Reads and checks `manifest.json` of `directory`.
    ///
    /// # Errors
    /// No manifest, an unknown format version, a field missing, unknown or contradicting another.
    pub fn read(directory: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Version {
            format_version: u64,
        }

        let path = directory.join(MANIFEST_FILE);
        let bytes = std::fs::read(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => Error::NotADataset { path: directory.to_owned() },
            _ => Error::Io { path: path.clone(), source },
        })?;
        let bad = |message: String| Error::Manifest { path: path.clone(), message };
        // The version first: the rest of an unknown version may have any shape.
        let Version { format_version } = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        if format_version != FORMAT_VERSION {
            return Err(Error::FormatVersion { path, found: format_version, supported: FORMAT_VERSION });
        }
        let manifest: Self = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
        manifest.check().map_err(bad)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        if self.kind != Self::KIND {
            return Err(format!("kind is {:?}, expected {:?}", self.kind, Self::KIND));
        }
        if self.vocabulary.special.ids().iter().any(|&id| id as usize >= self.vocabulary.size) {
            return Err(format!(
                "a special token's id is not below vocabulary.size = {}",
                self.vocabulary.size
            ));
        }
        for split in Split::ALL {
            let shards = || self.shards.iter().filter(|shard| shard.split == split);
            let totals = self.totals(split);
            let (rows, tokens) = shards().fold((0, 0), |(r, t), shard| (r + shard.rows, t + shard.tokens));
            if (rows, tokens) != (totals.examples, totals.tokens) {
                return Err(format!(
                    "the {} shards add up to {rows} rows and {tokens} tokens, but the totals say {} and {}",
                    split.as_str(),
                    totals.examples,
                    totals.tokens
                ));
            }
            let most = shards().map(|shard| shard.rows).max().unwrap_or(0);
            let least = shards().map(|shard| shard.rows).min().unwrap_or(0);
            if most - least > 1 {
                return Err(format!(
                    "{} shards differ by more than one row ({least} to {most})",
                    split.as_str()
                ));
            }
        }
        match self.shards.iter().find(|shard| !is_plain_relative(&shard.path)) {
            Some(shard) => Err(format!("shard path {:?} leads out of the dataset", shard.path)),
            None => Ok(()),
        }
    }
}

fn is_plain_relative(path: &str) -> bool {
    !path.is_empty() && Path::new(path).components().all(|c| matches!(c, std::path::Component::Normal(_)))
}

/// A dataset on disk, its manifest read and checked.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The dataset's directory.
    pub dir: PathBuf,
    /// Its manifest.
    pub manifest: Manifest,
}

impl Dataset {
    /// Opens a dataset by its directory, or by the bare name a job gave it: then the newest of that name, which
    /// is the directory `<name>-<8 hexadecimal digits>` whose manifest was written last.
    pub fn open(path: &Path) -> Result<Self> {
        let dir = if path.join(MANIFEST_FILE).exists() { path.to_owned() } else { newest_named(path)? };
        Ok(Self { manifest: Manifest::read(&dir)?, dir })
    }

    /// The shards of one split, in order.
    pub fn shards(&self, split: Split) -> impl Iterator<Item = &Shard> {
        self.manifest.shards.iter().filter(move |shard| shard.split == split)
    }

    /// Where a shard lies.
    pub fn shard_path(&self, shard: &Shard) -> PathBuf {
        self.dir.join(&shard.path)
    }

    /// The vocabulary that lies beside the shards.
    ///
    /// # Errors
    /// When it is missing, damaged or not the one the manifest names.
    pub fn vocabulary(&self) -> Result<Vocabulary> {
        let path = self.dir.join("vocab.txt");
        let vocabulary = Vocabulary::load(&path)?;
        if vocabulary.sha256() != self.manifest.vocabulary.sha256 {
            return Err(Error::Vocabulary {
                path,
                message: "not the vocabulary the dataset was made with (sha256 differs from manifest.json)"
                    .to_owned(),
            });
        }
        Ok(vocabulary)
    }

    /// Compares a shard's size and checksum with the manifest.
    pub fn verify_checksum(&self, shard: &Shard) -> Result<()> {
        let path = self.shard_path(shard);
        let damaged = |message: String| Error::Shard { shard: path.display().to_string(), message };
        let metadata = std::fs::metadata(&path).map_err(|source| match source.kind() {
            std::io::ErrorKind::NotFound => {
                damaged("missing; restore it or prepare the dataset again".to_owned())
            }
            _ => Error::Io { path: path.clone(), source },
        })?;
        if metadata.len() != shard.bytes {
            return Err(damaged(format!(
                "has {} bytes, the manifest says {}: truncated or replaced; restore it or prepare the dataset again",
                metadata.len(),
                shard.bytes
            )));
        }
        if sha256_file(&path)? != shard.sha256 {
            return Err(damaged(
                "checksum differs from the manifest: damaged; restore it or prepare the dataset again"
                    .to_owned(),
            ));
        }
        Ok(())
    }
}

fn newest_named(path: &Path) -> Result<PathBuf> {
    let missing = || Error::NotADataset { path: path.to_owned() };
    let name = path.file_name().ok_or_else(missing)?.to_string_lossy().into_owned();
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(parent).map_err(|_| missing())?;
    entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let file_name = entry.file_name().into_string().ok()?;
            let digits = file_name.strip_prefix(&name)?.strip_prefix('-')?;
            let is_fingerprint = digits.len() == 8 && digits.bytes().all(|b| b.is_ascii_hexdigit());
            let written =
                std::fs::metadata(entry.path().join(MANIFEST_FILE)).and_then(|m| m.modified()).ok()?;
            is_fingerprint.then_some((written, file_name, entry.path()))
        })
        .max()
        .map(|(_, _, dir)| dir)
        .ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format_version: FORMAT_VERSION,
            kind: Manifest::KIND.to_owned(),
            name: "test".to_owned(),
            fingerprint: "0".repeat(64),
            created_by: "cloze".to_owned(),
            max_seq_length: 128,
            max_predictions_per_seq: 20,
            masks: Masks::Static,
            pairs: Pairs::NextSentence,
            compat: Compat::None,
            seed: 1,
            vocabulary: VocabularyInfo {
                size: 10,
                sha256: String::new(),
                lowercase: true,
                special: SpecialTokens { pad: 0, unk: 1, cls: 2, sep: 3, mask: 4 },
            },
            train: Totals { documents: 1, examples: 3, tokens: 30 },
            validation: Totals::default(),
            settings: serde_json::json!({}),
            shards: [2, 1]
                .into_iter()
                .enumerate()
                .map(|(i, rows)| Shard {
                    path: format!("train/{i}.parquet"),
                    split: Split::Train,
                    rows,
                    tokens: rows * 10,
                    bytes: 1,
                    sha256: String::new(),
                })
                .collect(),
        }
    }

    #[test]
    fn round_trips_and_opens_by_bare_name() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("test-00000000");
        std::fs::create_dir(&dir).unwrap();
        manifest().write(&dir).unwrap();
        assert_eq!(Dataset::open(&dir).unwrap().manifest, manifest());
        assert_eq!(Dataset::open(&root.path().join("test")).unwrap().dir, dir);
        assert!(matches!(Dataset::open(&root.path().join("tes")), Err(Error::NotADataset { .. })));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let check = |change: fn(&mut serde_json::Value), expected: &str| {
            let dir = tempfile::tempdir().unwrap();
            let mut json = serde_json::to_value(manifest()).unwrap();
            change(&mut json);
            std::fs::write(dir.path().join(MANIFEST_FILE), json.to_string()).unwrap();
            let error = Manifest::read(dir.path()).unwrap_err();
            assert!(error.is_bad_input());
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(|m| m["format_version"] = 2.into(), "format version 2 is unknown");
        check(|m| m["kind"] = "other".into(), "kind is \"other\"");
        check(|m| m["extra"] = 1.into(), "unknown field `extra`");
        check(|m| m["train"]["examples"] = 4.into(), "add up to 3 rows");
        check(|m| m["shards"][0]["path"] = "../x".into(), "leads out of the dataset");
        check(|m| m["vocabulary"]["special"]["mask"] = 10.into(), "special token");
        check(|m| *m = serde_json::json!([]), "manifest.json");
    }
}
