//! A scratch directory with a small corpus, and `cloze` run in it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cloze_schemas::{Dataset, Shard, Split, read_shard, sha256_file};
use serde_json::Value;

/// The workspace's root.
pub const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A job over [`Scratch::corpus`]; tests change it with `--set`.
pub const JOB: &str = r#"
[store]
path = "store"

[[source]]
kind = "lines"
path = "corpus/*.txt"

[documents]
validation = 0.1

[tokenizer]
vocab = "vocab.txt"

[examples]
name = "set"
max_seq_length = 32
max_predictions_per_seq = 5
dupe_factor = 3
shards = 2
seed = 7
"#;

const WORDS: [&str; 24] = [
    "river", "stone", "lantern", "walks", "under", "the", "a", "quiet", "bridge", "keeper", "opens", "gate",
    "morning", "boat", "carries", "salt", "to", "harbour", "wind", "turns", "mill", "and", "old", "miller",
];

/// A directory of one test, gone with it.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// An empty directory.
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A directory with `vocab.txt`, `corpus/{a,b,c}.txt` of ten documents each, and `job.toml`.
    pub fn with_corpus() -> Self {
        let scratch = Self::new();
        scratch.write("vocab.txt", vocabulary(&[]));
        for (seed, name) in (1..).zip(["a", "b", "c"]) {
            scratch.write(&format!("corpus/{name}.txt"), lines(seed, 10, 8));
        }
        scratch.write("job.toml", JOB);
        scratch
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Writes a file, its directories too.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Replaces text that must occur in a file.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(name)).unwrap();
        assert!(text.contains(from), "{name} has no {from:?}");
        self.write(name, text.replace(from, to));
    }

    /// `cloze` with these arguments, ready to run in the directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cloze"));
        command.args(arguments).current_dir(self.0.path()).env_remove("RUST_LOG").stdin(Stdio::null());
        command
    }

    /// Runs `cloze` to its end.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(&mut self.command(arguments))
    }

    /// Runs `cloze … --json`, which must succeed; returns the JSON of the last line.
    pub fn ok(&self, arguments: &[&str]) -> Value {
        let ran = self.run(&[arguments, &["--json", "--quiet"]].concat());
        assert_eq!(ran.code, Some(0), "{arguments:?}\n{}", ran.stderr);
        ran.json()
    }

    /// Runs `cloze … --json`, which must fail with `code` and one clear message; returns it.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let ran = self.run(&[arguments, &["--json", "--quiet"]].concat());
        ran.check_failure(code, &format!("{arguments:?}"))
    }

    /// Starts `cloze` and leaves it running.
    pub fn start(&self, arguments: &[&str]) -> Running {
        let child = self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        Running(Some(child))
    }

    /// Prepares a job with `--set` overrides; returns the dataset's directory.
    pub fn prepare(&self, job: &str, sets: &[&str]) -> PathBuf {
        let mut arguments = vec!["prepare", job];
        arguments.extend(sets.iter().flat_map(|set| ["--set", set]));
        self.path(self.ok(&arguments)["dataset"].as_str().unwrap())
    }

    /// Every file below a directory whose name contains `part`.
    pub fn files_with(&self, directory: &str, part: &str) -> Vec<PathBuf> {
        let all = files(&self.path(directory));
        all.into_iter().filter(|path| path.to_string_lossy().contains(part)).collect()
    }

    /// Neither a dataset nor anything temporary is in the store.
    pub fn assert_nothing_half_written(&self, store: &str) {
        assert_eq!(self.files_with(store, "manifest.json"), Vec::<PathBuf>::new());
        assert_eq!(self.files_with(store, ".tmp-"), Vec::<PathBuf>::new());
    }
}

/// A finished process.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// Runs a command to its end.
    pub fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The last line of stdout as JSON.
    pub fn json(&self) -> Value {
        let last = self.stdout.lines().last().expect("something on stdout");
        serde_json::from_str(last).unwrap_or_else(|e| panic!("{e}: {last}"))
    }

    /// Checks the way every failure of a `--json` request is told; returns the message.
    pub fn check_failure(&self, code: i32, what: &str) -> String {
        assert_eq!(self.code, Some(code), "{what}\nstdout: {}\nstderr: {}", self.stdout, self.stderr);
        for trace in ["panicked", "RUST_BACKTRACE", "stack backtrace"] {
            assert!(!self.stderr.contains(trace), "{what}\n{}", self.stderr);
        }
        let json = self.json();
        let message =
            json["error"].as_str().unwrap_or_else(|| panic!("{what}: no error in {json}")).to_owned();
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
        assert_eq!(message.lines().count(), 1, "{what}: more than one line: {message}");
        let told = self.stderr.lines().filter(|line| line.starts_with("error: ")).count();
        assert_eq!(told, 1, "{what}: {}", self.stderr);
        let (_, cause) = message.rsplit_once(": ").unwrap_or_default();
        assert!(cause.is_empty() || message.matches(cause).count() == 1, "{what}: told twice: {message}");
        assert!(self.stderr.contains(message.as_str()), "{what}: {message}\n{}", self.stderr);
        message
    }
}

