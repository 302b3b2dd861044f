/*
 * What the shared library shows to the linker of the host: the functions of loop.h in version LOOP_0 and
 * nothing of the Go runtime, a SONAME without a path, everything bound at load. binutils tell.
 */
#define _GNU_SOURCE
#include "guest_support.h"
#include "loop.h"

#include <stdio.h>
#include <string.h>

/* Runs a command on the library and calls `visit` for each line of its output. */
static void each_line(const char *command, void (*visit)(const char *line)) {
    char line[1024];
    snprintf(line, sizeof(line), "%s '%s'", command, LOOP_LIBRARY);
    FILE *output = popen(line, "r");
    CHECK(output != NULL);
    while (fgets(line, sizeof(line), output) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        visit(line);
    }
    CHECK(pclose(output) == 0);
}

/* ---- symbols -------------------------------------------------------------------------------- */

static int functions;

static void check_symbol(const char *line) {
    char name[256], type;
    CHECK(sscanf(line, "%*s %c %255s", &type, name) == 2);
    if (type == 'A') {
        CHECK(strcmp(name, "LOOP_0") == 0);
        return;
    }
    const char *version = strstr(name, "@@");
    bool        versioned = version != NULL && strcmp(version, "@@LOOP_0") == 0;
    if (type != 'T' || !versioned || strncmp(name, "loop_", 5) != 0) {
        fprintf(stderr, "exported: %s\n", line);
        CHECK(!"only loop_*@@LOOP_0 is exported");
    }
    functions++;
}

/* ---- the dynamic section -------------------------------------------------------------------- */

static bool has_soname, binds_now, stays_loaded, has_relro;

static void check_needed(const char *line) {
    CHECK(strstr(line, "[libc.so.6]") != NULL || strstr(line, "[libpthread.so.0]") != NULL);
}

static void note_dynamic(const char *line) {
    char soname[32];
    snprintf(soname, sizeof(soname), "[libloop.so.%d]", LOOP_VERSION_MAJOR);
    has_soname |= strstr(line, "(SONAME)") != NULL && strstr(line, soname) != NULL;
    if (strstr(line, "(NEEDED)") != NULL) {
        check_needed(line);
    }
    CHECK(strstr(line, "(RPATH)") == NULL && strstr(line, "(RUNPATH)") == NULL);
    CHECK(strstr(line, "(TEXTREL)") == NULL);
    if (strstr(line, "(FLAGS_1)") != NULL) {
        binds_now = strstr(line, "NOW") != NULL;
        stays_loaded = strstr(line, "NODELETE") != NULL;
    }
}

static void note_segment(const char *line) {
    has_relro |= strstr(line, "GNU_RELRO") != NULL;
    if (strstr(line, "GNU_STACK") != NULL) {
        CHECK(strstr(line, "RWE") == NULL);
    }
}

static void check_section(const char *line) {
    CHECK(strstr(line, " .debug_") == NULL && strstr(line, " .zdebug_") == NULL);
}

int main(void) {
    each_line("nm -D --defined-only", check_symbol);
    CHECK(functions > 40);
    each_line("readelf -dW", note_dynamic);
    CHECK(has_soname && binds_now && stays_loaded);
    each_line("readelf -lW", note_segment);
    CHECK(has_relro);
    each_line("readelf -SW", check_section);
    return 0;
}
