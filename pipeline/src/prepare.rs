//! Runs the stages of a job: each is named by the fingerprint of what determines its bytes, run when its
//! directory is missing and reused when it is there.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use cloze_schemas::{
    Compat, Dataset, FORMAT_VERSION, MANIFEST_FILE, Manifest, Split, Totals, Vocabulary, VocabularyInfo,
    atomic,
};
use rayon::prelude::*;
use serde::Serialize;

use crate::catalog::Catalog;
use crate::error::{Error, Result};
use crate::inputs_hash::InputHashes;
use crate::settings::{ExamplesTable, Settings};
use crate::source::{self, InputFile, SourceKind};
use crate::stages::engine::Engine;
use crate::stages::examples::{Context, Origin, ShardWriter};
use crate::stages::{self, documents, examples, tables, tokens};
use crate::store::{SPILL, lock_store};
use crate::tokenize::{ALPHABET_LIMIT, WordCounter, learn};

/// A stage of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Files to documents.
    Documents,
    /// Documents to token ids.
    Tokens,
    /// Token ids to examples.
    Examples,
}

impl Stage {
    /// The stage's name, also its directory in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Documents => "documents",
            Self::Tokens => "tokens",
            Self::Examples => "examples",
        }
    }
}

/// What happened to a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It ran, at least for some files.
    Ran,
    /// All of it was there.
    Reused,
    /// A dry run found it missing.
    WouldRun,
}

/// One stage of an outcome.
#[derive(Clone, Debug, Serialize)]
pub struct StageReport {
    /// Which stage.
    pub name: Stage,
    /// What happened to it.
    pub status: Status,
    /// Wall time.
    pub seconds: f64,
    /// The directory it is kept in.
    pub path: PathBuf,
}

/// How a job is run; none of it changes a byte of the result.
pub struct Options<'a> {
    /// Threads to compute with, at least 1.
    pub threads: usize,
    /// Bytes the query engine may hold before it spills.
    pub memory: usize,
    /// The last stage to run.
    pub until: Stage,
    /// Find out what would run, and write nothing.
    pub dry_run: bool,
    /// Set to stop soon, with [`Error::Interrupted`].
    pub stop: &'a AtomicBool,
    /// Told `(stage, done, total)`: input files, or rows of examples with a total of 0.
    pub progress: &'a (dyn Fn(Stage, u64, u64) + Sync),
}

/// What a job came to.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The dataset, if the last stage ran or was there.
    pub dataset: Option<Dataset>,
    /// Each stage up to the last one asked for.
    pub stages: Vec<StageReport>,
}

/// One input file and its parse.
struct Input {
    kind: SourceKind,
    file: InputFile,
    fingerprint: String,
    directory: PathBuf,
}

/// Prepares the dataset of a job.
pub fn prepare(settings: &Settings, options: &Options<'_>) -> Result<Outcome> {
    let job = Job::open(settings, options)?;
    let inputs = job.inputs()?;
    let mut stages = vec![job.documents(&inputs)?];
    let mut dataset = None;
    if options.until >= Stage::Tokens {
        let vocab = settings.vocab.as_ref().ok_or_else(|| {
            Error::setting("tokenizer.vocab", "is missing", "name a vocab.txt; `cloze vocab` learns one")
        })?;
        let vocabulary = Vocabulary::load(vocab)?;
        let tokenizer =
            tokens::Tokenizer::new(&vocabulary, settings.lowercase, &settings.documents.language)?;
        let (report, token_files) = job.tokens(&inputs, &tokenizer)?;
        stages.push(report);
        if options.until >= Stage::Examples {
            let examples = settings.examples.as_ref().ok_or_else(|| {
                Error::setting("examples", "the table is missing", "add [examples] with a name")
            })?;
            let (report, made) = job.examples(&inputs, &token_files, examples, vocabulary)?;
            stages.push(report);
            dataset = made;
        }
    }
    Ok(Outcome { dataset, stages })
}

