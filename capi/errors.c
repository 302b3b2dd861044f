/*
 * Names of errors, and the version: plain C, callable at any time.
 */
#include "loop.h"

const char *loop_version(void) { return LOOP_VERSION_STRING; }

const char *loop_error_name(int error) {
    switch (error > 0 ? -error : error) {
#define CASE(name, number, message) case -(number): return "LOOP_" #name;
        LOOP_ERROR_MAP(CASE)
        LOOP_NAME_ERROR_MAP(CASE)
#undef CASE
    case 0: return "LOOP_OK";
    default: return "LOOP_EUNKNOWN";
    }
}

const char *loop_error_message(int error) {
    switch (error > 0 ? -error : error) {
#define CASE(name, number, message) case -(number): return message;
        LOOP_ERROR_MAP(CASE)
        LOOP_NAME_ERROR_MAP(CASE)
#undef CASE
    case 0: return "success";
    default: return "unknown error";
    }
}
