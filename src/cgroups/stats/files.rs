//! Files with counters: one number, a list of numbers, keys with numbers.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};

use super::{BlockIoEntry, Misc, Rdma};

/// The files of one cgroup.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files<'a> {
    directory: &'a Path,
}

impl<'a> Files<'a> {
    pub(super) fn new(directory: &'a Path) -> Self {
        Self { directory }
    }

    /// The content, if there is such a file.
    pub(super) fn text(&self, file: &str) -> Result<Option<String>> {
        let path = self.directory.join(file);
        match fs::read_to_string(&path) {
            // Pressure can be turned off at boot, which only reading tells.
            Err(error)
                if error.kind() == ErrorKind::NotFound
                    || error.raw_os_error() == Some(libc::EOPNOTSUPP) =>
            {
                Ok(None)
            }
            other => other.map(Some).with_context(|| format!("read {}", path.display())),
        }
    }

    /// A number; `max` is the largest there is.
    pub(super) fn number(&self, file: &str) -> Result<Option<u64>> {
        let Some(text) = self.text(file)? else { return Ok(None) };
        self.parse(file, text.trim()).map(Some)
    }

    /// A number, 0 when there is no such file.
    pub(super) fn count(&self, file: &str) -> Result<u64> {
        Ok(self.number(file)?.unwrap_or(0))
    }

    /// Lines of a key and a number.
    pub(super) fn table(&self, file: &str) -> Result<BTreeMap<String, u64>> {
        let text = self.text(file)?.unwrap_or_default();
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines.map(|(key, value)| Ok((key.to_string(), self.parse(file, value)?))).collect()
    }

    pub(super) fn parse(&self, file: &str, text: &str) -> Result<u64> {
        match parse(text) {
            Some(number) => Ok(number),
            None => {
                let path = self.directory.join(file);
                anyhow::bail!("{}: {text:?} is no number", path.display())
            }
        }
    }
}

/// A number; `max` is the largest there is, and what is below zero is zero: counters of an older
/// kernel can be.
pub(super) fn parse(text: &str) -> Option<u64> {
    match text {
        "max" => Some(u64::MAX),
        _ if text.starts_with('-') => text.parse::<i64>().ok().map(|_| 0),
        _ => text.parse().ok(),
    }
}

/// The numbers of a list with ranges: `0-3,7`.
pub(super) fn list(text: &str) -> Vec<u16> {
    let entries = text.trim().split(',').filter_map(|entry| {
        let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
        Some(first.parse::<u16>().ok()?..=last.parse::<u16>().ok()?)
    });
    entries.flatten().collect()
}

/// Lines of `blkio.*`: a device, mostly an operation, and a number. The sums at the end are no
/// entries.
pub(super) fn block_io(text: &str) -> Vec<BlockIoEntry> {
    let entry = |line: &str| {
        let (device, rest) = line.split_once(' ')?;
        let (major, minor) = device.split_once(':')?;
        let (op, value) = rest.rsplit_once(' ').unwrap_or(("", rest));
        Some(BlockIoEntry {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            op: op.to_string(),
            value: parse(value)?,
        })
    };
    text.lines().filter_map(entry).collect()
}

/// Lines of `io.stat`: a device and pairs; those with these keys, under the names of v1.
pub(super) fn io_stat(text: &str, keys: [(&str, &str); 2]) -> Vec<BlockIoEntry> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let device = words.next().and_then(|device| device.split_once(':'));
        let Some((major, minor)) = device else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let op = keys.iter().find(|(known, _)| *known == key);
            let numbers = (major.parse(), minor.parse(), parse(value));
            if let (Some((_, op)), (Ok(major), Ok(minor), Some(value))) = (op, numbers) {
                entries.push(BlockIoEntry { major, minor, op: (*op).to_string(), value });
            }
        }
    }
    entries
}

/// What each device of `rdma.current` uses and may use.
pub(super) fn rdma(files: &Files<'_>) -> Result<Vec<Rdma>> {
    let read = |file| Ok::<_, anyhow::Error>(rdma_lines(&files.text(file)?.unwrap_or_default()));
    let (current, mut limits) = (read("rdma.current")?, read("rdma.max")?);
    let devices = current.into_iter().map(|(device, current)| {
        let limit = limits.remove(&device).unwrap_or_default();
        Rdma { device, current, limit }
    });
    Ok(devices.collect())
}

fn rdma_lines(text: &str) -> BTreeMap<String, BTreeMap<String, u64>> {
    let lines = text.lines().filter_map(|line| {
        let (device, pairs) = line.split_once(' ')?;
        let pairs = pairs.split_whitespace().filter_map(|pair| pair.split_once('='));
        let numbers = pairs.filter_map(|(key, value)| Some((key.to_string(), parse(value)?)));
        Some((device.to_string(), numbers.collect()))
    });
    lines.collect()
}

/// Resources of the misc controller, by name.
pub(super) fn misc(files: &Files<'_>) -> Result<BTreeMap<String, Misc>> {
    let mut misc = BTreeMap::<String, Misc>::new();
    for (name, usage) in files.table("misc.current")? {
        misc.entry(name).or_default().usage = usage;
    }
    for (name, events) in files.table("misc.events")? {
        if let Some(name) = name.strip_suffix(".max") {
            misc.entry(name.to_string()).or_default().events = events;
        }
    }
    Ok(misc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_lists() {
        for (text, want) in
            [("7", Some(7)), ("max", Some(u64::MAX)), ("-5", Some(0)), ("x", None), ("", None)]
        {
            assert_eq!(parse(text), want, "{text}");
        }
        for (text, want) in [("0-2,5\n", &[0, 1, 2, 5][..]), ("3", &[3]), ("\n", &[])] {
            assert_eq!(list(text), want, "{text}");
        }
    }

    #[test]
    fn lines_about_devices() {
        let entry = |op: &str, value| BlockIoEntry { major: 8, minor: 1, op: op.into(), value };
        for (text, want) in [
            ("8:1 Read 5\n8:1 Total 9\nTotal 9\n", vec![entry("Read", 5), entry("Total", 9)]),
            ("8:1 7\n", vec![entry("", 7)]),
            ("Total 0\n", vec![]),
        ] {
            assert_eq!(block_io(text), want, "{text}");
        }
        let text = "8:1 rbytes=5 wbytes=6 rios=1 wios=2 dbytes=0 dios=0\n254:0 \n";
        let bytes = io_stat(text, [("rbytes", "Read"), ("wbytes", "Write")]);
        assert_eq!(bytes, [entry("Read", 5), entry("Write", 6)]);
    }

    #[test]
    fn resources_of_misc() {
        let directory = std::env::temp_dir().join(format!("orlop-misc-{}", std::process::id()));
        fs::create_dir(&directory).unwrap();
        let files = Files::new(&directory);
        assert!(misc(&files).unwrap().is_empty());
        fs::write(directory.join("misc.current"), "sev 3\nsev_es 0\n").unwrap();
        fs::write(directory.join("misc.events"), "sev.max 7\nsev_es.max 0\n").unwrap();
        let found: Vec<_> = misc(&files).unwrap().into_iter().collect();
        let found: Vec<_> = found.iter().map(|(k, v)| (k.as_str(), v.usage, v.events)).collect();
        assert_eq!(found, [("sev", 3, 7), ("sev_es", 0, 0)]);
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn lines_of_rdma() {
        let lines = rdma_lines("mlx4_0 hca_handle=2 hca_object=max\n");
        assert_eq!(lines["mlx4_0"]["hca_handle"], 2);
        assert_eq!(lines["mlx4_0"]["hca_object"], u64::MAX);
    }
}
