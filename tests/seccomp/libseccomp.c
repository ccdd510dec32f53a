/*
 * What the tests ask of libseccomp, in a process of its own: some profiles crash it.
 *
 * One command a line on standard input:
 *   known NAME               prints the native number of a call, -1 for none
 *   number ARCH NAME         prints the number of a call
 *   name ARCH NUMBER         prints the name of a call, or -
 *   default ACTION           begins a filter without architectures
 *   arch ARCH                adds an architecture
 *   tree                     asks for a binary tree
 *   rule ACTION NAME COUNT   adds a rule; COUNT lines ARG OPERATOR A B follow
 *   export                   writes the program and ends
 *   time                     prints how many nanoseconds have passed since `default`
 */
#define _POSIX_C_SOURCE 200809L
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static scmp_filter_ctx filter;

static void check(int rc) {
    if (rc < 0)
        exit(-rc);
}

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void rule(unsigned action, const char *name, unsigned count) {
    struct scmp_arg_cmp args[6];
    for (unsigned i = 0; i < count && i < 6; i++) {
        unsigned arg, operator;
        unsigned long long a, b;
        if (scanf("%u %u %llu %llu", &arg, &operator, &a, &b) != 4)
            exit(255);
        args[i] = (struct scmp_arg_cmp){arg, operator, a, b};
    }
    int number = seccomp_syscall_resolve_name(name);
    if (number != __NR_SCMP_ERROR)
        check(seccomp_rule_add_array(filter, action, number, count, args));
}

int main(void) {
    char command[16], name[64];
    unsigned a, b;
    long long begin = 0;
    alarm(20);
    while (scanf("%15s", command) == 1) {
        if (!strcmp(command, "known") && scanf("%63s", name) == 1) {
            printf("%d\n", seccomp_syscall_resolve_name(name));
        } else if (!strcmp(command, "number") && scanf("%u %63s", &a, name) == 2) {
            printf("%d\n", seccomp_syscall_resolve_name_arch(a, name));
        } else if (!strcmp(command, "name") && scanf("%u %u", &a, &b) == 2) {
            char *found = seccomp_syscall_resolve_num_arch(a, (int)b);
            printf("%s\n", found ? found : "-");
            free(found);
        } else if (!strcmp(command, "default") && scanf("%u", &a) == 1) {
            begin = now();
            filter = seccomp_init(a);
            check(seccomp_arch_remove(filter, seccomp_arch_native()));
        } else if (!strcmp(command, "arch") && scanf("%u", &a) == 1) {
            check(seccomp_arch_add(filter, a));
        } else if (!strcmp(command, "tree")) {
            check(seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, 2));
        } else if (!strcmp(command, "rule") && scanf("%u %63s %u", &a, name, &b) == 3) {
            rule(a, name, b);
        } else if (!strcmp(command, "export")) {
            check(seccomp_export_bpf(filter, STDOUT_FILENO));
            return 0;
        } else if (!strcmp(command, "time")) {
            FILE *null = fopen("/dev/null", "w");
            check(seccomp_export_bpf(filter, fileno(null)));
            printf("%lld\n", now() - begin);
        } else {
            return 255;
        }
    }
    return 0;
}
