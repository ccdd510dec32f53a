//! `events`

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use super::{Global, output};
use crate::cgroups::stats::Stats;
use crate::cli::Events;
use crate::container::events::Event;

/// A line of output.
#[derive(Serialize)]
struct Line<'a> {
    r#type: &'a str,
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Stats>,
}

/// Prints what a container uses: once, or until it ends.
///
/// # Errors
/// When there is no such container, it is not running, or nobody reads.
pub(super) fn run(global: &Global, args: &Events) -> Result<i32> {
    let container = global.store.look_up(&args.id)?;
    let interval = duration(&args.interval)
        .with_context(|| format!("invalid value {:?} for flag -interval", args.interval))?;
    ensure!(!interval.is_zero(), "duration interval must be greater than 0");
    let mut tell = |event| print(&args.id, &event);
    if args.stats {
        tell(container.stats()?)?;
    } else {
        container.events(interval, &mut tell)?;
    }
    Ok(0)
}

fn print(id: &str, event: &Event) -> Result<()> {
    let line = match event {
        Event::Stats(stats) => Line { r#type: "stats", id, data: Some(stats) },
        Event::OutOfMemory => Line { r#type: "oom", id, data: None },
    };
    output(&(serde_json::to_string(&line).context("encode an event")? + "\n"))
}

/// A duration as Go writes them: `5s`, `1m30s`, `1.5h`, `100ms`. One below zero counts as zero.
fn duration(text: &str) -> Result<Duration> {
    if let Some(rest) = text.strip_prefix('-') {
        return duration(rest).map(|_| Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    ensure!(!rest.is_empty(), "empty");
    let mut seconds = 0.0;
    while !rest.is_empty() {
        let is_digit = |c: char| c.is_ascii_digit() || c == '.';
        let (number, after) = rest.split_at(rest.find(|c| !is_digit(c)).unwrap_or(rest.len()));
        let (unit, after) = after.split_at(after.find(is_digit).unwrap_or(after.len()));
        let factor = match unit {
            "ns" => 1e-9,
            "us" | "µs" | "μs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            "" => bail!("missing unit"),
            other => bail!("unknown unit {other:?}"),
        };
        seconds += number.parse::<f64>().with_context(|| format!("{number:?}"))? * factor;
        rest = after;
    }
    Duration::try_from_secs_f64(seconds).context("too long")
}

#[cfg(test)]
mod tests {
    use super::duration;

    #[test]
    fn durations() {
        for (text, want) in [
            ("5s", Some(5000)),
            ("100ms", Some(100)),
            ("1m30s", Some(90_000)),
            ("1.5h", Some(5_400_000)),
            ("+2s", Some(2000)),
            ("0", Some(0)),
            ("-5s", Some(0)),
            ("5", None),
            ("", None),
            ("s", None),
            ("5x", None),
            ("1.2.3s", None),
            ("999999999999999999999h", None),
        ] {
            assert_eq!(duration(text).ok().map(|d| d.as_millis()), want, "{text}");
        }
    }
}
