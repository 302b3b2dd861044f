/*
 * A program with privileges that its caller does not have (set-user-ID, set-group-ID): the caller chooses its
 * environment, and the Go runtime takes no settings from there. The rest of the environment stays.
 */
#define _GNU_SOURCE
#include "guest_load.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

/* The runtime reports on stderr how long each package took to begin: a sign that it reads its settings. */
static char debug[] = "GODEBUG=inittrace=1";
static char percent[] = "GOGC=50";
static char before[] = "GUEST_BEFORE=1";
static char after[] = "GUEST_AFTER=2";

/* The program under a name of its own in the working directory, with the mode given, for another group. */
static void copy_program(const char *name, mode_t mode) {
    struct stat status;
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int to = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0700);
    CHECK(from >= 0 && to >= 0 && fstat(from, &status) == 0);
    for (off_t done = 0; done < status.st_size;) {
        CHECK(sendfile(to, from, &done, (size_t)(status.st_size - done)) > 0);
    }
    CHECK(fchown(to, (uid_t)-1, getegid() + 1) == 0);
    CHECK(fchmod(to, mode) == 0);
    CHECK(close(from) == 0 && close(to) == 0);
}

/* Runs the copy in that environment. Returns whether its runtime has reported on stderr. */
static bool runtime_reports(const char *name, const char *role) {
    int ends[2];
    CHECK(pipe2(ends, O_CLOEXEC) == 0);
    posix_spawn_file_actions_t actions;
    CHECK(posix_spawn_file_actions_init(&actions) == 0);
    CHECK(posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO) == 0);
    char *arguments[] = {(char *)(uintptr_t)name, (char *)(uintptr_t)role, NULL};
    char *environment[] = {before, debug, percent, after, NULL};
    pid_t child;
    CHECK(posix_spawn(&child, name, &actions, NULL, arguments, environment) == 0);
    CHECK(posix_spawn_file_actions_destroy(&actions) == 0);
    CHECK(close(ends[1]) == 0);
    char    text[1 << 16];
    size_t  length = 0;
    ssize_t count;
    while ((count = read(ends[0], text + length, sizeof(text) - 1 - length)) > 0) {
        length += (size_t)count;
    }
    text[length] = '\0';
    CHECK(close(ends[0]) == 0);
    int status = guest_wait_for(child);
    if (status != 0) {
        fprintf(stderr, "%s: status %d: %s\n", name, status, text);
    }
    CHECK(status == 0);
    return strstr(text, "init runtime") != NULL;
}

/* In the copy: what the host sees of its environment, and whether the library works. */
static int run_copy(bool privileged) {
    CHECK((getauxval(AT_SECURE) != 0) == privileged);
    CHECK((getenv("GODEBUG") == NULL) == privileged);
    CHECK((getenv("GOGC") == NULL) == privileged);
    CHECK(strcmp(getenv("GUEST_BEFORE"), "1") == 0);
    CHECK(strcmp(getenv("GUEST_AFTER"), "2") == 0);
    loop_t *loop;
    CHECK_OK(loop_init(&loop, NULL));
    CHECK_OK(loop_deinit(loop));
    return 0;
}

int main(int argc, char **argv) {
    if (argc > 1) {
        return run_copy(strcmp(argv[1], "privileged") == 0);
    }
    if (geteuid() != 0) {
        fprintf(stderr, "only root can give a file to a group that it is not in\n");
        return 77;
    }
    char directory[] = "guest_privileges.XXXXXX";
    CHECK(mkdtemp(directory) != NULL && chdir(directory) == 0);
    copy_program("ordinary", 0755);
    copy_program("privileged", 02755);
    CHECK(runtime_reports("./ordinary", "ordinary"));
    CHECK(!runtime_reports("./privileged", "privileged"));
    CHECK(unlink("ordinary") == 0 && unlink("privileged") == 0);
    CHECK(chdir("..") == 0 && rmdir(directory) == 0);
    return 0;
}
