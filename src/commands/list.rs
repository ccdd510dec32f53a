//! `list`

use std::fmt::Write;
use std::fs;

use anyhow::{Context, Result, bail};

use super::state::Shown;
use super::{Global, output};
use crate::cli::List;
use crate::container::Container;
use crate::log;

/// Prints all containers: as a table, as JSON, or their ids.
///
/// # Errors
/// When the state directory cannot be read.
pub(super) fn run(global: &Global, args: &List) -> Result<i32> {
    let containers: Vec<_> =
        global.store.ids()?.iter().filter_map(|id| look_up(global, id)).collect();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let shown = containers
        .iter()
        .map(|container| Shown::new(container, owner(&passwd, container.facts.owner)))
        .collect::<Result<Vec<_>>>()?;
    let text = match args.format.as_str() {
        _ if args.quiet => shown.iter().map(|shown| format!("{}\n", shown.id)).collect(),
        "table" => table(&shown),
        "json" => serde_json::to_string(&shown).context("encode the list")? + "\n",
        _ => bail!("invalid format option"),
    };
    output(&text)?;
    Ok(0)
}

/// One that cannot be read is no reason not to show the others.
fn look_up(global: &Global, id: &str) -> Option<Container> {
    match global.store.look_up(id) {
        Ok(container) => Some(container),
        Err(error) => {
            log::warn(format!("container {id}: {error:#}"));
            None
        }
    }
}

/// Columns as wide as their widest cell and three blanks, and never below twelve.
fn table(shown: &[Shown<'_>]) -> String {
    let head = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_string);
    let rows = shown.iter().map(|row| {
        let bundle = row.bundle.display().to_string();
        let (id, created) = (row.id.to_string(), row.created.to_string());
        [id, row.pid.to_string(), row.status.to_string(), bundle, created, row.owner.clone()]
    });
    let rows: Vec<_> = std::iter::once(head).chain(rows).collect();
    let width = |column: usize| {
        let widest = rows.iter().map(|row| row[column].chars().count() + 3).max();
        widest.unwrap_or(0).max(12)
    };
    let widths: Vec<_> = (0..5).map(width).collect();
    rows.iter().fold(String::new(), |mut text, row| {
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a string cannot fail.
            let _ = write!(text, "{cell:width$}");
        }
        let _ = writeln!(text, "{}", row[5]);
        text
    })
}

/// The name of a user of the host, or `#` and the number.
fn owner(passwd: &str, uid: u32) -> String {
    let id = uid.to_string();
    let line = passwd.lines().find(|line| line.split(':').nth(2) == Some(&id));
    let name = line.and_then(|line| line.split(':').next());
    name.map_or_else(|| format!("#{id}"), str::to_string)
}
