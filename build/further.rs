//! Architectures that musl, and with it the crate, has never been made for: s390 with 31 bits and
//! PA-RISC.
//!
//! The numbers are those of the kernel's tables `arch/s390/kernel/syscalls/syscall.tbl` and
//! `arch/parisc/kernel/syscalls/syscall.tbl`. From 403 on all architectures have the same ones, so
//! those are taken from the columns of others.

/// Where the calls with times of 64 bits begin, on architectures with words of 32.
pub(super) const TIMES: u32 = 403;
/// Where the calls begin that all architectures have.
pub(super) const COMMON: u32 = 424;

/// What programs of 31 bits have in other places than those of 64, and what only they have: the
/// rest is the same.
pub(super) const S390: [(&str, u32); 55] = [
    ("time", 13),
    ("lchown", 16),
    ("setuid", 23),
    ("getuid", 24),
    ("stime", 25),
    ("setgid", 46),
    ("getgid", 47),
    ("geteuid", 49),
    ("getegid", 50),
    ("setreuid", 70),
    ("setregid", 71),
    ("getrlimit", 76),
    ("getgroups", 80),
    ("setgroups", 81),
    ("fchown", 95),
    ("ioperm", 101),
    ("setfsuid", 138),
    ("setfsgid", 139),
    ("_llseek", 140),
    ("_newselect", 142),
    ("setresuid", 164),
    ("getresuid", 165),
    ("setresgid", 170),
    ("getresgid", 171),
    ("chown", 182),
    ("ugetrlimit", 191),
    ("mmap2", 192),
    ("truncate64", 193),
    ("ftruncate64", 194),
    ("stat64", 195),
    ("lstat64", 196),
    ("fstat64", 197),
    ("lchown32", 198),
    ("getuid32", 199),
    ("getgid32", 200),
    ("geteuid32", 201),
    ("getegid32", 202),
    ("setreuid32", 203),
    ("setregid32", 204),
    ("getgroups32", 205),
    ("setgroups32", 206),
    ("fchown32", 207),
    ("setresuid32", 208),
    ("getresuid32", 209),
    ("setresgid32", 210),
    ("getresgid32", 211),
    ("chown32", 212),
    ("setuid32", 213),
    ("setgid32", 214),
    ("setfsuid32", 215),
    ("setfsgid32", 216),
    ("fcntl64", 221),
    ("sendfile64", 223),
    ("fadvise64_64", 264),
    ("fstatat64", 293),
];

/// What only programs of 64 bits have.
pub(super) const NOT_S390: [&str; 3] = ["select", "newfstatat", "semtimedop"];

/// The calls of PA-RISC below [`TIMES`]: a number, and the names from there on.
pub(super) const PARISC: [(u32, &str); 13] = [
    (
        0,
        "restart_syscall exit fork read write open close waitpid creat link unlink execve chdir \
        time mknod chmod lchown socket stat lseek getpid mount bind setuid getuid stime ptrace \
        alarm fstat pause utime connect listen access nice accept sync kill rename mkdir rmdir \
        dup pipe times getsockname brk setgid getgid signal geteuid getegid acct umount2 \
        getpeername ioctl fcntl socketpair setpgid send uname umask chroot ustat dup2 getppid \
        getpgrp setsid pivot_root sgetmask ssetmask setreuid setregid mincore sigpending \
        sethostname setrlimit getrlimit getrusage gettimeofday settimeofday getgroups setgroups \
        sendto symlink lstat readlink uselib swapon reboot mmap2 mmap munmap truncate ftruncate \
        fchmod fchown getpriority setpriority recv statfs fstatfs stat64",
    ),
    (
        103,
        "syslog setitimer getitimer capget capset pread64 pwrite64 getcwd vhangup fstat64 vfork \
        wait4 swapoff sysinfo shutdown fsync madvise clone setdomainname sendfile recvfrom \
        adjtimex mprotect sigprocmask",
    ),
    (128, "init_module delete_module"),
    (131, "quotactl getpgid fchdir bdflush sysfs personality"),
    (
        138,
        "setfsuid setfsgid _llseek getdents _newselect flock msync readv writev getsid fdatasync \
        _sysctl mlock munlock mlockall munlockall sched_setparam sched_getparam \
        sched_setscheduler sched_getscheduler sched_yield sched_get_priority_max \
        sched_get_priority_min sched_rr_get_interval nanosleep mremap setresuid getresuid \
        sigaltstack",
    ),
    (168, "poll"),
    (
        170,
        "setresgid getresgid prctl rt_sigreturn rt_sigaction rt_sigprocmask rt_sigpending \
        rt_sigtimedwait rt_sigqueueinfo rt_sigsuspend chown setsockopt getsockopt sendmsg \
        recvmsg semop semget semctl msgsnd msgrcv msgget msgctl shmat shmdt shmget shmctl",
    ),
    (198, "lstat64 truncate64 ftruncate64 getdents64 fcntl64"),
    (206, "gettid readahead tkill sendfile64 futex sched_setaffinity sched_getaffinity"),
    (215, "io_setup io_destroy io_getevents io_submit io_cancel"),
    (
        222,
        "exit_group lookup_dcookie epoll_create epoll_ctl epoll_wait remap_file_pages semtimedop \
        mq_open mq_unlink mq_timedsend mq_timedreceive mq_notify mq_getsetattr waitid \
        fadvise64_64 set_tid_address setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr \
        listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr timer_create \
        timer_settime timer_gettime timer_getoverrun timer_delete clock_settime clock_gettime \
        clock_getres clock_nanosleep tgkill mbind get_mempolicy set_mempolicy",
    ),
    (
        264,
        "add_key request_key keyctl ioprio_set ioprio_get inotify_init inotify_add_watch \
        inotify_rm_watch migrate_pages pselect6 ppoll openat mkdirat mknodat fchownat futimesat \
        fstatat64 unlinkat renameat linkat symlinkat readlinkat fchmodat faccessat unshare \
        set_robust_list get_robust_list splice sync_file_range tee vmsplice move_pages getcpu \
        epoll_pwait statfs64 fstatfs64 kexec_load utimensat signalfd",
    ),
    (
        304,
        "eventfd fallocate timerfd_create timerfd_settime timerfd_gettime signalfd4 eventfd2 \
        epoll_create1 dup3 pipe2 inotify_init1 preadv pwritev rt_tgsigqueueinfo perf_event_open \
        recvmmsg accept4 prlimit64 fanotify_init fanotify_mark clock_adjtime name_to_handle_at \
        open_by_handle_at syncfs setns sendmmsg process_vm_readv process_vm_writev kcmp \
        finit_module sched_setattr sched_getattr utimes renameat2 seccomp getrandom memfd_create \
        bpf execveat membarrier userfaultfd mlock2 copy_file_range preadv2 pwritev2 statx \
        io_pgetevents pkey_mprotect pkey_alloc pkey_free rseq kexec_file_load \
        cacheflush",
    ),
];

/// What PA-RISC lacks of the calls that the others have.
pub(super) const NOT_PARISC: [&str; 1] = ["memfd_secret"];
