//! Requests and corpora that are wrong: each ends with one message that names what is at fault, and leaves
//! nothing under a final name.

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::util::{JOB, Ran, Scratch, lines, vocabulary};

/// `cloze prepare job.toml` is refused after `spoil`, in words that hold all of `expected`.
fn refused(expected: &[&str], spoil: impl FnOnce(&Scratch)) {
    let scratch = Scratch::with_corpus();
    scratch.write("good/x.txt", lines(20, 10, 8));
    scratch.write("good.toml", JOB.replace("corpus/", "good/").replace("vocab.txt", "good/vocab"));
    scratch.write("good/vocab", vocabulary(&[]));
    spoil(&scratch);
    let message = scratch.fails(2, &["prepare", "job.toml"]);
    for part in expected {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    scratch.assert_nothing_half_written("store");
    // The store is as good as before.
    let dataset = scratch.prepare("good.toml", &[]);
    scratch.ok(&["verify", dataset.to_str().unwrap()]);
    assert_eq!(scratch.files_with("store", ".tmp-"), Vec::<PathBuf>::new());
}

/// As [`refused`], with one file more in the corpus, of another kind.
fn refused_source(kind: &str, file: &str, content: &[u8], expected: &[&str]) {
    refused(expected, |scratch| {
        scratch.write(file, content);
        let source = format!("[[source]]\nkind = \"{kind}\"\npath = \"{file}\"\n[documents]");
        scratch.edit("job.toml", "[documents]", &source);
    });
}

#[test]
fn missing_file() {
    refused(&["corpus/none.txt", "no such file"], |scratch| {
        scratch.edit("job.toml", "corpus/*.txt", "corpus/none.txt");
    });
    refused(&["none/*.txt", "no such file"], |scratch| {
        scratch.edit("job.toml", "corpus/*.txt", "none/*.txt");
    });
}

#[test]
fn unreadable_file() {
    refused(&["vocab.txt"], |scratch| {
        fs::remove_file(scratch.path("vocab.txt")).unwrap();
        fs::create_dir(scratch.path("vocab.txt")).unwrap();
    });
    refused(&["corpus/empty", "holds no file"], |scratch| {
        fs::create_dir(scratch.path("corpus/empty")).unwrap();
        scratch.edit("job.toml", "corpus/*.txt", "corpus/empty");
    });
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let closed = fs::Permissions::from_mode(0o000);
        let probe = Scratch::with_corpus();
        fs::set_permissions(probe.path("corpus/b.txt"), closed.clone()).unwrap();
        // The superuser reads everything.
        if fs::read(probe.path("corpus/b.txt")).is_err() {
            refused(&["corpus/b.txt", "ermission denied"], |scratch| {
                fs::set_permissions(scratch.path("corpus/b.txt"), closed).unwrap();
            });
        }
    }
}

#[test]
fn empty_corpus() {
    refused(&["the corpus is empty", "[[source]]"], |scratch| {
        for name in ["a", "b", "c"] {
            scratch.write(&format!("corpus/{name}.txt"), " \n\n\t\n");
        }
    });
}

#[test]
fn one_document() {
    refused(&["one document", "another one"], |scratch| {
        scratch.edit("job.toml", "corpus/*.txt", "one.txt");
        scratch.write("one.txt", lines(1, 1, 30));
    });
}

const PAGE: &str = "<mediawiki><page><title>Mill</title><ns>0</ns><id>7</id><revision><id>8</id><text>The \
                    mill turns. The old miller opens the gate.</text></revision></page></mediawiki>";

