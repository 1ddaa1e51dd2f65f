//! The binary: parse, call, print the error, exit code.

use std::process::ExitCode;

/// Rows and tokens are many small texts on many threads, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if std::env::var_os("CANDLE_NUM_THREADS").is_none() {
        // candle's own threads wait by spinning; what is worth sharing out runs on rayon's.
        // SAFETY: no other thread has been started yet.
        unsafe { std::env::set_var("CANDLE_NUM_THREADS", "1") };
    }
    proto::commands::main()
}
