//! Numbers and what is made of them.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What happens before something is timed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Nothing.
    Warm,
    /// The machine is idle for this long.
    Cold(Duration),
}

impl Pace {
    /// Makes the machine idle.
    pub fn wait(self) {
        if let Self::Cold(time) = self {
            std::thread::sleep(time);
        }
    }
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Warm => write!(f, "Warm"),
            Self::Cold(time) => write!(f, "Cold ({time:?} idle before each)"),
        }
    }
}

type Times = BTreeMap<String, f64>;

/// The times of all rounds: operation, then runtime.
#[derive(Default)]
pub struct Table {
    operations: Vec<String>,
    runtimes: Vec<String>,
    round: BTreeMap<String, Times>,
    rounds: Vec<BTreeMap<String, Times>>,
}

impl Table {
    /// Notes a time of this round.
    pub fn add(&mut self, operation: &str, runtime: &str, time: Duration) {
        for (list, name) in [(&mut self.operations, operation), (&mut self.runtimes, runtime)] {
            if !list.iter().any(|known| known == name) {
                list.push(name.to_string());
            }
        }
        let times = self.round.entry(operation.to_string()).or_default();
        times.insert(runtime.to_string(), time.as_secs_f64() * 1000.0);
    }

    /// The next times are paired with each other.
    pub fn end_of_round(&mut self) {
        self.rounds.push(std::mem::take(&mut self.round));
    }

    /// Prints medians, and the medians of the ratios to the runtime `base`.
    pub fn print(&self, base: &str) {
        let head: String = self.runtimes.iter().map(|name| format!("{name:>17}")).collect();
        println!("{:<24}{head}", "");
        for operation in &self.operations {
            let cells = self.runtimes.iter().map(|runtime| self.cell(operation, runtime, base));
            println!("{operation:<24}{}", cells.collect::<String>());
        }
    }

    fn cell(&self, operation: &str, runtime: &str, base: &str) -> String {
        let times = self.times(operation, runtime);
        if times.is_empty() {
            return format!("{:>17}", "-");
        }
        let ratios = times.iter().zip(self.times(operation, base)).map(|(time, base)| time / base);
        let ratio = median(ratios.collect());
        format!("{:>10.2} {ratio:>5.2}x", median(times))
    }

    /// The times of one runtime, round by round.
    fn times(&self, operation: &str, runtime: &str) -> Vec<f64> {
        let rounds = self.rounds.iter().filter_map(|round| round.get(operation));
        rounds.filter_map(|times| times.get(runtime).copied()).collect()
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 1 {
        return numbers[middle];
    }
    f64::midpoint(numbers[middle - 1], numbers[middle])
}
