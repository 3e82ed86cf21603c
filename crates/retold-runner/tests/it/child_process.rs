//! A process that runs a test of this binary as its program, and is killed when it is dropped.

use std::env;
use std::ffi::OsStr;
use std::process::{Child, Command, Stdio};

/// Killed when it is dropped, even if the test fails.
pub(crate) struct ChildProcess(Child);

impl ChildProcess {
    /// Starts a process that runs the test of this name only, with these variables in its
    /// environment.
    pub(crate) fn start(test: &str, variables: &[(&str, &dyn AsRef<OsStr>)]) -> Self {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", test, "--test-threads=1"]);
        for (name, value) in variables {
            command.env(name, value.as_ref());
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal through the shell, whose `kill` exists on every such machine.
    pub(crate) fn signal(&self, signal: &str) {
        let command = format!("kill -{signal} {}", self.id());
        let status = Command::new("sh").args(["-c", &command]).status().unwrap();
        assert!(status.success(), "{command}");
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