/// Learns a WordPiece vocabulary of `size` entries from the documents of a job.
pub fn learn_vocabulary(settings: &Settings, options: &Options<'_>, size: usize) -> Result<Vec<String>> {
    let job = Job::open(settings, options)?;
    let inputs = job.inputs()?;
    job.documents(&inputs)?;
    let counter = job.pool.install(|| {
        let count = |input: &Input| -> Result<WordCounter> {
            let path = input.directory.join(documents::ROWS);
            let mut counter = WordCounter::new(settings.lowercase);
            tables::for_each_batch(&path, &[tables::TEXT], |batch| {
                job.check_stop()?;
                let texts: &arrow::array::StringArray = tables::column(batch, tables::TEXT, &path)?;
                texts.iter().flatten().for_each(|text| counter.add(text));
                Ok(())
            })?;
            Ok(counter)
        };
        inputs.par_iter().map(count).try_reduce(
            || WordCounter::new(settings.lowercase),
            |mut all, more| {
                all.merge(more);
                Ok(all)
            },
        )
    })?;
    learn(&counter, size, ALPHABET_LIMIT)
}

/// A job while it runs: the store is locked.
struct Job<'a> {
    settings: &'a Settings,
    options: &'a Options<'a>,
    pool: Arc<rayon::ThreadPool>,
    /// Held for its lock; a dry run takes none.
    _lock: Option<File>,
}

impl<'a> Job<'a> {
    fn open(settings: &'a Settings, options: &'a Options<'a>) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(options.threads)
            .thread_name(|index| format!("cloze-prepare-{index}"))
            .build()
            .map_err(|e| Error::write("a thread", std::io::Error::other(e)))?;
        let lock = if options.dry_run { None } else { Some(lock_store(&settings.store, options.stop)?) };
        Ok(Self { settings, options, pool: Arc::new(pool), _lock: lock })
    }

    fn check_stop(&self) -> Result<()> {
        if self.options.stop.load(Ordering::Relaxed) { Err(Error::Interrupted) } else { Ok(()) }
    }

    fn directory(&self, stage: Stage) -> PathBuf {
        self.settings.store.join(stage.as_str())
    }

    /// The input files of all sources, in the order of the job. A file of equal content and name counts once.
    fn inputs(&self) -> Result<Vec<Input>> {
        let mut hashes = InputHashes::load(&self.settings.store);
        let mut seen = BTreeSet::new();
        let mut inputs = Vec::new();
        for source in &self.settings.sources {
            for file in source::expand(&source.kind, &source.paths, &self.settings.base)? {
                self.check_stop()?;
                let sha256 = hashes.sha256(&file)?;
                let language = &self.settings.documents.language;
                let fingerprint = documents::fingerprint(&source.kind, &file, &sha256, language);
                if !seen.insert(fingerprint.clone()) {
                    tracing::warn!(path = %file.path.display(), "A file of this name and content is listed already; read once.");
                    continue;
                }
                let directory = self.directory(Stage::Documents).join(&fingerprint[..16]);
                inputs.push(Input { kind: source.kind.clone(), file, fingerprint, directory });
            }
        }
        if !self.options.dry_run {
            hashes.save()?;
        }
        Ok(inputs)
    }

    fn documents(&self, inputs: &[Input]) -> Result<StageReport> {
        let start = Instant::now();
        let missing: Vec<&Input> = inputs.iter().filter(|input| !input.directory.exists()).collect();
        if !self.options.dry_run {
            let done = AtomicU64::new(0);
            self.pool.install(|| {
                missing.par_iter().try_for_each(|input| {
                    self.check_stop()?;
                    self.parse(input)?;
                    let done = done.fetch_add(1, Ordering::Relaxed) + 1;
                    (self.options.progress)(Stage::Documents, done, missing.len() as u64);
                    Ok::<_, Error>(())
                })
            })?;
        }
        Ok(self.report(Stage::Documents, !missing.is_empty(), start, self.directory(Stage::Documents)))
    }

