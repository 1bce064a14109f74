//! The `cloze` command; everything is in the library.

/// Training allocates and frees a buffer for every operation; the system allocator gives each back to the
/// kernel and faults it in again.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    cloze_jobs::run(std::env::args_os())
}
