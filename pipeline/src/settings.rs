//! The job file of `cloze prepare`: TOML in, checked settings out, once, before any work starts.

use std::path::{Path, PathBuf};

use cloze_schemas::{Compat, MaskingKind, MaskingRules, Masks, Pairs};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::source::SourceKind;
use crate::text::Splitter;

/// A job file as written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrepareJob {
    /// Where stages and datasets are kept; `store` in the current directory by default.
    #[serde(default)]
    pub store: Option<StoreTable>,
    /// The corpora.
    pub source: Vec<SourceTable>,
    /// What becomes a document, and of which split.
    #[serde(default)]
    pub documents: DocumentsTable,
    /// Text to token ids.
    pub tokenizer: TokenizerTable,
    /// Token ids to examples; `cloze vocab` does without.
    #[serde(default)]
    pub examples: Option<ExamplesTable>,
}

/// `[store]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoreTable {
    /// A local directory, also as `file://` URL.
    pub path: String,
}

/// `[[source]]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceTable {
    /// `wikipedia`, `books`, `bookscorpus` or `lines`.
    pub kind: String,
    /// A path, a directory, a glob, or a list of them.
    pub path: OneOrMany,
    /// `bookscorpus`: lines that make one document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document_sentences: Option<usize>,
}

/// A string or a list of strings.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One path.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    fn to_vec(&self) -> Vec<String> {
        match self {
            Self::One(path) => vec![path.clone()],
            Self::Many(paths) => paths.clone(),
        }
    }
}

/// `[documents]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DocumentsTable {
    /// Language code: sentence splitter and addresses of wiki pages.
    pub language: String,
    /// Share of documents held out by hash.
    pub validation: f64,
    /// `off` or `exact`.
    pub deduplicate: Deduplicate,
}

impl Default for DocumentsTable {
    fn default() -> Self {
        Self { language: "en".to_owned(), validation: 0.01, deduplicate: Deduplicate::Exact }
    }
}

/// What happens to documents of equal text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Deduplicate {
    /// All are kept.
    Off,
    /// One of each text is kept, whatever its title or source.
    Exact,
}

/// `[tokenizer]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerTable {
    /// A WordPiece `vocab.txt`; `cloze vocab` does without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vocab: Option<String>,
    /// Lowercase and strip accents.
    #[serde(default = "yes")]
    pub lowercase: bool,
}

fn yes() -> bool {
    true
}

/// `[examples]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExamplesTable {
    /// The dataset's name.
    pub name: String,
    /// Upper bound of tokens in an example.
    #[serde(default = "default_max_seq_length")]
    pub max_seq_length: usize,
    /// Upper bound of predictions in an example.
    #[serde(default = "default_max_predictions")]
    pub max_predictions_per_seq: usize,
    /// Share of tokens to predict.
    #[serde(default = "default_masked_lm_prob")]
    pub masked_lm_prob: f64,
    /// `token` or `whole-word`.
    #[serde(default = "default_masking")]
    pub masking: MaskingKind,
    /// `static`.
    #[serde(default = "default_masks")]
    pub masks: Masks,
    /// `next-sentence`.
    #[serde(default = "default_pairs")]
    pub pairs: Pairs,
    /// Share of chunks cut short on purpose.
    #[serde(default = "default_short_seq_prob")]
    pub short_seq_prob: f64,
    /// Passes over the corpus, each with its own pairs and masks.
    #[serde(default = "default_dupe_factor")]
    pub dupe_factor: u32,
    /// Files of the train split.
    #[serde(default = "default_shards")]
    pub shards: usize,
    /// The seed of every draw.
    #[serde(default = "default_seed")]
    pub seed: u64,
    /// `none` or `google`.
    #[serde(default = "default_compat")]
    pub compat: Compat,
}

fn default_max_seq_length() -> usize {
    128
}
fn default_max_predictions() -> usize {
    20
}
fn default_masked_lm_prob() -> f64 {
    0.15
}
fn default_masking() -> MaskingKind {
    MaskingKind::Token
}
fn default_masks() -> Masks {
    Masks::Static
}
fn default_pairs() -> Pairs {
    Pairs::NextSentence
}
fn default_short_seq_prob() -> f64 {
    0.1
}
fn default_dupe_factor() -> u32 {
    10
}
fn default_shards() -> usize {
    64
}
fn default_seed() -> u64 {
    12345
}
fn default_compat() -> Compat {
    Compat::None
}