/// A process at work; killed if the test ends without it.
pub struct Running(Option<Child>);

impl Running {
    /// Waits until `condition` holds. Returns false if the process ended before.
    pub fn wait_until(&mut self, mut condition: impl FnMut() -> bool) -> bool {
        let child = self.0.as_mut().expect("not yet finished");
        let start = Instant::now();
        while !condition() {
            if child.try_wait().unwrap().is_some() {
                return condition();
            }
            assert!(start.elapsed() < Duration::from_mins(2), "still waiting after two minutes");
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Asks the process to stop.
    pub fn terminate(&self) {
        let pid = self.0.as_ref().expect("not yet finished").id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Ends the process without asking.
    pub fn kill(mut self) {
        let mut child = self.0.take().expect("not yet finished");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Waits for the end.
    pub fn finish(mut self) -> Ran {
        let output = self.0.take().expect("not yet finished").wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// A `vocab.txt`: special tokens, letters and their continuations, punctuation, [`WORDS`], `more`.
pub fn vocabulary(more: &[&str]) -> String {
    let mut text = "[PAD]\n[unused0]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n".to_owned();
    for c in ('a'..='z').chain('0'..='9') {
        let _ = write!(text, "{c}\n##{c}\n");
    }
    let punctuation = [".", ",", "[", "]", "mask", "cls"];
    for token in punctuation.iter().chain(&WORDS).filter(|token| token.len() > 1 || !token.starts_with('a')) {
        let _ = writeln!(text, "{token}");
    }
    for token in more {
        let _ = writeln!(text, "{token}");
    }
    text
}

/// Documents of sentences, a line each; `seed` picks the words, so that two seeds share no document.
pub fn lines(seed: u64, documents: usize, sentences: usize) -> String {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut below = |n: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 33) as usize % n
    };
    let mut text = String::new();
    for _ in 0..documents {
        for _ in 0..sentences {
            for _ in 0..4 + below(8) {
                text += WORDS[below(WORDS.len())];
                text.push(' ');
            }
            text += ".\n";
        }
        text.push('\n');
    }
    text
}

/// Every file and directory below `directory`, itself not included, sorted.
pub fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.unwrap().path();
        found.extend(files(&path));
        found.push(path);
    }
    found.sort();
    found
}

/// SHA-256 of every file below a directory, by relative path.
pub fn hashes(directory: &Path) -> BTreeMap<String, String> {
    let relative = |path: &Path| path.strip_prefix(directory).unwrap().display().to_string();
    let paths = files(directory).into_iter().filter(|path| path.is_file());
    let hashes: BTreeMap<_, _> = paths.map(|path| (relative(&path), sha256_file(&path).unwrap())).collect();
    assert!(!hashes.is_empty(), "{} is empty", directory.display());
    hashes
}

/// SHA-256 of a dataset's shards.
pub fn shard_hashes(dataset: &Path) -> BTreeMap<String, String> {
    let mut hashes = hashes(dataset);
    hashes.retain(|path, _| path.starts_with("train/") || path.starts_with("validation/"));
    assert!(!hashes.is_empty(), "{} has no shards", dataset.display());
    hashes
}

/// A row of a dataset.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Row {
    pub input_ids: Vec<u32>,
    pub segment_b_start: usize,
    pub masked_lm_positions: Vec<u16>,
    pub masked_lm_ids: Vec<u32>,
    pub next_sentence_label: u8,
    #[serde(default)]
    pub documents: (u64, u64),
}

impl Row {
    /// The ids before masking.
    pub fn original_ids(&self) -> Vec<u32> {
        let mut ids = self.input_ids.clone();
        for (&position, &id) in self.masked_lm_positions.iter().zip(&self.masked_lm_ids) {
            ids[usize::from(position)] = id;
        }
        ids
    }
}

/// The rows of one split, shard after shard.
pub fn rows(dataset: &Path, split: Split) -> Vec<Row> {
    let dataset = Dataset::open(dataset).unwrap();
    let shards: Vec<Shard> = dataset.shards(split).cloned().collect();
    let mut rows = Vec::new();
    for shard in &shards {
        read_shard(&dataset, shard, |batch| {
            rows.extend((0..batch.len()).map(|index| {
                let row = batch.row(index);
                Row {
                    input_ids: row.input_ids.iter().collect(),
                    segment_b_start: row.segment_b_start,
                    masked_lm_positions: row.masked_lm_positions.to_vec(),
                    masked_lm_ids: row.masked_lm_ids.iter().collect(),
                    next_sentence_label: row.next_sentence_label,
                    documents: (row.document_id, row.document_b_id),
                }
            }));
            Ok(())
        })
        .unwrap();
    }
    rows
}
