//! Every command of the README runs: here on a small corpus and for few steps.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::interop::python_with_pyarrow;
use crate::util::{ROOT, Ran, Scratch, lines};

fn readme() -> String {
    fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap()
}

/// The fenced blocks of one language.
fn blocks(language: &str) -> Vec<String> {
    let text = readme();
    let blocks = text.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix(&format!("{language}\n")).map(str::to_owned)).collect()
}

/// Words of a shell line, double quotes taken off.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().expect("never empty").push(c),
        }
    }
    words
}

/// What makes a command of the README cheap.
fn overrides(arguments: &[String]) -> Vec<String> {
    let small_run = [
        "schedule.total_steps=2",
        "schedule.warmup_steps=1",
        "run.batch_size=2",
        "run.micro_batch=2",
        "run.device=cpu",
    ];
    let small_model = ["model.layers=1", "model.hidden=16", "model.heads=2", "model.intermediate=32"];
    let small_data = ["examples.dupe_factor=1", "examples.shards=2"];
    let sets: Vec<&str> = match (arguments[0].as_str(), arguments.get(1)) {
        ("quickstart", _) => [&small_data[..], &small_run[..], &small_model[..]].concat(),
        ("prepare" | "vocab", _) => small_data.to_vec(),
        // The second phase takes the shape of the first.
        ("train", Some(job)) if job.contains("512") => small_run.to_vec(),
        ("train", _) => [&small_run[..], &small_model[..]].concat(),
        _ => return Vec::new(),
    };
    sets.iter().flat_map(|set| ["--set".to_owned(), (*set).to_owned()]).collect()
}

#[test]
fn every_command_runs_in_the_order_of_the_readme() {
    let scratch = Scratch::new();
    for entry in fs::read_dir(Path::new(ROOT).join("jobs/configs")).unwrap().map(Result::unwrap) {
        let name = format!("jobs/configs/{}", entry.file_name().to_string_lossy());
        scratch.write(&name, fs::read(entry.path()).unwrap());
    }
    let page = |id: u64| {
        let text = lines(id, 1, 12).replace(" .\n", ". ");
        format!(
            "<page><title>Page {id}</title><ns>0</ns><id>{id}</id><revision><id>1{id}</id><text>{text}</text>\
             </revision></page>"
        )
    };
    let pages: String = (1..=30).map(page).collect();
    scratch.write("corpora/wikipedia/pages.xml", format!("<mediawiki xml:lang=\"en\">{pages}</mediawiki>"));
    for seed in 40..45 {
        scratch.write(&format!("corpora/books/{seed}.txt"), lines(seed, 5, 12).replace(" .\n", ". "));
    }

    let mut outcomes = BTreeMap::<String, Value>::new();
    let mut ran = 0;
    for line in blocks("sh").iter().flat_map(|block| block.lines()) {
        let rest = line.strip_prefix("cloze ").or_else(|| line.strip_prefix("cargo run -- "));
        let Some(rest) = rest else {
            assert!(["cargo test", "cargo build"].iter().any(|known| line.starts_with(known)), "{line}");
            continue;
        };
        let arguments = words(rest);
        let all: Vec<String> = arguments.iter().cloned().chain(overrides(&arguments)).collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let outcome = scratch.ok(&all);
        outcomes.insert(arguments[0].clone(), outcome);
        ran += 1;
    }
    assert!(ran >= 15, "{ran}");

    // The table of commands tells what their JSON holds.
    for (command, outcome) in &outcomes {
        let text = readme();
        let row = text.lines().find(|line| line.starts_with(&format!("| `cloze {command}")));
        let cells: Vec<&str> = row.unwrap_or_else(|| panic!("no row for {command}")).split(" | ").collect();
        let mut listed: Vec<&str> = cells[2].split('`').skip(1).step_by(2).collect();
        listed.sort_unstable();
        let keys: Vec<&str> = outcome.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(keys, listed, "{command}");
        // And which flags there are.
        let help = scratch.run(&[command, "--help"]).stdout;
        for word in cells[1].split(['`', ' ']).filter(|word| word.starts_with("--")) {
            assert!(help.contains(word), "{command} has no {word}");
        }
    }

    // The snippet reads what the quickstart made.
    if let Some(mut python) = python_with_pyarrow() {
        let snippet = &blocks("python")[0];
        let ran = Ran::of(python.args(["-c", snippet]).current_dir(scratch.path("")));
        assert_eq!((ran.code, ran.stdout.matches("[CLS]").count()), (Some(0), 3), "{}", ran.stderr);
    }
}

/// Jobs that the README's commands leave out.
#[test]
fn every_shipped_job_is_accepted() {
    let scratch = Scratch::with_corpus();
    scratch.prepare("job.toml", &["examples.name=wikibooks-128", "examples.max_seq_length=128"]);
    scratch.prepare("job.toml", &["examples.name=wikibooks-512", "examples.max_seq_length=512"]);
    let configs = Path::new(ROOT).join("jobs/configs").canonicalize().unwrap();
    let mut names: Vec<String> = fs::read_dir(&configs)
        .unwrap()
        .map(|entry| entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    let expected = ["bert-base-128", "bert-base-512", "bert-large-128", "bert-large-512", "bert-tiny-128"];
    assert_eq!(names[..5], expected);
    for name in names.iter().filter(|name| name.starts_with("bert-")) {
        let job = configs.join(format!("{name}.toml"));
        let job = job.to_str().unwrap().to_owned();
        let mut arguments = vec!["train".to_owned(), job.clone()];
        arguments.extend(overrides(&arguments));
        if let Some(size) = name.strip_suffix("-512") {
            arguments.extend(["--set".to_owned(), format!("model.init=runs/{size}-128")]);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let outcome = scratch.ok(&arguments);
        assert_eq!(outcome["step"], 2, "{name}");
        assert!(scratch.path(&format!("runs/{name}/checkpoints/step-2")).is_dir());
    }
}