/// One corpus, checked.
#[derive(Clone, Debug)]
pub struct Source {
    /// How its files are read.
    pub kind: SourceKind,
    /// Paths, directories and globs.
    pub paths: Vec<String>,
}

impl Settings {
    /// The job as the manifest keeps it: every default filled in, no directories of this machine.
    pub fn resolved(&self) -> serde_json::Value {
        let sources: Vec<_> = self
            .sources
            .iter()
            .map(|source| {
                let mut table = serde_json::json!({ "kind": source.kind.name(), "path": source.paths });
                if let SourceKind::BooksCorpus { document_sentences } = source.kind {
                    table["document_sentences"] = document_sentences.into();
                }
                table
            })
            .collect();
        serde_json::json!({
            "source": sources,
            "documents": self.documents,
            "tokenizer": { "lowercase": self.lowercase },
            "examples": self.examples,
        })
    }
}

/// A checked job.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The directory of stages and datasets.
    pub store: PathBuf,
    /// The directory that relative source paths start from.
    pub base: PathBuf,
    /// The corpora, in the order of the job.
    pub sources: Vec<Source>,
    /// Documents and splits.
    pub documents: DocumentsTable,
    /// The vocabulary file, if the job names one.
    pub vocab: Option<PathBuf>,
    /// Lowercase and strip accents.
    pub lowercase: bool,
    /// Examples, if the job has that table.
    pub examples: Option<ExamplesTable>,
}

impl PrepareJob {
    /// Reads a job from parsed TOML; `file` is named in errors.
    pub fn from_toml(table: toml::Table, file: &str) -> Result<Self> {
        table.try_into().map_err(|error: toml::de::Error| {
            // toml's own message spans lines: `unknown field …` and `in …`.
            let message = error.to_string().trim().replace('\n', " ");
            Error::setting(file, message, "see the job file reference in README.md")
        })
    }

    /// Checks every value. Relative source and vocabulary paths start from `base`, the job file's directory.
    pub fn check(self, base: &Path) -> Result<Settings> {
        if self.source.is_empty() {
            return Err(Error::setting("source", "no corpus", "add a [[source]] table"));
        }
        let sources =
            self.source.iter().enumerate().map(|(i, table)| table.check(i)).collect::<Result<_>>()?;
        let share = self.documents.validation;
        if !(0.0..1.0).contains(&share) {
            return Err(Error::setting(
                "documents.validation",
                format!("is {share}"),
                "use a share from 0 up to 1",
            ));
        }
        Splitter::new(&self.documents.language)?;
        if let Some(examples) = &self.examples {
            examples.check()?;
        }
        Ok(Settings {
            store: self
                .store
                .map_or_else(|| Ok(PathBuf::from("store")), |store| store_path(&store.path, base))?,
            base: base.to_owned(),
            sources,
            documents: self.documents,
            vocab: self.tokenizer.vocab.map(|path| base.join(path)),
            lowercase: self.tokenizer.lowercase,
            examples: self.examples,
        })
    }
}

fn store_path(path: &str, base: &Path) -> Result<PathBuf> {
    if path.is_empty() {
        return Err(Error::setting("store.path", "is empty", "name a directory"));
    }
    match path.split_once("://") {
        None => Ok(base.join(path)),
        Some(("file", local)) => Ok(PathBuf::from(local)),
        Some((scheme, _)) => Err(Error::setting(
            "store.path",
            format!("{scheme}:// is not supported by this version"),
            "use a local directory",
        )),
    }
}

impl SourceTable {
    fn check(&self, index: usize) -> Result<Source> {
        let key = |name: &str| format!("source[{index}].{name}");
        let sentences = || match self.document_sentences {
            None => Ok(100),
            Some(0) => Err(Error::setting(key("document_sentences"), "is 0", "use at least 1")),
            Some(n) => Ok(n),
        };
        let kind = match self.kind.as_str() {
            "wikipedia" => SourceKind::Wikipedia,
            "books" => SourceKind::Books,
            "bookscorpus" => SourceKind::BooksCorpus { document_sentences: sentences()? },
            "lines" => SourceKind::Lines,
            other => {
                let problem = format!("unknown kind {other:?}");
                return Err(Error::setting(
                    key("kind"),
                    problem,
                    "use wikipedia, books, bookscorpus or lines",
                ));
            }
        };
        if self.document_sentences.is_some() && !matches!(kind, SourceKind::BooksCorpus { .. }) {
            return Err(Error::setting(
                key("document_sentences"),
                "is for kind = \"bookscorpus\" only",
                "remove it",
            ));
        }
        Ok(Source { kind, paths: self.path.to_vec() })
    }
}

