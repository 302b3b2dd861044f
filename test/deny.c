/*
 * deny ERRNO PROGRAM [ARGUMENT]...: runs a program in a sandbox in which io_uring_setup fails with that
 * error, as in containers (EPERM), on old kernels (ENOSYS), and when something ran out (EMFILE, ENOMEM).
 * Where seccomp cannot be had it exits with 77, which CTest counts as skipped.
 *
 * SPDX-License-Identifier: MIT
 */
#define _GNU_SOURCE 1
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { SKIPPED = 77, USAGE = 2 };

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the number of this architecture in linux/audit.h is missing"
#endif

static int number_of(const char *name)
{
    static const struct {
        const char *name;
        int         number;
    } errors[] = {{"ENOSYS", ENOSYS}, {"EPERM", EPERM}, {"EMFILE", EMFILE}, {"ENOMEM", ENOMEM}};
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        if (strcmp(name, errors[i].name) == 0) {
            return errors[i].number;
        }
    }
    return 0;
}

/* Has io_uring_setup fail in this process and its children from now on. */
static int install_filter(int error)
{
    struct sock_filter instructions[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog filter = {sizeof instructions / sizeof instructions[0], instructions};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
        return -1;
    }
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

int main(int argc, char **argv)
{
    int error = argc > 2 ? number_of(argv[1]) : 0;
    if (error == 0) {
        fputs("usage: deny ENOSYS|EPERM|EMFILE|ENOMEM PROGRAM [ARGUMENT]...\n", stderr);
        return USAGE;
    }
    if (install_filter(error) != 0) {
        perror("SKIPPED: no seccomp filter can be had");
        return SKIPPED;
    }
    if (syscall(SYS_io_uring_setup, 1, NULL) != -1 || errno != error) {
        fputs("the filter does not do what it should\n", stderr);
        return USAGE;
    }
    execv(argv[2], argv + 2);
    perror(argv[2]);
    return USAGE;
}
