//! Mount options: what each word sets, clears, or asks for.
//!
//! Words are read from left to right and the later of two that contradict each other wins, as in
//! mount(8) (MNT-17). A word that is in no table is data for the file system (MNT-16).

use crate::sys::mount::{
    Attributes, MOUNT_ATTR__ATIME, MOUNT_ATTR_NOATIME, MOUNT_ATTR_NODEV, MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NOSYMFOLLOW, MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_STRICTATIME,
};

/// The attributes that a remount of a bind mount replaces as a whole: what is not asked for is
/// cleared. Access times are kept unless one of their words is given (mount(2), `MS_REMOUNT`).
const REPLACED: u64 = MOUNT_ATTR_RDONLY
    | MOUNT_ATTR_NOSUID
    | MOUNT_ATTR_NODEV
    | MOUNT_ATTR_NOEXEC
    | MOUNT_ATTR_NOSYMFOLLOW;

/// All bits about access times.
const TIMES: u64 = MOUNT_ATTR__ATIME | MOUNT_ATTR_NODIRATIME;

/// Words for one bit of the mount, and the words that clear it.
const ATTRIBUTES: [(&str, &str, u64); 6] = [
    ("ro", "rw", MOUNT_ATTR_RDONLY),
    ("nosuid", "suid", MOUNT_ATTR_NOSUID),
    ("nodev", "dev", MOUNT_ATTR_NODEV),
    ("noexec", "exec", MOUNT_ATTR_NOEXEC),
    ("nodiratime", "diratime", MOUNT_ATTR_NODIRATIME),
    ("nosymfollow", "symfollow", MOUNT_ATTR_NOSYMFOLLOW),
];

/// The access-time modes: the kernel keeps one of three, and setting or clearing any of them
/// replaces the mode. Clearing goes back to the kernel's default, relatime, which is 0.
const ATIMES: [(&str, &str, u64); 3] = [
    ("noatime", "atime", MOUNT_ATTR_NOATIME),
    ("relatime", "norelatime", 0),
    ("strictatime", "nostrictatime", MOUNT_ATTR_STRICTATIME),
];

/// Words about the superblock, which only a new file system can have, and those that clear them.
const SUPERBLOCK: [(&str, &str); 4] =
    [("sync", "async"), ("dirsync", ""), ("lazytime", "nolazytime"), ("mand", "nomand")];

/// Words that are accepted and change nothing: fsconfig(2) has no generic flag for them, and the
/// file systems that count inode versions do so by themselves.
const WITHOUT_EFFECT: [&str; 5] = ["defaults", "iversion", "loud", "noiversion", "silent"];

/// Words of propagation: mount_namespaces(7). With an `r` before them they go for the whole tree.
const PROPAGATION: [(&str, u64); 4] = [
    ("shared", libc::MS_SHARED),
    ("slave", libc::MS_SLAVE),
    ("private", libc::MS_PRIVATE),
    ("unbindable", libc::MS_UNBINDABLE),
];

/// A change of propagation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// `MS_SHARED`, `MS_SLAVE`, `MS_PRIVATE` or `MS_UNBINDABLE`.
    pub kind: u64,
    /// For the mounts below as well.
    pub recursive: bool,
}

/// What the words of one mount ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Attributes of the mount that are set.
    pub set: u64,
    /// Attributes that a word cleared, so that they are not kept from the source of a bind.
    cleared: u64,
    /// The bits of access times that words have set, and no later word taken back.
    times: u64,
    /// Attributes of the whole tree.
    pub recursive: Attributes,
    /// Superblock words in effect.
    pub superblock: Vec<&'static str>,
    /// Changes of propagation, in order.
    pub propagation: Vec<Propagation>,
    /// A bind mount; with the mounts below its source.
    pub bind: Option<bool>,
    /// Change the mount that is at the destination.
    pub remount: bool,
    /// Map the ids of the files' owners; for the mounts below as well.
    pub id_map: Option<bool>,
    /// Fill a new tmpfs with what is at the destination.
    pub copy_up: bool,
    /// What is left for the file system.
    pub data: Vec<String>,
}

impl Options {
    /// Reads the words of one mount.
    #[must_use]
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Self {
        let mut options = Self::default();
        for word in words {
            // Podman writes an empty one.
            let known = word.is_empty()
                || WITHOUT_EFFECT.contains(&word)
                || options.keyword(word)
                || options.attribute(word)
                || options.recursive(word)
                || options.of_superblock(word)
                || options.of_propagation(word);
            if !known {
                options.data.push(word.to_string());
            }
        }
        options
    }

    fn keyword(&mut self, word: &str) -> bool {
        match word {
            "bind" => self.bind = Some(self.bind == Some(true)),
            "rbind" => self.bind = Some(true),
            "remount" => self.remount = true,
            "tmpcopyup" => self.copy_up = true,
            "idmap" => self.id_map = Some(false),
            "ridmap" => self.id_map = Some(true),
            _ => return false,
        }
        true
    }

