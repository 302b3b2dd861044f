/*
 * Manners of a Go runtime that lives in somebody else's process.
 *
 * Signals: the runtime starts its threads in a constructor of its own, and they inherit the signal mask of
 * that moment. Left alone they would have none, and a host that blocks SIGTERM everywhere to fetch it from a
 * signalfd would be killed through one of them. So one constructor before the runtime's blocks all signals,
 * and one after it restores the mask: the runtime's threads have them blocked for ever (but for those that it
 * insists on), the host's thread never notices.
 *
 * Privileges: the runtime takes settings from the environment. Whoever starts a set-user-ID program chooses
 * that, so there they are taken out before the runtime looks, as the C library does with its own.
 *
 * fork: only the calling thread lives on in the child, and a runtime without its threads hangs. A flag in the
 * child makes every call return before it enters Go.
 */
#include "mailbox.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/auxv.h>

volatile int capi_forked;

static sigset_t host_mask;

static void mark_child(void) { capi_forked = 1; }

static bool is_setting_of_runtime(const char *variable) {
    static const char *const settings[] = {"GODEBUG=", "GOGC=", "GOMAXPROCS=", "GOMEMLIMIT=", "GOTRACEBACK="};
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        if (strncmp(variable, settings[i], strlen(settings[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* `variables` are those that the process was started with; it is there that the runtime reads them. */
static void remove_settings_of_runtime(char **variables) {
    char **kept = variables;
    for (; *variables != NULL; variables++) {
        if (!is_setting_of_runtime(*variables)) {
            *kept++ = *variables;
        }
    }
    *kept = NULL;
}

/*
 * Priority 101 is the first that programs may use. Constructors without one, the runtime's and ours, run
 * after all that have one, in the order of the objects: Go's linker, and build.sh for the archive, put
 * the runtime's first.
 */
__attribute__((constructor(101))) static void before_runtime(int argc, char **argv) {
    if (getauxval(AT_SECURE) != 0) {
        remove_settings_of_runtime(argv + argc + 1);
    }
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &host_mask);
}

/* Of the Go runtime: returns when it has started. */
extern uintptr_t _cgo_wait_runtime_init_done(void);

/*
 * The runtime starts on a thread of its own, and reads files meanwhile whose descriptors a host that execs at
 * once would hand on. So the constructor waits for it, about a millisecond.
 */
__attribute__((constructor)) static void after_runtime(void) {
    _cgo_wait_runtime_init_done();
    pthread_sigmask(SIG_SETMASK, &host_mask, NULL);
    pthread_atfork(NULL, NULL, mark_child);
}
