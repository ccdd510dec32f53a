//! Lists of numbers with ranges, `0-3, 7`: processors and memory nodes.

use anyhow::{Result, bail, ensure};

/// More processors or nodes than any kernel has.
const LIMIT: usize = 1 << 16;

/// Reads a list into a mask, whose bits count from the lowest one of the first byte. An empty
/// list gives an empty mask.
///
/// # Errors
/// What is no number, and a range that goes backwards.
pub fn mask(list: &str) -> Result<Vec<u8>> {
    let mut mask = Vec::new();
    for entry in list.split(',').map(str::trim) {
        if entry.is_empty() && list.trim().is_empty() {
            break;
        }
        let (first, last) = entry.split_once('-').unwrap_or((entry, entry));
        let (first, last) = (number(first)?, number(last)?);
        ensure!(first <= last, "the range {entry} goes backwards");
        for number in first..=last {
            if mask.len() <= number / 8 {
                mask.resize(number / 8 + 1, 0);
            }
            mask[number / 8] |= 1 << (number % 8);
        }
    }
    Ok(mask)
}

fn number(text: &str) -> Result<usize> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match text.parse() {
        Ok(number) if digits && number < LIMIT => Ok(number),
        _ => bail!("{text:?} is not a number below {LIMIT}"),
    }
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn lists() {
        for (list, want) in [
            ("", Some(&[][..])),
            (" ", Some(&[])),
            ("0", Some(&[1])),
            ("0-3,7", Some(&[0b1000_1111])),
            ("0-1, 3", Some(&[0b1011])),
            ("8", Some(&[0, 1])),
            ("7-8", Some(&[128, 1])),
            ("3-1", None),
            ("a", None),
            ("1,", None),
            (",1", None),
            ("-1", None),
            ("1-", None),
            ("+1", None),
            ("65536", None),
        ] {
            assert_eq!(mask(list).ok().as_deref(), want, "{list:?}");
        }
    }
}
