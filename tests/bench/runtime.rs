//! The runtimes of this machine.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::reference;

/// A runtime to be timed.
pub struct Runtime {
    /// What it is called in the tables.
    pub name: String,
    path: PathBuf,
    root: PathBuf,
}

impl Runtime {
    /// Ours first, which `ORLOP` names, then runc, crun and youki as far as they are there.
    pub fn all() -> Vec<Self> {
        let ours = std::env::var_os("ORLOP").expect("ORLOP names the executable").into();
        let others = ["crun", "youki"].map(|name| Some(PathBuf::from(name)));
        let all = [Some(ours), reference::runc()].into_iter().chain(others).flatten();
        all.filter_map(Self::new).collect()
    }

    fn new(path: PathBuf) -> Option<Self> {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let Ok(output) = Command::new(&path).arg("--version").output() else {
            println!("{name}: not on this machine");
            return None;
        };
        let text = String::from_utf8_lossy(&output.stdout);
        println!("{name}: {}", text.lines().next().unwrap_or_default());
        // As their own defaults are: in memory.
        let root = Path::new("/run/orlop-bench").join(&name);
        Some(Self { name, path, root })
    }

    /// Runs a command to its end and says how long that took.
    ///
    /// # Errors
    /// What it wrote when it failed.
    pub fn run(&self, bundle: &Path, words: &[&str], output: &Path) -> Result<Duration, String> {
        let mut command = Command::new(&self.path);
        command.arg("--root").arg(&self.root).args(words).current_dir(bundle);
        run(&mut command, output)
    }

    /// As [`Runtime::run`], for what has worked before.
    pub fn time(&self, bundle: &Path, words: &[&str], output: &Path) -> Duration {
        self.run(bundle, words, output).unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// Runs a command to its end and says how long that took. What it writes goes to a file, since a
/// container may hold a pipe open.
///
/// # Errors
/// What it wrote when it failed.
pub fn run(command: &mut Command, output: &Path) -> Result<Duration, String> {
    let file = File::create(output).expect("make a file");
    command.stdin(Stdio::null()).stderr(file.try_clone().expect("copy a descriptor"));
    command.stdout(file);
    let begin = Instant::now();
    let status = command.status().expect("run a command");
    let time = begin.elapsed();
    if status.success() {
        return Ok(time);
    }
    let said = std::fs::read_to_string(output).unwrap_or_default();
    Err(format!("{command:?}: {status}: {}", said.trim_end()))
}