    fn attribute(&mut self, word: &str) -> bool {
        let Some((replaced, bits)) = meaning(word) else { return false };
        if replaced & TIMES != 0 && !sets(word) {
            self.take_back(word, replaced);
        } else {
            self.set = self.set & !replaced | bits;
            self.times |= replaced & TIMES;
        }
        self.cleared = self.cleared & !bits | replaced & !bits;
        true
    }

    /// A word that clears something about access times only takes back the word that it belongs to:
    /// a bind mount then keeps what its source has, as with mount(8) and runc.
    fn take_back(&mut self, word: &str, replaced: u64) {
        let mode = ATIMES.iter().find(|(_, clear, _)| *clear == word).map(|(.., mode)| *mode);
        if mode.is_none_or(|mode| self.set & MOUNT_ATTR__ATIME == mode) {
            self.set &= !replaced;
            self.times &= !replaced;
        }
    }

    fn recursive(&mut self, word: &str) -> bool {
        let Some((replaced, bits)) = word.strip_prefix('r').and_then(meaning) else { return false };
        self.recursive.set = self.recursive.set & !replaced | bits;
        // The kernel wants the whole mode of access times cleared before one is set
        // (mount_setattr(2)), and refuses a bit that is both set and cleared otherwise.
        let clear = if replaced & MOUNT_ATTR__ATIME == 0 { replaced & !bits } else { replaced };
        self.recursive.clear = self.recursive.clear & !bits | clear;
        true
    }

    fn of_superblock(&mut self, word: &str) -> bool {
        let Some((set, _)) = SUPERBLOCK.iter().find(|(set, clear)| word == *set || word == *clear)
        else {
            return false;
        };
        self.superblock.retain(|other| other != set);
        if word == *set {
            self.superblock.push(set);
        }
        true
    }

    fn of_propagation(&mut self, word: &str) -> bool {
        let recursive = word.strip_prefix('r');
        let name = recursive.unwrap_or(word);
        let Some((_, kind)) = PROPAGATION.iter().find(|(known, _)| *known == name) else {
            return false;
        };
        self.propagation.push(Propagation { kind: *kind, recursive: recursive.is_some() });
        true
    }

    /// Any word about attributes of the mount itself was given.
    fn mentions_attributes(&self) -> bool {
        self.set | self.cleared != 0
    }

    /// The attributes for a bind mount, which begins with those of its source. `None` leaves
    /// them alone; otherwise they are replaced, as runc's remount does (BXM-17).
    #[must_use]
    pub fn for_bind(&self) -> Option<Attributes> {
        self.mentions_attributes().then_some(Attributes {
            set: self.set,
            clear: (REPLACED & !self.set) | self.replaced_times(),
            propagation: 0,
        })
    }

    /// As [`Options::for_bind`] where flags of the source are locked by another user namespace:
    /// only what a word cleared is cleared, and the one flag that is never locked.
    #[must_use]
    pub fn for_locked_bind(&self) -> Attributes {
        let cleared = self.cleared & !TIMES | MOUNT_ATTR_NOSYMFOLLOW & !self.set;
        Attributes { set: self.set, clear: cleared | self.replaced_times(), propagation: 0 }
    }

    /// The bits of access times that are cleared before those of words are set: all of them, with
    /// the mode in full, or none.
    fn replaced_times(&self) -> u64 {
        if self.times == 0 { 0 } else { TIMES & !self.set | MOUNT_ATTR__ATIME }
    }

    /// The mount is to be read-only, itself or with all below it.
    #[must_use]
    pub fn read_only(&self) -> bool {
        self.set & MOUNT_ATTR_RDONLY != 0
    }
}

/// The word sets something, and is not one that clears it.
fn sets(word: &str) -> bool {
    let words = ATTRIBUTES.iter().chain(&ATIMES);
    words.into_iter().any(|(set, ..)| *set == word)
}

/// The bits that a word decides about, and those of them that it sets.
fn meaning(word: &str) -> Option<(u64, u64)> {
    for (set, clear, bit) in ATTRIBUTES {
        match word {
            _ if word == set => return Some((bit, bit)),
            _ if word == clear => return Some((bit, 0)),
            _ => {}
        }
    }
    for (set, clear, mode) in ATIMES {
        match word {
            _ if word == set => return Some((MOUNT_ATTR__ATIME, mode)),
            _ if word == clear => return Some((MOUNT_ATTR__ATIME, 0)),
            _ => {}
        }
    }
    None
}

