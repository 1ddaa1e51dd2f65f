//! The binary: parse, call, print the error, exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    proto::commands::main()
}