    fn parse(&self, input: &Input) -> Result<()> {
        let pending = atomic::PendingDir::new(&input.directory)?;
        let language = &self.settings.documents.language;
        let stop = self.options.stop;
        let report =
            documents::run(&input.kind, &input.file, &input.fingerprint, language, pending.path(), stop)?;
        let skipped: Vec<String> =
            report.skipped.iter().map(|(reason, count)| format!("{} {count}", reason.as_str())).collect();
        tracing::info!(
            path = %input.file.path.display(),
            documents = report.documents,
            skipped = skipped.join(", "),
            "File parsed."
        );
        Ok(pending.commit()?)
    }

    /// Tokenises every file; also returns the tokens' files in the order of `inputs`.
    fn tokens(
        &self,
        inputs: &[Input],
        tokenizer: &tokens::Tokenizer,
    ) -> Result<(StageReport, Vec<TokenFile>)> {
        let start = Instant::now();
        let files: Vec<TokenFile> = inputs
            .iter()
            .map(|input| {
                let fingerprint = tokenizer.fingerprint(&input.fingerprint, input.kind.lines_are_sentences());
                TokenFile { directory: self.directory(Stage::Tokens).join(&fingerprint[..16]), fingerprint }
            })
            .collect();
        let missing: Vec<(&Input, &TokenFile)> =
            inputs.iter().zip(&files).filter(|(_, file)| !file.directory.exists()).collect();
        if !missing.is_empty() && !self.options.dry_run {
            let engine = self.engine(tokens::BATCH_ROWS)?;
            for (done, (input, file)) in (1..).zip(&missing) {
                self.check_stop()?;
                let pending = atomic::PendingDir::new(&file.directory)?;
                let source = input.directory.join(documents::ROWS);
                let lines = input.kind.lines_are_sentences();
                tokens::run(&engine, tokenizer, lines, &source, pending.path(), self.options.stop)?;
                pending.commit()?;
                (self.options.progress)(Stage::Tokens, done, missing.len() as u64);
            }
        }
        Ok((self.report(Stage::Tokens, !missing.is_empty(), start, self.directory(Stage::Tokens)), files))
    }

    fn examples(
        &self,
        inputs: &[Input],
        token_files: &[TokenFile],
        settings: &ExamplesTable,
        vocabulary: Vocabulary,
    ) -> Result<(StageReport, Option<Dataset>)> {
        let start = Instant::now();
        let fingerprint = self.examples_fingerprint(token_files, settings, &vocabulary);
        let directory =
            self.settings.store.join("datasets").join(format!("{}-{}", settings.name, &fingerprint[..8]));
        let missing = !directory.join(MANIFEST_FILE).exists();
        if missing && self.options.dry_run {
            return Ok((self.report(Stage::Examples, true, start, directory), None));
        }
        if missing {
            self.build_examples(inputs, token_files, settings, vocabulary, &fingerprint, &directory)?;
        }
        let dataset = Dataset::open(&directory)?;
        if dataset.manifest.fingerprint != fingerprint {
            return Err(Error::input(
                directory.display().to_string(),
                None,
                "another dataset has this name and the same first 8 digits; give examples.name another value",
            ));
        }
        Ok((self.report(Stage::Examples, missing, start, directory), Some(dataset)))
    }

    fn examples_fingerprint(
        &self,
        tokens: &[TokenFile],
        settings: &ExamplesTable,
        vocabulary: &Vocabulary,
    ) -> String {
        let mut parts: Vec<&str> = tokens.iter().map(|file| file.fingerprint.as_str()).collect();
        // Only Google's stream of draws depends on the order of the files.
        if settings.compat == Compat::None {
            parts.sort_unstable();
        }
        // A dataset's name is no part of its bytes.
        let nameless = ExamplesTable { name: String::new(), ..settings.clone() };
        stages::fingerprint("examples", examples::VERSION)
            .with("tokens", &parts.join(" "))
            .with("documents", &serde_json::json!(self.settings.documents).to_string())
            .with("examples", &serde_json::json!(nameless).to_string())
            .with("vocabulary", vocabulary.sha256())
            .finish()
    }

