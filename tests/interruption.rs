//! Processes that are killed, asked to stop, or not alone.

use std::fs;
use std::path::{Path, PathBuf};

use crate::util::{Scratch, hashes, lines};

/// Documents enough for each stage to be met at work.
fn scratch() -> Scratch {
    let scratch = Scratch::with_corpus();
    for (seed, name) in (1..).zip(["a", "b", "c"]) {
        scratch.write(&format!("corpus/{name}.txt"), lines(seed, 600, 12));
    }
    scratch
}

/// Whether a stage is at work: something temporary lies in its directory.
fn at_work(directory: &Path) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| entry.file_name().to_string_lossy().starts_with(".tmp-"))
}

fn undisturbed(scratch: &Scratch) -> PathBuf {
    scratch.prepare("job.toml", &["store.path=undisturbed"])
}

#[test]
fn killed_anywhere_the_same_command_ends_with_the_same_bytes() {
    let scratch = scratch();
    let expected = hashes(&undisturbed(&scratch));
    let mut met = 0;
    for stage in ["documents", "tokens", "datasets"] {
        let directory = scratch.path("store").join(stage);
        let mut process = scratch.start(&["prepare", "job.toml"]);
        met += usize::from(process.wait_until(|| at_work(&directory)));
        process.kill();
        // Whatever has its final name is whole: verify would find half a dataset.
        if scratch.run(&["verify", "store/datasets/set"]).code == Some(0) {
            fs::remove_dir_all(scratch.path("store/datasets")).unwrap();
        }
    }
    assert!(met >= 2, "no process was killed at work");
    let dataset = scratch.prepare("job.toml", &[]);
    assert_eq!(hashes(&dataset), expected);
    assert_eq!(scratch.files_with("store", ".tmp-"), Vec::<PathBuf>::new());
    let spilled = scratch.files_with("store/spill", "");
    assert_eq!(spilled, Vec::<PathBuf>::new());
}

#[test]
fn asked_to_stop_it_leaves_only_whole_stages() {
    let scratch = scratch();
    let expected = hashes(&undisturbed(&scratch));
    for stage in ["documents", "tokens"] {
        let directory = scratch.path("store").join(stage);
        let mut process = scratch.start(&["prepare", "job.toml", "--json"]);
        assert!(process.wait_until(|| at_work(&directory)), "{:?}", process.finish().stderr);
        process.terminate();
        let ran = process.finish();
        assert_eq!(ran.code, Some(3), "{}", ran.stderr);
        let message = ran.json()["error"].as_str().unwrap().to_owned();
        assert!(message.contains("run the same command again"), "{message}");
        scratch.assert_nothing_half_written("store");
    }
    assert_eq!(hashes(&scratch.prepare("job.toml", &[])), expected);
}

#[test]
fn processes_that_start_together_share_a_store() {
    let scratch = scratch();
    let processes = [0; 6].map(|_| scratch.start(&["prepare", "job.toml", "--json"]));
    let outcomes = processes.map(|process| {
        let ran = process.finish();
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ran.json()
    });
    assert!(outcomes.iter().all(|outcome| outcome["dataset"] == outcomes[0]["dataset"]));
    // One did the work, the others waited and found it done.
    let mut counts = outcomes.map(|outcome| {
        let stages = outcome["stages"].as_array().unwrap();
        stages.iter().filter(|stage| stage["status"] == "ran").count()
    });
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 0, 0, 0, 3]);
    scratch.ok(&["verify", "store/datasets/set"]);
}
