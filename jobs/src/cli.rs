//! The command line as clap sees it. Help texts are part of the interface.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Pre-train BERT on your own corpora: prepare a dataset, stream it into training.
#[derive(Debug, Parser)]
#[command(name = "cloze", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// Flags of every command.
    #[command(flatten)]
    pub common: Common,
}

/// Flags of every command.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Print the outcome as one JSON object on the last line of stdout ({"error": …} on failure).
    #[arg(long, global = true)]
    pub json: bool,
    /// Override a key of the job file, e.g. --set examples.seed=7 or --set source.0.path=dump.xml.bz2.
    /// Paths given here are relative to the current directory. Repeatable.
    #[arg(long = "set", global = true, value_name = "SECTION.KEY=VALUE")]
    pub set: Vec<String>,
    /// Threads to use [default: all cores]. Never changes a byte of a dataset; a training run on the CPU repeats
    /// bit for bit for equal numbers.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,
    /// Memory the query engine may hold before it spills to the store, e.g. 512MiB.
    #[arg(long, global = true, value_name = "SIZE", default_value = "2GiB", value_parser = parse_size)]
    pub memory: usize,
    /// Log errors only, and show no progress.
    #[arg(long, global = true)]
    pub quiet: bool,
}

impl Common {
    /// The number of threads to use.
    pub fn threads(&self) -> usize {
        self.threads.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// See it work: prepare a small embedded corpus, train a tiny BERT on the CPU, evaluate it, fill masks.
    ///
    /// Needs no network and no files; takes about two minutes on two cores. Everything it makes stays in --out
    /// to be looked at: the corpus, the job files, the dataset, checkpoints and metrics.
    Quickstart {
        /// Directory to work in; continued or reused if it is there.
        #[arg(long, value_name = "DIR", default_value = "quickstart")]
        out: PathBuf,
    },
    /// Turn corpora into a dataset of masked sentence pairs.
    ///
    /// Runs the stages documents, tokens and examples; each is cached in the store by the fingerprint of what
    /// determines its bytes, and reused by this and every other job. Interrupted or killed, the same command
    /// continues and gives identical bytes.
    #[command(after_help = PREPARE_HELP)]
    Prepare {
        /// The job file (TOML).
        job: PathBuf,
        /// Stop after this stage.
        #[arg(long, value_enum, value_name = "STAGE", default_value = "examples")]
        until: Stage,
        /// Say which stages would run and which would be reused; write nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Learn a WordPiece vocabulary from a job's corpus.
    ///
    /// The same corpus gives the same vocabulary in every process. The job's [tokenizer] lowercase applies; its
    /// vocab need not exist yet.
    Vocab {
        /// The job file (TOML), as for `cloze prepare`.
        job: PathBuf,
        /// Entries of the vocabulary, special tokens counted.
        #[arg(long, value_name = "N", default_value_t = 30522)]
        size: usize,
        /// The vocab.txt to write.
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Show what a dataset holds: summary, length histogram, decoded examples with the masks visible.
    Inspect {
        /// The dataset's directory, or its name without the fingerprint for the newest.
        dataset: PathBuf,
        /// Examples to show.
        #[arg(long, value_name = "N", default_value_t = 3)]
        examples: usize,
    },
    /// Check a dataset: checksums, schema, every invariant of every row.
    ///
    /// Exits with 2 and names the shard and row of the first offence.
    Verify {
        /// The dataset's directory, or its name without the fingerprint for the newest.
        dataset: PathBuf,
    },
    /// Pre-train BERT on a dataset.
    ///
    /// Ctrl-C or SIGTERM finishes the step, writes a checkpoint and exits with 3; --resume then continues as if
    /// nothing had happened, bit for bit on the CPU.
    #[command(after_help = TRAIN_HELP)]
    Train {
        /// The job file (TOML).
        job: PathBuf,
        /// Continue from the newest complete checkpoint of run.output.
        #[arg(long)]
        resume: bool,
    },
    /// Evaluate a checkpoint on a dataset: masked-LM and next-sentence loss and accuracy.
    ///
    /// Also prints unigram_loss: the loss of a model that knows how often each token is masked in the train split
    /// and ignores the text. What a model gains over it, it gained from context.
    Evaluate {
        /// A checkpoint (…/checkpoints/step-N), or a run's output directory for its newest.
        checkpoint: PathBuf,
        /// The dataset's directory, or its name without the fingerprint for the newest.
        dataset: PathBuf,
        /// The split to evaluate on.
        #[arg(long, value_enum, default_value = "validation")]
        split: Split,
        /// cpu or cuda:N.
        #[arg(long, default_value = "cpu")]
        device: String,
        /// Examples in a batch.
        #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
        batch_size: u32,
        /// Evaluate at most this many batches.
        #[arg(long, value_name = "N")]
        batches: Option<usize>,
        /// Shuffle each row's unmasked tokens first, with this seed: a model that learned from context loses its
        /// gain.
        #[arg(long, value_name = "SEED", num_args = 0..=1, default_missing_value = "0")]
        shuffle_context: Option<u64>,
    },
    /// Let a trained model guess the words at [MASK].
    FillMask {
        /// A checkpoint (…/checkpoints/step-N), or a run's output directory for its newest.
        checkpoint: PathBuf,
        /// The text, with [MASK] in it.
        text: String,
        /// Guesses to show for each mask.
        #[arg(long, value_name = "N", default_value_t = 5)]
        top: usize,
        /// cpu or cuda:N.
        #[arg(long, default_value = "cpu")]
        device: String,
    },
}

const PREPARE_HELP: &str = "\
Examples:
  cloze prepare jobs/configs/wikibooks-128.toml --dry-run
  cloze prepare job.toml --set examples.max_seq_length=512 --set examples.name=mine-512";

const TRAIN_HELP: &str = "\
Examples:
  cloze train jobs/configs/bert-base-128.toml
  cloze train job.toml --set run.batch_size=64 --set run.output=runs/small-batch
  cloze train job.toml --resume";

/// A stage to stop after.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Stage {
    /// Files to documents.
    Documents,
    /// Documents to token ids.
    Tokens,
    /// Token ids to examples.
    Examples,
}

/// A split of a dataset.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Split {
    /// What is trained on.
    Train,
    /// What is held out.
    Validation,
}

/// `512MiB`, `2GB`, `1000000`.
fn parse_size(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        other => return Err(format!("unknown unit {other:?}; write for example 512MiB")),
    };
    let number: usize = digits.trim().parse().map_err(|_| "write for example 512MiB".to_owned())?;
    let size = number.checked_mul(unit).ok_or("too large")?;
    if size < 64 << 20 { Err("at least 64MiB are needed".to_owned()) } else { Ok(size) }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("512MiB"), Ok(512 << 20));
        assert_eq!(parse_size("2GB"), Ok(2_000_000_000));
        assert_eq!(parse_size("100000000"), Ok(100_000_000));
        for bad in ["", "MiB", "1", "5 apples", "99999999999999999999", "20000000TiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
    }
}
