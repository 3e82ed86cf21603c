//! The project's own commands, `cargo xtask test | ci | services | soak | bench`. Each works the
//! same on every machine and in CI. They need Rust and a C compiler, and the tests of the
//! PostgreSQL store need a PostgreSQL server, which they install if permitted.

mod ci;
mod services;
mod soak;
mod step;
mod tail;

use std::process::ExitCode;

use step::Step;

const HELP: &str = "\
The project's own commands.

Usage: cargo xtask COMMAND [ARGUMENTS]

Commands:
  test [ARGUMENTS]   Builds and runs every test of the workspace with all features: unit and
                     integration tests, doc tests, and the code of the guide.
                     ARGUMENTS go to `cargo test`, as in: cargo xtask test conformance
  ci                 Runs all checks in turn, up to the first that fails: formatting, lints, docs,
                     packages, each feature alone, the tests, dependencies.
  services           Starts a private PostgreSQL server on a free port, prints its URL, and stops it
                     when its input ends (Ctrl-D) or it is interrupted (Ctrl-C). Tests need no such
                     step: they start their own.
  soak --minutes N   Runs systems in several processes, on PostgreSQL and SQLite, again and again
                     with new seeds, kills processes, stops them in their sleep and crashes the
                     server, until the time is up or something differs; then it says what, and
                     keeps the folder.
  bench [ARGUMENTS]  Builds retold-bench for release and runs it with ARGUMENTS.
                     `cargo xtask bench --help` lists what it measures.
  compare            Builds the comparison with cqrs-es and postgres-es for release, in a workspace
                     of its own, and runs it on a private PostgreSQL server.
  tail [ARGUMENTS]   Builds retold-bench for release and runs its part `tail`: processes write to
                     one log while others follow it. Without --url on a private PostgreSQL server.
                     As in: cargo xtask tail --appends 1000000
  help               Shows this.

Exit codes: 0 all went well, 1 a check or a test failed, 2 the command was not understood.
";

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let command = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let done = match (command.as_str(), arguments.as_slice()) {
        ("help" | "-h" | "--help", _) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ("test", [flag]) if flag == "-h" || flag == "--help" => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ("test", arguments) => tests(arguments).run(),
        ("services", []) => return services::run(),
        ("services", [flag]) if flag == "-h" || flag == "--help" => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ("services", [surplus, ..]) => {
            return refuse(&format!("services takes no arguments, not {surplus:?}"));
        }
        ("soak", [flag, minutes]) if flag == "--minutes" => return soak::run(minutes),
        ("soak", [flag]) if flag == "-h" || flag == "--help" => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ("soak", _) => return refuse("soak takes --minutes N and nothing else"),
        ("bench", arguments) => bench(arguments).run(),
        ("compare", []) => compare().run(),
        ("compare", [surplus, ..]) => {
            return refuse(&format!("compare takes no arguments, not {surplus:?}"));
        }
        ("tail", arguments) => return tail::run(arguments),
        ("ci", []) => ci::run(),
        ("ci", [flag]) if flag == "-h" || flag == "--help" => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        ("ci", [surplus, ..]) => return refuse(&format!("ci takes no arguments, not {surplus:?}")),
        ("", _) => return refuse("a command is missing"),
        (unknown, _) => return refuse(&format!("there is no command {unknown:?}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn refuse(reason: &str) -> ExitCode {
    eprintln!("xtask: {reason}\n\n{HELP}");
    ExitCode::from(2)
}

/// Runs every test; the `ci` command runs the same.
fn tests(arguments: &[String]) -> Step {
    // A failure does not hide the ones after it.
    let run = ["test", "--workspace", "--all-features", "--no-fail-fast"];
    Step::cargo("tests", &run).arguments(arguments)
}

fn bench(arguments: &[String]) -> Step {
    let run = ["run", "--release", "--package", "retold-bench", "--"];
    Step::cargo("bench", &run).arguments(arguments)
}

fn compare() -> Step {
    let manifest = "comparison/Cargo.toml";
    Step::cargo(
        "comparison",
        &["run", "--release", "--manifest-path", manifest],
    )
}
