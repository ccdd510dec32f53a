//! Pressure: how long processes waited for something. psi of the kernel's documentation.

use anyhow::Result;
use serde::Serialize;

use super::Files;

/// Some processes waited, or all of them did.
#[derive(Debug, Default, PartialEq, Serialize)]
pub(super) struct Pressure {
    #[serde(skip_serializing_if = "Share::is_none")]
    some: Share,
    #[serde(skip_serializing_if = "Share::is_none")]
    full: Share,
}

/// Percentages of the last seconds, and microseconds in all.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Share {
    avg10: f64,
    avg60: f64,
    avg300: f64,
    total: u64,
}

impl Share {
    fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Linux 4.20, unless it is turned off.
pub(super) fn read(files: &Files<'_>, file: &str) -> Result<Option<Pressure>> {
    Ok(files.text(file)?.map(|text| parse(&text)))
}

fn parse(text: &str) -> Pressure {
    let mut pressure = Pressure::default();
    for line in text.lines() {
        match line.split_once(' ') {
            Some(("some", rest)) => pressure.some = share(rest),
            Some(("full", rest)) => pressure.full = share(rest),
            _ => {}
        }
    }
    pressure
}

fn share(text: &str) -> Share {
    let mut share = Share::default();
    for (key, value) in text.split(' ').filter_map(|pair| pair.split_once('=')) {
        let percent = || value.parse().unwrap_or(0.0);
        match key {
            "avg10" => share.avg10 = percent(),
            "avg60" => share.avg60 = percent(),
            "avg300" => share.avg300 = percent(),
            "total" => share.total = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    share
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=77\n\
                    full avg10=0.00 avg60=0.00 avg300=0.00 total=9\n";
        let want = Pressure {
            some: Share { avg10: 1.5, avg60: 0.25, avg300: 0.0, total: 77 },
            full: Share { total: 9, ..Share::default() },
        };
        assert_eq!(parse(text), want);
        assert_eq!(parse(""), Pressure::default());
    }
}
