//! Streams a split as collated batches, from threads through bounded channels.
//!
//! ```text
//! reader 0: blocks 0, 2, 4 … ─► channel (read_ahead) ─┐
//! reader 1: blocks 1, 3, 5 … ─► channel (read_ahead) ─┴► collate ─► channel (prefetch) ─► Loader::next
//! ```
//!
//! Reader `r` of `n` reads every `n`-th block of the [`plan`], and collation takes blocks from the readers in
//! turn: the order of examples is the plan's, whatever the threads do. Errors travel through the channels; a
//! panic becomes one. Dropping the [`Loader`] closes the channels, which ends and joins every thread.

mod collate;
pub mod plan;
mod reader;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use cloze_schemas::{Example, ExampleBatch};
use crossbeam::channel::{Receiver, Sender, bounded};

pub use collate::StepBatch;
pub use reader::Shards;

use self::collate::Collator;
use self::plan::{Block, Order, Plan};
use crate::error::{Error, Result};

/// Sizes of batches and channels. Only the first two shape what comes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderOptions {
    /// Examples of an optimizer batch.
    pub batch_size: usize,
    /// Most examples of a part of it.
    pub micro_batch: usize,
    /// Threads that read shards.
    pub reader_threads: usize,
    /// Blocks a reader may be ahead.
    pub read_ahead: usize,
    /// Collated optimizer batches waiting for the device.
    pub prefetch: usize,
}

impl LoaderOptions {
    /// Batches of `batch_size` in one part each, with modest channels.
    pub fn new(batch_size: usize) -> Self {
        Self { batch_size, micro_batch: batch_size, reader_threads: 1, read_ahead: 2, prefetch: 4 }
    }
}

/// An iterator over optimizer batches. Ends after an error, and after the last row of [`Order::Stored`].
///
/// In [`Order::Shuffled`] every batch is full: what an epoch leaves over begins the next epoch's first batch.
pub struct Loader {
    /// Dropped first, so that blocked threads find their channel closed.
    batches: Option<Receiver<Result<StepBatch>>>,
    threads: Vec<JoinHandle<()>>,
    waited: Duration,
}

/// A block's rows, and the order in which to visit them.
struct ReadBlock {
    rows: ExampleBatch,
    order: Vec<u32>,
}

impl Loader {
    /// Starts reading at the `cursor`-th example.
    pub fn start(shards: &Arc<Shards>, order: Order, cursor: u64, options: LoaderOptions) -> Result<Self> {
        let manifest = &shards.dataset().manifest;
        let collator = Collator {
            micro_batch: options.micro_batch,
            max_seq_length: manifest.max_seq_length,
            pad: manifest.vocabulary.special.pad,
        };
        let source = Arc::clone(shards);
        let read = move |block: &Block| source.read(block.shard, block.first_row, block.rows);
        Self::spawn_all(shards.plan(order), cursor, collator, options, read)
    }

    fn spawn_all<R>(
        plan: Plan,
        cursor: u64,
        collator: Collator,
        options: LoaderOptions,
        read: R,
    ) -> Result<Self>
    where
        R: Fn(&Block) -> Result<ExampleBatch> + Send + Sync + 'static,
    {
        let (plan, read) = (Arc::new(plan), Arc::new(read));
        let (sender, batches) = bounded(options.prefetch);
        let mut loader = Self { batches: Some(batches), threads: Vec::new(), waited: Duration::ZERO };
        let readers = options.reader_threads.max(1);
        let mut blocks = Vec::with_capacity(readers);
        for reader in 0..readers {
            let (sender, receiver) = bounded(options.read_ahead);
            let (plan, read) = (Arc::clone(&plan), Arc::clone(&read));
            loader.threads.push(spawn(format!("cloze-reader-{reader}"), sender, move |sender| {
                for block in plan.blocks(cursor).skip(reader).step_by(readers) {
                    let rows = read(&block).map(|rows| ReadBlock { rows, order: plan.rows(&block) });
                    let failed = rows.is_err();
                    if sender.send(rows).is_err() || failed {
                        return;
                    }
                }
            })?);
            blocks.push(receiver);
        }
        let batch_size = options.batch_size;
        loader.threads.push(spawn("cloze-collate".to_owned(), sender, move |sender| {
            collate(&blocks, batch_size, cursor, &collator, sender);
        })?);
        Ok(loader)
    }

    /// Time spent waiting for data since the last call.
    pub fn take_waited(&mut self) -> Duration {
        std::mem::take(&mut self.waited)
    }
}

impl Iterator for Loader {
    type Item = Result<StepBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = Instant::now();
        let batch = self.batches.as_ref()?.recv().ok();
        self.waited += start.elapsed();
        batch
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        self.batches = None;
        for thread in self.threads.drain(..) {
            // Panics were caught and sent.
            let _ = thread.join();
        }
    }
}

/// Takes blocks from the readers in turn until they end, and sends optimizer batches.
fn collate(
    readers: &[Receiver<Result<ReadBlock>>],
    batch_size: usize,
    mut cursor: u64,
    collator: &Collator,
    sender: &Sender<Result<StepBatch>>,
) {
    // Rows of the next batch: a block and an index into it.
    let mut pending: Vec<(Arc<ExampleBatch>, u32)> = Vec::with_capacity(batch_size);
    let mut send = |pending: &mut Vec<(Arc<ExampleBatch>, u32)>| {
        cursor += pending.len() as u64;
        let rows: Vec<Example<'_>> = pending.iter().map(|(block, row)| block.row(*row as usize)).collect();
        let sent = sender.send(Ok(collator.step(&rows, cursor))).is_ok();
        pending.clear();
        sent
    };
    for reader in readers.iter().cycle() {
        match reader.recv() {
            Ok(Ok(ReadBlock { rows, order })) => {
                let rows = Arc::new(rows);
                for row in order {
                    pending.push((Arc::clone(&rows), row));
                    if pending.len() == batch_size && !send(&mut pending) {
                        return;
                    }
                }
            }
            Ok(Err(error)) => {
                let _ = sender.send(Err(error));
                return;
            }
            // Block n is missing, so are all later ones: the plan has ended.
            Err(_) => break,
        }
    }
    if !pending.is_empty() {
        send(&mut pending);
    }
}

/// Starts a named thread whose panics are sent as errors.
fn spawn<T: Send + 'static>(
    name: String,
    sender: Sender<Result<T>>,
    body: impl FnOnce(&Sender<Result<T>>) + Send + 'static,
) -> Result<JoinHandle<()>> {
    let thread = name.clone();
    let run = move || {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(&sender))) {
            let _ = sender.send(Err(Error::Panic { thread, message: panic_message(&*panic) }));
        }
    };
    Builder::new().name(name.clone()).spawn(run).map_err(|source| Error::Spawn { thread: name, source })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => (*message).to_owned(),
        (_, Some(message)) => message.clone(),
        _ => "no message".to_owned(),
    }
}