/// Every word that is recognised, sorted, for `features`.
#[must_use]
pub fn known() -> Vec<String> {
    let mut words: Vec<String> =
        ["bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap"].map(str::to_string).to_vec();
    words.extend(WITHOUT_EFFECT.map(str::to_string));
    for (set, clear, _) in ATTRIBUTES.iter().chain(&ATIMES) {
        for word in [set, clear] {
            words.extend([word.to_string(), format!("r{word}")]);
        }
    }
    words.extend(SUPERBLOCK.iter().flat_map(|(set, clear)| [set.to_string(), clear.to_string()]));
    words.extend(PROPAGATION.iter().flat_map(|(word, _)| [word.to_string(), format!("r{word}")]));
    words.retain(|word| !word.is_empty());
    words.sort_unstable();
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Options {
        Options::parse(words.split(','))
    }

    #[test]
    fn the_later_word_wins() {
        for (words, set) in [
            ("ro,rw", 0),
            ("rw,ro", MOUNT_ATTR_RDONLY),
            ("nosuid,suid,nodev,noexec,exec", MOUNT_ATTR_NODEV),
            ("noatime,atime", 0),
            ("atime,noatime", MOUNT_ATTR_NOATIME),
            ("noatime,strictatime", MOUNT_ATTR_STRICTATIME),
            ("strictatime,relatime", 0),
            ("strictatime,nodiratime", MOUNT_ATTR_STRICTATIME | MOUNT_ATTR_NODIRATIME),
            ("defaults,nosymfollow", MOUNT_ATTR_NOSYMFOLLOW),
        ] {
            let options = parse(words);
            assert_eq!(options.set, set, "{words}");
            assert!(options.data.is_empty(), "{words}");
        }
    }

    #[test]
    fn what_a_bind_keeps_from_its_source() {
        let all_but = |bits: u64| REPLACED & !bits;
        for (words, want) in [
            ("rbind", None),
            ("bind,rprivate", None),
            ("bind,ro", Some((MOUNT_ATTR_RDONLY, all_but(MOUNT_ATTR_RDONLY)))),
            ("bind,rw", Some((0, REPLACED))),
            (
                "bind,noatime",
                Some((MOUNT_ATTR_NOATIME, REPLACED | MOUNT_ATTR_NODIRATIME | MOUNT_ATTR__ATIME)),
            ),
            ("bind,relatime", Some((0, REPLACED | TIMES))),
            ("bind,atime,diratime,norelatime", Some((0, REPLACED))),
            ("bind,noatime,atime", Some((0, REPLACED))),
            ("bind,nodiratime,noatime,strictatime,nostrictatime,diratime", Some((0, REPLACED))),
            ("bind,nodiratime", Some((MOUNT_ATTR_NODIRATIME, REPLACED | MOUNT_ATTR__ATIME))),
        ] {
            let got = parse(words).for_bind().map(|attr| (attr.set, attr.clear));
            // A bit of the access-time mode may be both cleared and set: it is one field.
            let want = want.map(|(set, clear)| (set, clear & !(set & !MOUNT_ATTR__ATIME)));
            assert_eq!(got, want, "{words}");
        }
        for (words, set, clear) in [
            ("bind,ro,suid", MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOSYMFOLLOW),
            ("bind,nosymfollow,atime", MOUNT_ATTR_NOSYMFOLLOW, 0),
            ("bind,relatime", 0, MOUNT_ATTR_NOSYMFOLLOW | TIMES),
        ] {
            let locked = parse(words).for_locked_bind();
            assert_eq!((locked.set, locked.clear), (set, clear), "{words}");
        }
    }

    #[test]
    fn recursive_words() {
        for (words, set, clear) in [
            ("rro", MOUNT_ATTR_RDONLY, 0),
            ("rro,rrw", 0, MOUNT_ATTR_RDONLY),
            ("rrw,rro", MOUNT_ATTR_RDONLY, 0),
            ("rnosuid,rnodev", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, 0),
            ("rnoatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME),
            ("rstrictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
            ("rrelatime", 0, MOUNT_ATTR__ATIME),
            ("rexec", 0, MOUNT_ATTR_NOEXEC),
        ] {
            let recursive = parse(words).recursive;
            assert_eq!(recursive.set, set, "{words}");
            assert_eq!(recursive.clear & !MOUNT_ATTR__ATIME, clear & !MOUNT_ATTR__ATIME, "{words}");
            let mode = recursive.clear & MOUNT_ATTR__ATIME != 0;
            assert_eq!(mode, clear & MOUNT_ATTR__ATIME != 0, "{words}");
        }
        let plain = parse("ro,relatime,rbind,remount");
        assert_eq!(plain.recursive, Attributes::default());
    }

    #[test]
    fn the_rest() {
        let options = parse("rbind,sync,async,dirsync,rslave,shared,mode=755,,size=1k,tmpcopyup");
        assert_eq!(options.bind, Some(true));
        assert_eq!(options.superblock, ["dirsync"]);
        assert_eq!(
            options.propagation,
            [
                Propagation { kind: libc::MS_SLAVE, recursive: true },
                Propagation { kind: libc::MS_SHARED, recursive: false },
            ]
        );
        assert_eq!(options.data, ["mode=755", "size=1k"]);
        assert!(options.copy_up);
    }

    #[test]
    fn every_known_word_is_no_data() {
        for word in known() {
            assert!(parse(&word).data.is_empty(), "{word}");
        }
        for word in ["rro", "rnodev", "rsymfollow", "iversion", "nostrictatime", "runbindable"] {
            assert!(known().iter().any(|known| known == word), "{word}");
        }
    }
}
