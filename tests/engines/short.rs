//! The cases that also run on a machine of their own, and those that only make sense there.

use crate::machine::Driver;

/// Docker's.
pub mod docker {
    use crate::commands::{exec_runs_beside_the_program, streams_stay_apart};
    use crate::docker::Container;
    use crate::identity::{a_person_enters_a_container, a_privileged_exec_says_what_is_missing};
    use crate::lifecycle::{restart_makes_a_new_process, stop_lets_a_program_end};
    use crate::limits::{limits_are_in_the_cgroup, want_of_memory_is_told};
    use crate::process::capabilities;
    use crate::resources::{
        a_paused_container_stands_still, stats_tell_what_is_used, update_changes_what_is_in_force,
    };
    use crate::tests;

    tests! {
        streams_stay_apart needs [Docker],
        exec_runs_beside_the_program needs [Docker],
        a_person_enters_a_container needs [Docker],
        stop_lets_a_program_end needs [Docker],
        restart_makes_a_new_process needs [Docker],
        update_changes_what_is_in_force needs [Docker],
        a_paused_container_stands_still needs [Docker],
        stats_tell_what_is_used needs [Docker],
        limits_are_in_the_cgroup needs [Docker],
        want_of_memory_is_told needs [Docker],
        capabilities needs [Docker],
        a_privileged_exec_says_what_is_missing needs [Docker],
        cgroups_are_where_the_driver_puts_them needs [Docker],
        a_privileged_container_has_everything needs [Docker],
    }

    fn cgroups_are_where_the_driver_puts_them() {
        let [ours, runcs] = [Some(Container::new()), Container::reference()].map(|container| {
            container.map(|container| {
                container.start(&[], "sleep 1000");
                super::place(container.pid(), &container.inspect(".Id"))
            })
        });
        let ours = ours.expect("a container");
        assert!(ours.starts_with(&super::wanted("docker")), "{ours}");
        assert!(runcs.is_none_or(|runcs| runcs == ours), "{ours}");
    }

    /// This machine keeps no capability from its root.
    fn a_privileged_container_has_everything() {
        let script = "grep Cap /proc/self/status; mount -t tmpfs none /tmp && \
            test -b /dev/vda && echo 0 > /proc/sys/kernel/randomize_va_space && echo done";
        let seen = crate::docker::compared_sh(&["--privileged"], script);
        assert!(seen.stdout.ends_with("done\n"), "{seen:#?}");
    }
}

/// Podman's, of root and of an ordinary user.
pub mod podman {
    use crate::podman::Container;
    use crate::podman_cases::{
        a_failed_container_leaves_nothing, capabilities_and_privileged, exec_in_a_container,
        options_are_in_force, terminals, volumes_and_read_only_roots,
    };
    use crate::podman_life::{
        pause_and_update, restart_makes_a_new_process, stop_and_kill, top_and_stats,
    };
    use crate::tests;

    tests! {
        a_failed_container_leaves_nothing needs [Podman],
        options_are_in_force needs [Podman],
        volumes_and_read_only_roots needs [Podman],
        terminals needs [Podman],
        exec_in_a_container needs [Podman],
        stop_and_kill needs [Podman],
        restart_makes_a_new_process needs [Podman],
        pause_and_update needs [Podman],
        top_and_stats needs [Podman],
        capabilities_and_privileged needs [Podman],
        cgroups_are_where_the_driver_puts_them needs [Podman],
    }

    fn cgroups_are_where_the_driver_puts_them() {
        let [ours, runcs] = [Some(Container::new()), Container::reference()].map(|container| {
            container.map(|container| {
                container.start(&[], "sleep 1000");
                let pid = container.inspect(".State.Pid").parse().expect("a pid");
                super::place(pid, &container.inspect(".Id"))
            })
        });
        let ours = ours.expect("a container");
        assert!(crate::machine::is_ordinary() || ours.contains(&super::wanted("libpod")), "{ours}");
        assert!(runcs.is_none_or(|runcs| runcs == ours), "{ours}");
    }
}

/// The cgroup of a process, without the id of its container.
fn place(pid: i32, id: &str) -> String {
    let table = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).expect("read");
    let line = table.lines().find_map(|line| line.strip_prefix("0::")).expect("a cgroup");
    line.replace(id, "ID")
}

/// What that place begins or, with the cgroups of a user in front, ends with.
fn wanted(engine: &str) -> String {
    let parent = crate::sandbox::cgroup();
    match (crate::machine::driver(), engine) {
        (Driver::Systemd, _) => format!("/{parent}/{engine}-ID.scope"),
        (Driver::Cgroupfs, "docker") => format!("{parent}/ID"),
        (Driver::Cgroupfs, _) => format!("{parent}/{engine}-ID"),
    }
}