impl ExamplesTable {
    fn check(&self) -> Result<()> {
        let require = |holds: bool, key: &str, problem: String, cure: &str| {
            if holds { Ok(()) } else { Err(Error::setting(format!("examples.{key}"), problem, cure)) }
        };
        let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        require(
            !self.name.is_empty() && !self.name.starts_with('.') && self.name.chars().all(plain),
            "name",
            format!("is {:?}", self.name),
            "use letters, digits, '.', '_' and '-', not starting with '.'",
        )?;
        // Three special tokens and at least one token a segment; lengths are 16-bit.
        let length = self.max_seq_length;
        require((5..=65_535).contains(&length), "max_seq_length", format!("is {length}"), "use 5 to 65535")?;
        let most = self.max_predictions_per_seq;
        require(most >= 1, "max_predictions_per_seq", "is 0: nothing to learn".to_owned(), "use at least 1")?;
        let cure = "use at most max_seq_length";
        require(
            most <= length,
            "max_predictions_per_seq",
            format!("is {most}, max_seq_length is {length}"),
            cure,
        )?;
        let share = self.masked_lm_prob;
        require(
            share > 0.0 && share < 1.0,
            "masked_lm_prob",
            format!("is {share}"),
            "use a share between 0 and 1",
        )?;
        let short = self.short_seq_prob;
        require(
            (0.0..=1.0).contains(&short),
            "short_seq_prob",
            format!("is {short}"),
            "use a share from 0 to 1",
        )?;
        require(self.dupe_factor >= 1, "dupe_factor", "is 0".to_owned(), "use at least 1")?;
        require(self.shards >= 1, "shards", "is 0".to_owned(), "use at least 1")?;
        let fits = self.compat == Compat::None || u32::try_from(self.seed).is_ok();
        require(fits, "seed", format!("is {}", self.seed), "compat = \"google\" takes seeds below 2^32")
    }

    /// The rules of masking.
    pub fn masking_rules(&self) -> MaskingRules {
        MaskingRules {
            kind: self.masking,
            masked_lm_prob: self.masked_lm_prob,
            max_predictions_per_seq: self.max_predictions_per_seq,
            google: self.compat == Compat::Google,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: &str = r#"
        [store]
        path = "store"
        [[source]]
        kind = "lines"
        path = ["a.txt", "b.txt"]
        [tokenizer]
        vocab = "vocab.txt"
        [examples]
        name = "x"
    "#;

    fn parse(text: &str) -> Result<Settings> {
        let table = text.parse().unwrap();
        PrepareJob::from_toml(table, "job.toml")?.check(Path::new("/jobs"))
    }

    #[test]
    fn defaults_are_the_papers() {
        let settings = parse(JOB).unwrap();
        let examples = settings.examples.unwrap();
        assert_eq!(
            (examples.max_seq_length, examples.max_predictions_per_seq, examples.dupe_factor),
            (128, 20, 10)
        );
        assert_eq!(settings.store, Path::new("/jobs/store"));
        assert_eq!(settings.vocab.unwrap(), Path::new("/jobs/vocab.txt"));
    }

    #[test]
    fn bad_values_name_their_key() {
        let check = |from: &str, to: &str, expected: &str| {
            let error = parse(&JOB.replace(from, to)).unwrap_err();
            assert!(error.is_bad_input());
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(
            "name = \"x\"",
            "name = \"x\"\nmax_predictions_per_seq = 0",
            "examples.max_predictions_per_seq: is 0",
        );
        check("name = \"x\"", "name = \"x\"\nmax_predictions_per_seq = 129", "max_seq_length is 128");
        check("name = \"x\"", "name = \"a/b\"", "examples.name");
        check("name = \"x\"", "name = \"x\"\nmask = 3", "unknown field `mask`");
        check("name = \"x\"", "name = \"x\"\nmax_seq_length = 4", "examples.max_seq_length: is 4");
        check("name = \"x\"", "name = \"x\"\nmasking = \"all\"", "unknown variant `all`");
        check("\"lines\"", "\"web\"", "source[0].kind: unknown kind \"web\"");
        check("\"store\"", "\"s3://bucket\"", "store.path: s3:// is not supported");
        check("[tokenizer]", "[documents]\nvalidation = 1.5\n[tokenizer]", "documents.validation: is 1.5");
        check("[tokenizer]", "[documents]\nlanguage = \"tlh\"\n[tokenizer]", "tlh");
    }
}
