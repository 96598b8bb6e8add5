//! The program: closes itself to debuggers and core dumps, then hands over to `cli`.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Tokens live in our memory. Both calls can only make things stricter; where they are refused,
    // the program works as well.
    let _ = nix::sys::prctl::set_dumpable(false);
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    tokensink::cli::main(std::env::args_os()).into()
}
