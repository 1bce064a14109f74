//! The bytes of a dataset depend on inputs, settings and seed alone, and only what changed is done again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use cloze_schemas::sha256_hex;
use serde_json::json;

use crate::util::{JOB, ROOT, Scratch, hashes, lines, shard_hashes};

#[test]
fn threads_and_memory_change_no_byte() {
    let scratch = Scratch::with_corpus();
    let mut datasets = Vec::new();
    for (index, flags) in [["1", "2GiB"], ["2", "64MiB"], ["5", "512MiB"]].into_iter().enumerate() {
        let store = format!("store.path=store{index}");
        let [threads, memory] = flags;
        let outcome =
            scratch.ok(&["prepare", "job.toml", "--set", &store, "--threads", threads, "--memory", memory]);
        datasets.push(hashes(&scratch.path(outcome["dataset"].as_str().unwrap())));
    }
    assert_eq!(datasets[0].len(), 3 + 3, "{:?}", datasets[0].keys());
    assert_eq!(datasets[0], datasets[1]);
    assert_eq!(datasets[0], datasets[2]);
}

#[test]
fn names_and_order_of_files_change_no_shard() {
    let scratch = Scratch::with_corpus();
    let first = scratch.prepare("job.toml", &[]);
    fs::rename(scratch.path("corpus"), scratch.path("texts")).unwrap();
    fs::rename(scratch.path("texts/b.txt"), scratch.path("texts/z.txt")).unwrap();
    let mut paths = "[\"texts/z.txt\", \"texts/c.txt\", \"texts/a.txt\"]".to_owned();
    for store in ["two", "three"] {
        scratch.write("moved.toml", JOB.replace("\"corpus/*.txt\"", &paths));
        let moved = scratch.prepare("moved.toml", &[&format!("store.path={store}")]);
        assert_eq!(shard_hashes(&moved), shard_hashes(&first), "{paths}");
        // One file in two sources is read once.
        let again =
            "\"texts/c.txt\"\n[[source]]\nkind = \"lines\"\npath = [\"texts/c.txt\", \"texts/a.txt\"]";
        paths = format!("[\"texts/*.txt\"]\n[[source]]\nkind = \"lines\"\npath = {again}");
    }
}

#[test]
fn only_what_changed_is_done_again() {
    let scratch = Scratch::with_corpus();
    let first = scratch.prepare("job.toml", &[]);
    // Equal inode and time: nobody wrote there again.
    let untouched = |directory: &str| -> BTreeMap<_, _> {
        let entries = fs::read_dir(scratch.path(directory)).unwrap().map(Result::unwrap);
        entries.map(|entry| (entry.file_name(), entry.metadata().unwrap().modified().unwrap())).collect()
    };
    let before = ["store/documents", "store/tokens"].map(untouched);
    assert_eq!(before.each_ref().map(BTreeMap::len), [3, 3]);

    let seed = scratch.ok(&["prepare", "job.toml", "--set", "examples.seed=8"]);
    assert_eq!(["store/documents", "store/tokens"].map(untouched), before);
    let statuses = |outcome: &serde_json::Value| -> Vec<String> {
        let stages = outcome["stages"].as_array().unwrap();
        stages.iter().map(|stage| stage["status"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(statuses(&seed), ["reused", "reused", "ran"]);
    let other = scratch.path(seed["dataset"].as_str().unwrap());
    assert_ne!(shard_hashes(&other), shard_hashes(&first));

    scratch.write("corpus/d.txt", lines(4, 10, 8));
    assert_eq!(statuses(&scratch.ok(&["prepare", "job.toml"])), ["ran", "ran", "ran"]);
    for (directory, before) in ["store/documents", "store/tokens"].into_iter().zip(&before) {
        let after = untouched(directory);
        assert_eq!(after.len(), 4);
        assert!(before.iter().all(|(name, time)| after.get(name) == Some(time)), "{directory}");
    }

    // Another name alone needs no new corpus work, and gives the same bytes.
    fs::remove_file(scratch.path("corpus/d.txt")).unwrap();
    let renamed = scratch.prepare("job.toml", &["examples.name=other"]);
    assert_eq!(shard_hashes(&renamed), shard_hashes(&first));
    // A changed file is noticed by its size or time.
    scratch.write("corpus/a.txt", lines(11, 10, 8));
    assert_eq!(statuses(&scratch.ok(&["prepare", "job.toml"])), ["ran", "ran", "ran"]);
}

#[test]
fn a_touched_file_is_known_by_its_content() {
    let scratch = Scratch::with_corpus();
    scratch.prepare("job.toml", &[]);
    scratch.write("corpus/a.txt", lines(1, 10, 8));
    let again = scratch.ok(&["prepare", "job.toml"]);
    let stages = again["stages"].as_array().unwrap();
    assert!(stages.iter().all(|stage| stage["status"] == "reused"), "{again}");
}

/// One hash for all files below a directory.
fn hash_of_all(directory: &Path) -> String {
    sha256_hex(format!("{:?}", hashes(directory)).as_bytes())
}

/// The bytes that each stage makes of a fixed corpus. Stores in use hold such bytes under names that contain the
/// stage's VERSION: whoever changes the bytes has to change the version.
#[test]
fn each_stage_makes_the_recorded_bytes() {
    let scratch = Scratch::new();
    let fixture = Path::new(ROOT).join("tests/fixtures/golden");
    let set = format!("store.path={}", scratch.path("store").display());
    let job = fixture.join("job.toml");
    let dataset = scratch.prepare(job.to_str().unwrap(), &[&set]);
    scratch.ok(&["verify", dataset.to_str().unwrap()]);
    let made = json!({
        "documents": hash_of_all(&scratch.path("store/documents")),
        "tokens": hash_of_all(&scratch.path("store/tokens")),
        "examples": sha256_hex(format!("{:?}", shard_hashes(&dataset)).as_bytes()),
    });
    let recorded: serde_json::Value =
        serde_json::from_slice(&fs::read(fixture.join("sha256.json")).unwrap()).unwrap();
    for stage in ["documents", "tokens", "examples"] {
        assert_eq!(
            made[stage], recorded[stage],
            "the bytes of the {stage} stage changed: bump VERSION in pipeline/src/stages/{stage} (the new version of \
             a crate has renamed the stage already), then record in tests/fixtures/golden/sha256.json:\n{made:#}"
        );
    }
}
