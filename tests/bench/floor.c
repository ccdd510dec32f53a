// The lower bound: what one container costs when there is nothing but the kernel's work in it.
//
//   cc -O2 -static -o floor floor.c
//   floor ROOTFS [-p]     ROOTFS needs proc/ sys/ dev/ and a static /bin/true
//     -p  print how long each step took, in microseconds, to stderr
//   true                  under this name it does nothing: the cheapest program to start
//
// It makes the mounts, device nodes, links, masked and read-only paths of the document that `spec`
// writes, in new pid, mount, network, uts and ipc namespaces, in a cgroup of every hierarchy, pivots,
// and executes `true`. No JSON, no checks, no state, no seccomp: a runtime can come close to its time
// but not below it, unless it asks less of the kernel, or in a better order.
//
// On cgroup v1 the child joins by writing 0 to `tasks`, which takes no lock; on v2 it is born there.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int print_steps;
static struct { const char *name; double at; } steps[64];
static int nsteps;
static int unified;
static pid_t runtime_pid;

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e6 + t.tv_nsec / 1e3; }
static void step(const char *name) { if (print_steps && nsteps < 64) { steps[nsteps].name = name; steps[nsteps++].at = now(); } }
static void die(const char *what) { perror(what); _exit(1); }
static void mnt(const char *src, const char *dst, const char *type, unsigned long flags, const char *data) { if (mount(src, dst, type, flags, data)) die(dst); }

static const char *hierarchies[] = {"cpu", "cpuacct", "cpuset", "memory", "devices", "freezer", "blkio", "pids", "systemd"};
enum { NH = sizeof hierarchies / sizeof *hierarchies };

static int is_mounted(int h) { char path[300]; snprintf(path, sizeof path, "/sys/fs/cgroup/%s/tasks", hierarchies[h]); return !access(path, F_OK); }
static void cgroup_path(char *out, int h, const char *file) {
  if (unified) snprintf(out, 300, "/sys/fs/cgroup/floor%d%s", (int)runtime_pid, file);
  else snprintf(out, 300, "/sys/fs/cgroup/%s/floor%d%s", hierarchies[h], (int)runtime_pid, file);
}

static void copy_cpuset(const char *file) {
  char from[300], to[300], value[256];
  snprintf(from, sizeof from, "/sys/fs/cgroup/cpuset/%s", file);
  snprintf(to, sizeof to, "/sys/fs/cgroup/cpuset/floor%d/%s", (int)runtime_pid, file);
  int in = open(from, O_RDONLY), out = open(to, O_WRONLY);
  ssize_t n = read(in, value, sizeof value);
  if (n > 0 && write(out, value, n) < 0) perror(to);
  close(in); close(out);
}

// A task that moves only itself needs no write lock on cgroup_threadgroup_rwsem, so it waits for no RCU period.
static void join(void) {
  char path[300];
  for (int h = 0; h < NH; h++) {
    if (!is_mounted(h)) continue;
    cgroup_path(path, h, "/tasks");
    int fd = open(path, O_WRONLY);
    if (fd < 0 || write(fd, "0", 1) != 1) die(path);
    close(fd);
  }
}

