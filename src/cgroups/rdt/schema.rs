//! Lines of `schemata`: `L3:0=ff;1=c0`.

use std::collections::BTreeMap;

/// Says whether the group, whose `schemata` is `present`, has the shares that `line` asks for.
/// The kernel writes numbers in a form of its own: other zeros in front, and other blanks.
pub(super) fn holds(present: &str, line: &str) -> bool {
    let (kind, wanted) = parse(line);
    let lines = present.lines().map(parse);
    let same = lines
        .filter(|(other, _)| *other == kind)
        .find(|(_, shares)| wanted.iter().all(|(domain, share)| shares.get(domain) == Some(share)));
    same.is_some()
}

/// The kind of resource, and the share of each domain.
fn parse(line: &str) -> (&str, BTreeMap<&str, &str>) {
    let (kind, shares) = line.split_once(':').unwrap_or((line, ""));
    let shares = shares.split(';').filter_map(|entry| {
        let (domain, share) = entry.split_once('=')?;
        Some((number(domain), number(share)))
    });
    (kind.trim(), shares.collect())
}

fn number(text: &str) -> &str {
    let text = text.trim();
    let bare = text.trim_start_matches('0');
    if bare.is_empty() { "0" } else { bare }
}

#[cfg(test)]
mod tests {
    use super::holds;

    #[test]
    fn comparison() {
        let present = "    L3:0=00ff;1=0c0\n    MB:0= 20;1=100\n";
        for (line, want) in [
            ("L3:0=ff;1=c0", true),
            ("L3:1=c0;0=ff", true),
            ("L3:0=ff", true),
            ("L3:0=f", false),
            ("L3:2=ff", false),
            ("MB:0=20;1=100", true),
            ("MB:0=2", false),
            ("L2:0=ff", false),
        ] {
            assert_eq!(holds(present, line), want, "{line}");
        }
    }
}
