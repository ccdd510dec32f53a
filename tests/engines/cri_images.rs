//! The images of pods. Docker makes all of them, of the root that its own image is made of.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Once;

use crate::docker::docker;
use crate::harness::Output;
use crate::sandbox::DIRECTORY;

/// What each is made with, by its name. critest has the long names in its program.
const IMAGES: [(&str, &[&str]); 8] = [
    ("pods", &[]),
    ("volume", &["VOLUME /test_dir"]),
    ("pause", &[PAUSE]),
    ("registry.k8s.io/e2e-test-images/nginx:1.14-2", &[r#"ENTRYPOINT ["nginx", "80"]"#]),
    ("registry.k8s.io/e2e-test-images/httpd:2.4.39-4", &[r#"ENTRYPOINT ["nginx", "80"]"#]),
    ("registry.k8s.io/e2e-test-images/nonewprivs:1.3", &[r#"ENTRYPOINT ["become-root"]"#]),
    (
        "gcr.io/k8s-staging-cri-tools/hostnet-nginx-amd64:latest",
        &[r#"ENTRYPOINT ["nginx", "12003"]"#],
    ),
    ("gcr.io/k8s-staging-cri-tools/test-image-predefined-group:latest", &["USER 1000"]),
];

/// Waits for a signal. Containers that share its processes may look for a `sleep` of their own.
const PAUSE: &str =
    r#"ENTRYPOINT ["/bin/sh", "-c", "trap exit TERM INT; tail -f /dev/null & wait"]"#;

/// Serves a page at a port, and has the name and the words that critest looks for.
const NGINX: &str = "#!/bin/sh
[ $# = 2 ] || exec nginx $1 'master process'
trap exit TERM QUIT INT
mkdir -p /var/run
echo $$ >/var/run/nginx.pid
echo httpd at port $1
httpd -f -p $1 -h /test_dir &
wait
";

/// Says who it is after trying to become root by a program that may.
const BECOME_ROOT: &str = r#"#!/bin/sh
echo "Effective uid: $(/bin/su -c 'id -u' 2>/dev/null || id -u)"
"#;

const PGREP: &str = "#!/bin/sh\nexec pidof $1\n";

const IPCS: &str = "#!/bin/sh\nexec cat /proc/sysvipc/shm\n";

const PASSWD: &str = "root::0:0::/:/bin/sh\ndaemon:x:1:1::/:/\nuser:x:1000:1000::/:/bin/sh\n\
                      nobody:x:65534:65534::/:/\n";

const GROUP: &str = "root:x:0:\ndaemon:x:1:\nwheel:x:10:root\nuser:x:1000:\nimage:x:50000:user\n\
                     nogroup:x:65534:\n";

/// All of them in one file.
pub fn archive() -> String {
    static MADE: Once = Once::new();
    let archive = format!("{DIRECTORY}/pods.tar");
    MADE.call_once(|| {
        let root = make_root();
        let whole = format!("{DIRECTORY}/pods-root.tar");
        Output::of(Command::new("tar").arg("-C").arg(&root).args(["-cf", &whole, "."])).ok();
        for (name, changes) in IMAGES {
            let mut words = vec!["import"];
            words.extend(changes.iter().flat_map(|change| ["--change", change]));
            words.extend([&*whole, name]);
            docker(&words).ok();
        }
        let names = IMAGES.map(|(name, _)| name);
        docker(&[&["save", "--output", &archive], &names[..]].concat()).ok();
    });
    archive
}

fn make_root() -> PathBuf {
    let root = PathBuf::from(DIRECTORY).join("pods");
    let image = format!("{DIRECTORY}/image");
    Output::of(Command::new("cp").args(["--archive", &image]).arg(&root)).ok();
    for name in ["root", "test_dir"] {
        fs::create_dir(root.join(name)).expect("make a directory");
    }
    for (name, text) in [
        ("etc/passwd", PASSWD),
        ("etc/group", GROUP),
        ("test_dir/test_file", "test_content\n"),
        ("test_dir/index.html", "served\n"),
    ] {
        fs::write(root.join(name), text).expect("write a file");
    }
    chown(root.join("test_dir"), Some(65534), Some(65534)).expect("give to nobody");
    for (name, script) in
        [("nginx", NGINX), ("become-root", BECOME_ROOT), ("pgrep", PGREP), ("ipcs", IPCS)]
    {
        let program = root.join("bin").join(name);
        // There may be a link to busybox.
        let _ = fs::remove_file(&program);
        fs::write(&program, script).expect("write a script");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    let su = root.join("bin/su");
    fs::remove_file(&su).expect("busybox has su");
    fs::copy(root.join("bin/busybox"), &su).expect("copy busybox");
    fs::set_permissions(&su, fs::Permissions::from_mode(0o4755)).expect("chmod");
    root
}
