use std::fs;
use std::path::Path;

use cloze_schemas::{Dataset, ExampleBuilder, Masked, Split};

use super::*;
use crate::fixture;

const SHARDS: [u32; 5] = [40, 40, 40, 39, 39];
const ROWS: usize = 198;

fn options(reader_threads: usize) -> LoaderOptions {
    LoaderOptions { batch_size: 7, micro_batch: 3, reader_threads, read_ahead: 1, prefetch: 1 }
}

fn loader(dataset: &Dataset, order: Order, cursor: u64, threads: usize) -> Loader {
    let split = if order == Order::Stored { Split::Validation } else { Split::Train };
    let shards = Arc::new(Shards::open(dataset, split).unwrap());
    Loader::start(&shards, order, cursor, options(threads)).unwrap()
}

/// The numbers of a batch's rows.
fn numbers(batch: &StepBatch) -> Vec<u32> {
    batch
        .micro_batches
        .iter()
        .flat_map(|part| part.input_ids.chunks(part.length).map(fixture::number).collect::<Vec<_>>())
        .collect()
}

#[test]
fn order_does_not_depend_on_threads_and_epochs_are_whole() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = fixture::write(dir.path(), &SHARDS, &[]);
    let order = Order::Shuffled { seed: 3 };
    // 198 = 28 × 7 + 2: batch 29 crosses into the second epoch.
    let batches =
        |threads| loader(&dataset, order, 0, threads).take(57).map(Result::unwrap).collect::<Vec<_>>();
    let one = batches(1);
    assert_eq!(one, batches(2));
    assert_eq!(one, batches(7));

    let visited: Vec<u32> = one.iter().flat_map(numbers).collect();
    for epoch in [&visited[..ROWS], &visited[ROWS..2 * ROWS]] {
        let mut sorted = epoch.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..ROWS as u32).collect::<Vec<_>>());
    }
    assert_ne!(visited[..ROWS], visited[ROWS..2 * ROWS]);
    assert!(one.iter().all(|batch| batch.rows == 7 && batch.masked_tokens == 7));
    assert_eq!(one[56].cursor, 57 * 7);

    // A run that goes on after 30 batches sees the same.
    let rest: Vec<_> = loader(&dataset, order, one[29].cursor, 2).take(27).map(Result::unwrap).collect();
    assert_eq!(rest, one[30..]);
}

#[test]
fn the_stored_order_ends_with_a_partial_batch() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = fixture::write(dir.path(), &[1], &[10, 10, 10]);
    let batches: Vec<_> = loader(&dataset, Order::Stored, 0, 2).map(Result::unwrap).collect();
    assert_eq!(batches.iter().flat_map(numbers).collect::<Vec<_>>(), (1..31).collect::<Vec<_>>());
    assert_eq!(batches.iter().map(|batch| batch.rows).collect::<Vec<_>>(), [7, 7, 7, 7, 2]);
}

#[test]
fn blocks_may_cross_row_groups() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = fixture::write(dir.path(), &[60], &[]);
    let shards = Shards::open(&dataset, Split::Train).unwrap();
    for (first, rows) in [(0, 60), (16, 2), (17, 17), (30, 30), (59, 1)] {
        let batch = shards.read(0, first, rows).unwrap();
        let documents: Vec<u64> = (0..batch.len()).map(|row| batch.row(row).document_id).collect();
        assert_eq!(documents, (first..first + rows as u64).collect::<Vec<_>>());
    }
}

/// Damages a dataset: the loader must end with an error that contains all of `expected`.
fn check(damage: impl Fn(&Path, &mut Dataset), expected: &[&str]) {
    for threads in [1, 3] {
        let dir = tempfile::tempdir().unwrap();
        let mut dataset = fixture::write(dir.path(), &SHARDS, &[]);
        damage(&dir.path().join("train/2.parquet"), &mut dataset);
        let mut loader = loader(&dataset, Order::Shuffled { seed: 1 }, 0, threads);
        let error = loader.find_map(Result::err).unwrap();
        assert!(error.is_bad_input());
        let message = error.to_string();
        assert!(expected.iter().all(|part| message.contains(part)), "{message}");
        assert!(loader.next().is_none());
    }
}