fn bzip2(text: &str) -> Vec<u8> {
    let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn truncated_bzip2() {
    let whole = bzip2(PAGE);
    for cut in [whole.len() - 1, whole.len() / 2, 5] {
        refused_source("wikipedia", "d.xml.bz2", &whole[..cut], &["d.xml.bz2", "cut short"]);
    }
    // A later stream that is missing its end is noticed too.
    let two = [&whole[..], &whole[..40]].concat();
    refused_source("wikipedia", "d.xml.bz2", &two, &["d.xml.bz2"]);
}

#[test]
fn a_file_that_is_not_what_its_name_says() {
    refused_source("wikipedia", "d.xml.bz2", PAGE.as_bytes(), &["d.xml.bz2", "not a Bzip2 file"]);
}

#[test]
fn xml_cut_in_a_page() {
    for cut in ["miller", "</text>", "</page>", "</mediawiki>"] {
        let end = PAGE.find(cut).unwrap();
        refused_source("wikipedia", "d.xml", &PAGE.as_bytes()[..end], &["d.xml", "byte"]);
    }
}

#[test]
fn invalid_utf8() {
    let mut text = b"the mill turns .\nthe wind ".to_vec();
    let at = format!("byte {}", text.len());
    text.extend(b"\xff turns .\n");
    refused_source("lines", "d.txt", &text, &["d.txt", &at, "UTF-8"]);
    refused_source("bookscorpus", "d.txt", &text, &["d.txt", &at, "UTF-8"]);
    refused(&["vocab.txt", "UTF-8"], |scratch| scratch.write("vocab.txt", b"[PAD]\n\xff\n"));
}

#[test]
fn vocabulary_without_mask() {
    refused(&["vocab.txt", "no [MASK] token"], |scratch| {
        scratch.edit("vocab.txt", "[MASK]\n", "");
    });
    refused(&["vocab.txt", "line 7", "\"[CLS]\"", "line 4"], |scratch| {
        scratch.edit("vocab.txt", "[MASK]\n", "[MASK]\n[CLS]\n");
    });
    refused(&["vocab.txt"], |scratch| fs::remove_file(scratch.path("vocab.txt")).unwrap());
    refused(&["tokenizer.vocab", "cloze vocab"], |scratch| {
        scratch.edit("job.toml", "vocab = \"vocab.txt\"", "");
    });
}

#[test]
fn bad_values_in_the_job_file() {
    let check = |from: &str, to: &str, expected: &[&str]| {
        refused(expected, |scratch| scratch.edit("job.toml", from, to));
    };
    check("seed = 7", "sead = 7", &["job.toml", "sead"]);
    check("[documents]", "[document]", &["job.toml", "document"]);
    check("seed = 7", "seed = \"seven\"", &["job.toml", "seed"]);
    check(
        "max_predictions_per_seq = 5",
        "max_predictions_per_seq = 0",
        &["examples.max_predictions_per_seq"],
    );
    check("shards = 2", "shards = 900", &["examples.shards", "train split", "900 shards"]);
    check("shards = 2", "shards = 0", &["examples.shards"]);
    check("kind = \"lines\"", "kind = \"linse\"", &["source[0].kind", "linse"]);
    check("name = \"set\"", "name = \"../set\"", &["examples.name"]);
    check("[examples]", "[examples", &["job.toml", "line"]);
    check("seed = 7", "masking = \"span\"", &["span"]);
}

#[test]
fn a_split_with_fewer_rows_than_shards() {
    // Enough rows for training; the validation split must have as many as its shards too.
    refused(&["shards", "validation"], |scratch| {
        scratch.edit("job.toml", "shards = 2", "shards = 200");
        scratch.edit("job.toml", "validation = 0.1", "validation = 0.2");
    });
}

#[test]
fn bad_requests() {
    let scratch = Scratch::with_corpus();
    let check = |arguments: &[&str], expected: &[&str]| {
        let message = scratch.fails(2, arguments);
        for part in expected {
            assert!(message.contains(part), "{part:?} is not in: {message}");
        }
        assert!(!scratch.path("store").exists(), "{arguments:?}");
    };
    check(&["prepare", "none.toml"], &["none.toml"]);
    check(&["train", "none.toml"], &["none.toml"]);
    check(&["prepare", "job.toml", "--set", "examples"], &["--set examples", "SECTION.KEY=VALUE"]);
    check(&["prepare", "job.toml", "--set", "examples.sead=1"], &["sead"]);
    check(&["prepare", "job.toml", "--set", "examples.seed=many"], &["seed"]);
    check(&["prepare", "job.toml", "--set", "source.3.path=x"], &["source.3.path", "list of 1"]);
    check(&["prepare", "job.toml", "--threads", "0"], &["--threads"]);
    check(&["prepare", "job.toml", "--memory", "lots"], &["--memory"]);
    check(&["prepare", "job.toml", "--until", "lunch"], &["--until"]);
    check(&["prepare", "job.toml", "--speed"], &["--speed"]);
    check(&["prepair", "job.toml"], &["prepair"]);
    check(&["verify", "nothing"], &["nothing", "not a dataset"]);
    check(&["inspect", "corpus"], &["corpus", "not a dataset"]);
    check(&["evaluate", "corpus", "corpus"], &["corpus", "not a checkpoint"]);
    check(&["fill-mask", "corpus", "no mask"], &["[MASK]"]);
    let message = scratch.fails(2, &["vocab", "job.toml", "--size", "5", "--out", "v.txt"]);
    assert!(message.contains("--size"), "{message}");
    assert!(!scratch.path("v.txt").exists());
}

/// Runs `cloze` where no file may grow beyond `blocks` of 512 bytes, as on a disk that is full.
#[cfg(unix)]
pub fn with_file_limit(scratch: &Scratch, blocks: u32, arguments: &[&str]) -> Ran {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut command = Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_cloze")]).args(arguments).args(["--json", "--quiet"]);
    Ran::of(command.current_dir(scratch.path("")).stdin(Stdio::null()).env_remove("RUST_LOG"))
}

#[cfg(unix)]
#[test]
fn full_disk() {
    let scratch = Scratch::with_corpus();
    for stage in ["documents", "tokens", "examples"] {
        let ran = with_file_limit(&scratch, 2, &["prepare", "job.toml", "--until", stage]);
        let message = ran.check_failure(1, stage);
        assert!(message.contains("store"), "{message}");
        assert!(message.contains("too large") || message.contains("space"), "{message}");
        scratch.assert_nothing_half_written("store");
        // Room for this stage, so that the next one meets the full disk.
        scratch.ok(&["prepare", "job.toml", "--until", stage]);
    }
    scratch.ok(&["verify", "store/datasets/set"]);

    let out = ["vocab", "job.toml", "--size", "400", "--out", "learned.txt"];
    with_file_limit(&scratch, 1, &out).check_failure(1, "vocab");
    assert!(!scratch.path("learned.txt").exists());
    assert_eq!(scratch.files_with("", ".tmp-"), Vec::<PathBuf>::new());
}

#[cfg(unix)]
#[test]
fn a_store_that_cannot_be_written() {
    use std::os::unix::fs::PermissionsExt;
    let scratch = Scratch::with_corpus();
    scratch.write("file", "");
    let message = scratch.fails(2, &["prepare", "job.toml", "--set", "store.path=file/store"]);
    assert!(message.contains("file/store"), "{message}");

    fs::create_dir(scratch.path("closed")).unwrap();
    fs::set_permissions(scratch.path("closed"), fs::Permissions::from_mode(0o555)).unwrap();
    // The superuser writes everywhere.
    if fs::create_dir(scratch.path("closed/probe")).is_err() {
        let message = scratch.fails(2, &["prepare", "job.toml", "--set", "store.path=closed/store"]);
        assert!(message.contains("closed/store") && message.contains("ermission denied"), "{message}");
    }
}
