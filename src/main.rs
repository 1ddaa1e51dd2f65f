//! The binary: parse, call, print the error, exit code.

use std::process::ExitCode;

/// Rows and tokens are many small texts on many threads, which the system's allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    proto::commands::main()
}