    fn build_examples(
        &self,
        inputs: &[Input],
        token_files: &[TokenFile],
        settings: &ExamplesTable,
        vocabulary: Vocabulary,
        fingerprint: &str,
        directory: &Path,
    ) -> Result<()> {
        let tokens: Vec<PathBuf> = token_files.iter().map(|file| file.directory.join(tokens::ROWS)).collect();
        let table = &self.settings.documents;
        let google = settings.compat == Compat::Google;
        let catalog = if google {
            Catalog::default()
        } else {
            Catalog::build(&tokens, table.deduplicate, table.validation, self.options.memory)?
        };
        if catalog.duplicates + catalog.empty > 0 {
            tracing::info!(duplicates = catalog.duplicates, empty = catalog.empty, "Documents left out.");
        }
        let context = Arc::new(Context { catalog, settings: settings.clone(), vocabulary });

        let pending = atomic::PendingDir::new(directory)?;
        let held_out = context.catalog.documents(Split::Validation).len();
        let validation_shards = match held_out {
            0 => 0,
            _ => ((settings.shards as f64 * table.validation).round() as usize).max(1),
        };
        let wide = context.vocabulary.is_wide();
        let mut writer =
            ShardWriter::create(pending.path(), wide, settings.shards, validation_shards, self.pool.clone())?;
        let engine = self.engine(examples::batch_rows(self.options.memory))?;
        examples::run(
            &engine,
            &context,
            &tokens,
            self.options.memory,
            &mut writer,
            self.options.stop,
            &|rows| {
                (self.options.progress)(Stage::Examples, rows, 0);
            },
        )?;
        let shards = writer.finish()?;

        let origins: HashMap<u64, Origin> = inputs
            .iter()
            .map(|input| {
                let origin = Origin { kind: input.kind.name(), name: input.file.name.clone() };
                (documents::file_key(&input.fingerprint), origin)
            })
            .collect();
        let document_files: Vec<PathBuf> =
            inputs.iter().map(|input| input.directory.join(documents::ROWS)).collect();
        let kept = examples::write_lineage(&context, &document_files, &origins, pending.path())?;
        let vocab = pending.path().join("vocab.txt");
        std::fs::write(&vocab, context.vocabulary.to_text()).map_err(|e| Error::write(&vocab, e))?;

        let totals = |split: Split, documents: u64| {
            let of_split = || shards.iter().filter(move |shard| shard.split == split);
            Totals {
                documents,
                examples: of_split().map(|shard| shard.rows).sum(),
                tokens: of_split().map(|shard| shard.tokens).sum(),
            }
        };
        let manifest = Manifest {
            format_version: FORMAT_VERSION,
            kind: Manifest::KIND.to_owned(),
            name: settings.name.clone(),
            fingerprint: fingerprint.to_owned(),
            created_by: format!("cloze {}", env!("CARGO_PKG_VERSION")),
            max_seq_length: settings.max_seq_length,
            max_predictions_per_seq: settings.max_predictions_per_seq,
            masks: settings.masks,
            pairs: settings.pairs,
            compat: settings.compat,
            seed: settings.seed,
            vocabulary: VocabularyInfo {
                size: context.vocabulary.len(),
                sha256: context.vocabulary.sha256().to_owned(),
                lowercase: self.settings.lowercase,
                special: context.vocabulary.special(),
            },
            train: totals(Split::Train, kept.0),
            validation: totals(Split::Validation, kept.1),
            settings: self.settings.resolved(),
            shards,
        };
        manifest.write(pending.path())?;
        Ok(pending.commit()?)
    }

    fn engine(&self, batch_rows: usize) -> Result<Engine> {
        Engine::new(self.options.threads, self.options.memory, &self.settings.store.join(SPILL), batch_rows)
    }

    fn report(&self, name: Stage, missing: bool, start: Instant, path: PathBuf) -> StageReport {
        let status = match (missing, self.options.dry_run) {
            (false, _) => Status::Reused,
            (true, false) => Status::Ran,
            (true, true) => Status::WouldRun,
        };
        StageReport { name, status, seconds: start.elapsed().as_secs_f64(), path }
    }
}

/// The tokens of one input file.
struct TokenFile {
    fingerprint: String,
    directory: PathBuf,
}