static void container(const char *root) {
  step("clone3");
  if (!unified) { join(); step("join cgroups"); }
  mnt(0, "/", 0, MS_REC | MS_PRIVATE, 0); step("rprivate");
  mnt(root, root, 0, MS_BIND | MS_REC, 0); if (chdir(root)) die(root); step("bind root");
  mnt("proc", "proc", "proc", 0, 0); step("proc");
  mnt("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
  mkdir("dev/pts", 0755); mnt("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
  mkdir("dev/shm", 0755); mnt("shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NOEXEC | MS_NODEV, "mode=1777,size=65536k");
  mkdir("dev/mqueue", 0755); mnt("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NOEXEC | MS_NODEV, 0); step("dev mounts");
  mnt("sysfs", "sys", "sysfs", MS_NOSUID | MS_NOEXEC | MS_NODEV | MS_RDONLY, 0); step("sysfs");
  umask(0);
  static const struct { const char *path; int major, minor; } nodes[] = {{"dev/null", 1, 3}, {"dev/zero", 1, 5}, {"dev/full", 1, 7}, {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
  for (int i = 0; i < 6; i++) if (mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor))) die(nodes[i].path);
  static const char *links[][2] = {{"/proc/self/fd", "dev/fd"}, {"/proc/self/fd/0", "dev/stdin"}, {"/proc/self/fd/1", "dev/stdout"}, {"/proc/self/fd/2", "dev/stderr"}, {"pts/ptmx", "dev/ptmx"}};
  for (int i = 0; i < 5; i++) if (symlink(links[i][0], links[i][1])) die(links[i][1]);
  step("device nodes");
  static const char *readonly[] = {"proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger"};
  for (int i = 0; i < 5; i++) if (!mount(readonly[i], readonly[i], 0, MS_BIND | MS_REC, 0)) mount(0, readonly[i], 0, MS_REMOUNT | MS_BIND | MS_RDONLY, 0);
  step("read-only paths");
  static const char *masked[] = {"proc/acpi", "proc/asound", "proc/kcore", "proc/keys", "proc/latency_stats", "proc/timer_list", "proc/timer_stats", "proc/sched_debug", "sys/firmware", "proc/scsi"};
  for (int i = 0; i < 10; i++) {
    struct stat st;
    if (stat(masked[i], &st)) continue;
    if (S_ISDIR(st.st_mode)) mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, 0); else mount("dev/null", masked[i], 0, MS_BIND, 0);
  }
  step("masked paths");
  if (syscall(SYS_pivot_root, ".", ".")) die("pivot_root");
  step("pivot_root");
  if (umount2(".", MNT_DETACH)) die("umount");
  step("umount old root");
  if (chdir("/") || sethostname("floor", 5) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) die("finish");
  step("finish");
  for (int i = 1; i < nsteps; i++) fprintf(stderr, "%-18s %8.0f\n", steps[i].name, steps[i].at - steps[i - 1].at);
  char *argv[] = {"true", 0}, *envp[] = {0};
  execve("/bin/true", argv, envp); die("execve");
}

int main(int argc, char **argv) {
  const char *name = strrchr(argv[0], '/');
  if (!strcmp(name ? name + 1 : argv[0], "true")) return 0;
  const char *root = 0;
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "-p")) print_steps = 1;
    else root = argv[i];
  }
  if (!root) { fprintf(stderr, "usage: floor ROOTFS [-p]\n"); return 2; }
  runtime_pid = getpid();
  unified = !access("/sys/fs/cgroup/cgroup.controllers", F_OK);
  char path[300];
  step("start");
  for (int h = 0; h < (unified ? 1 : NH); h++) {
    if (!unified && !is_mounted(h)) continue;
    cgroup_path(path, h, "");
    if (mkdir(path, 0755)) die(path);
    if (!unified && !strcmp(hierarchies[h], "cpuset")) { copy_cpuset("cpuset.cpus"); copy_cpuset("cpuset.mems"); }
  }
  step("make cgroups");
  struct clone_args args = {.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC, .exit_signal = SIGCHLD};
  if (unified) {
    int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) die(path);
    args.flags |= CLONE_INTO_CGROUP;
    args.cgroup = fd;
  }
  pid_t pid = syscall(SYS_clone3, &args, sizeof args);
  if (pid < 0) die("clone3");
  if (!pid) container(root);
  int status;
  if (waitpid(pid, &status, 0) != pid) die("waitpid");
  for (int h = 0; h < (unified ? 1 : NH); h++) {
    if (!unified && !is_mounted(h)) continue;
    cgroup_path(path, h, "");
    if (rmdir(path)) perror(path);
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}
