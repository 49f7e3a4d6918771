//! The `cofferdam` binary: parse, run, exit code.

fn main() -> std::process::ExitCode {
    cofferdam::cli::main()
}
