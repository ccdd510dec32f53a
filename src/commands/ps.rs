//! `ps`

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use super::{Global, output};
use crate::cli::Ps;

/// Prints the processes of a container: a table that ps(1) made, or an array of pids.
///
/// # Errors
/// When there is no such container, or ps(1) fails.
pub(super) fn run(global: &Global, args: &Ps) -> Result<i32> {
    let container = global.store.look_up(&args.id)?;
    let pids = container.facts.cgroups.processes()?;
    let mut pids: Vec<_> = pids.into_iter().map(nix::unistd::Pid::as_raw).collect();
    pids.sort_unstable();
    let text = match args.format.as_str() {
        "table" => select(&table(&args.options)?, &pids)?,
        "json" => serde_json::to_string(&pids).context("encode the pids")? + "\n",
        _ => bail!("invalid format option"),
    };
    output(&text)?;
    Ok(0)
}

/// What ps(1) says about all processes of this host.
fn table(options: &[OsString]) -> Result<String> {
    let usual = [OsString::from("-ef")];
    let options = if options.is_empty() { &usual } else { options };
    let shown = Command::new("ps").args(options).output().context("execute ps")?;
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let errors = text(&shown.stderr);
    ensure!(shown.status.success(), "ps: {}: {}{errors}", shown.status, text(&shown.stdout));
    Ok(text(&shown.stdout))
}

/// The head of the table, and the lines about these processes.
fn select(table: &str, pids: &[i32]) -> Result<String> {
    let head = table.lines().next().unwrap_or_default();
    let column = head.split_whitespace().position(|title| title == "PID");
    let column = column.context("couldn't find PID field in ps output")?;
    let mut selected = format!("{head}\n");
    for line in table.lines().skip(1).filter(|line| !line.is_empty()) {
        let pid = line.split_whitespace().nth(column).and_then(|pid| pid.parse().ok());
        if pids.contains(&pid.with_context(|| format!("unable to parse pid: {line:?}"))?) {
            selected += line;
            selected.push('\n');
        }
    }
    Ok(selected)
}

#[cfg(test)]
mod tests {
    use super::select;

    #[test]
    fn lines_of_the_container() {
        for (table, want) in [
            ("UID PID CMD\nroot 1 init\nroot 12 x 2\n", Some("UID PID CMD\nroot 12 x 2\n")),
            ("  PID CMD\n    1 init\n   12 x\n", Some("  PID CMD\n   12 x\n")),
            ("PID\n", Some("PID\n")),
            ("CMD\ninit\n", None),
            ("PID\nx\n", None),
            ("", None),
        ] {
            assert_eq!(select(table, &[12, 13]).ok().as_deref(), want, "{table:?}");
        }
    }
}