#[test]
fn damaged_shards_are_errors_that_name_them() {
    check(|path, _| fs::remove_file(path).unwrap(), &["train/2.parquet", "missing"]);
    check(
        |path, _| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 9]).unwrap();
        },
        &["train/2.parquet", "truncated"],
    );
    check(
        |path, _| {
            let mut bytes = fs::read(path).unwrap();
            bytes[200] ^= 1;
            fs::write(path, bytes).unwrap();
        },
        &["train/2.parquet", "checksum differs"],
    );
}

#[test]
fn rows_that_break_the_format_are_errors_that_name_them() {
    let replace = |ids: &'static [u32], rows: usize| {
        move |_: &Path, dataset: &mut Dataset| {
            let mut builder = ExampleBuilder::new(false);
            for row in 0..rows {
                let good: &[u32] = &[2, 9, 4, 3, 10, 3];
                let ids = if row == 21 { ids } else { good };
                builder.push(ids, 4, &[Masked { position: 2, id: 9 }], false, (1, 1));
            }
            let batch = builder.finish_batch();
            let shard = fixture::write_shard(&dataset.dir, "train/2.parquet", Split::Train, &batch);
            let old = &mut dataset.manifest.shards[2];
            // The checksum is right: what is wrong was wrong from the start.
            (old.bytes, old.sha256) = (shard.bytes, shard.sha256);
        }
    };
    check(replace(&[2, 9, 4, 3, 60, 3], 40), &["train/2.parquet, row 21", "vocabulary has 48 entries"]);
    check(replace(&[2, 9, 4, 3, 10, 3], 30), &["train/2.parquet", "has 30 rows, the manifest says 40"]);
    check(
        |path, dataset| {
            fs::write(path, "not parquet").unwrap();
            let shard = &mut dataset.manifest.shards[2];
            (shard.bytes, shard.sha256) = (11, cloze_schemas::sha256_file(path).unwrap());
        },
        &["train/2.parquet"],
    );
}

/// A loader over a source of our own, and a handle that shows whether a thread still holds the source.
fn with_source(
    read: impl Fn(&Block) -> Result<ExampleBatch> + Send + Sync + 'static,
) -> (Loader, std::sync::Weak<()>) {
    let plan = Plan::new(vec![40; 5], Order::Shuffled { seed: 1 });
    let collator = Collator { micro_batch: 3, max_seq_length: 20, pad: 0 };
    let token = Arc::new(());
    let held = Arc::downgrade(&token);
    let source = move |block: &Block| {
        let _ = &token;
        read(block)
    };
    (Loader::spawn_all(plan, 0, collator, options(3), source).unwrap(), held)
}

#[test]
fn a_panic_in_a_thread_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = fixture::write(dir.path(), &[40; 5], &[]);
    let shards = Shards::open(&dataset, Split::Train).unwrap();
    let (mut loader, threads) = with_source(move |block| {
        assert!(block.epoch < 1, "no second epoch here");
        shards.read(block.shard, block.first_row, block.rows)
    });
    let good = loader.by_ref().take_while(Result::is_ok).count();
    // All of the first epoch's 200 rows came before it.
    assert_eq!(good, 28);
    assert!(loader.next().is_none());
    drop(loader);
    assert_eq!(threads.strong_count(), 0);

    let (mut loader, _) = with_source(|_| panic!("out of cheese"));
    let error = loader.next().unwrap().unwrap_err();
    assert!(!error.is_bad_input());
    let message = error.to_string();
    assert!(message.contains("cloze-reader-") && message.contains("out of cheese"), "{message}");
}

#[test]
fn dropping_ends_all_threads_whatever_they_wait_for() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = fixture::write(dir.path(), &[40; 5], &[]);
    for batches in [0, 1, 10] {
        let shards = Shards::open(&dataset, Split::Train).unwrap();
        let (mut loader, threads) =
            with_source(move |block| shards.read(block.shard, block.first_row, block.rows));
        for batch in loader.by_ref().take(batches) {
            batch.unwrap();
        }
        if batches == 10 {
            // Every channel is full by now, or will be: nobody takes anything out.
            std::thread::sleep(Duration::from_millis(50));
        }
        drop(loader);
        // The threads held the source: they are gone.
        assert_eq!(threads.strong_count(), 0);
    }
}

#[test]
fn an_empty_split_is_an_error_that_names_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let dataset = fixture::write(dir.path(), &[5], &[]);
    let error = Shards::open(&dataset, Split::Validation).err().unwrap().to_string();
    assert!(
        error.contains("validation split has no examples") && error.contains("documents.validation"),
        "{error}"
    );
}
