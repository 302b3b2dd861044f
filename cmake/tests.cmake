# The C tests: conformance suites, manners of a guest in the process, the header, the installation.

# ---- conformance -----------------------------------------------------------------------------------

# One suite a file, run in every configuration of the loop. With the address sanitizer memory that was freed
# stays out of use; not for long, because the suites measure what they leave behind.
find_package(cmocka REQUIRED)
add_library(test_support OBJECT test/support.c test/sockets.c)
target_include_directories(test_support PUBLIC "${CMOCKA_INCLUDE_DIR}")
target_link_libraries(test_support PUBLIC loop::loop loop_program ${CMOCKA_LIBRARIES} ${CMAKE_DL_LIBS})

set(sanitizer_options "ASAN_OPTIONS=quarantine_size_mb=4:detect_stack_use_after_return=1")

# Runs a program where io_uring_setup fails with the error that is its first argument.
add_executable(deny test/deny.c)
target_link_libraries(deny PRIVATE loop_program)

# Programs that a seed decides; conform_programs and the soak run them.
add_library(soak_program OBJECT test/soak/program.c test/soak/streams.c test/soak/datagrams.c
    test/soak/files.c test/soak/solos.c)
target_link_libraries(soak_program PUBLIC loop::loop loop_program)

# Tests of a program in each configuration of the loop.
function(add_loop_tests program)
    foreach(backend IN ITEMS io_uring epoll)
        foreach(threads IN ITEMS 1 2 4)
            set(test ${program}.${backend}.threads${threads})
            add_test(NAME ${test} COMMAND ${program})
            set_tests_properties(${test} PROPERTIES
                SKIP_RETURN_CODE 77
                TIMEOUT 180
                ENVIRONMENT "${sanitizer_options};LOOP_TEST_BACKEND=${backend};LOOP_TEST_THREADS=${threads}")
        endforeach()
    endforeach()
endfunction()

# A test of a document: its programs compile, and print what it says.
function(add_document_test name document compiler)
    add_test(NAME ${name} COMMAND
        "${Python3_EXECUTABLE}" "${CMAKE_CURRENT_SOURCE_DIR}/test/guide_snippets.py"
        "${CMAKE_CURRENT_SOURCE_DIR}/docs/${document}.md" "${compiler}"
        "${CMAKE_CURRENT_SOURCE_DIR}/include" "${loop_shared}")
    set_tests_properties(${name} PROPERTIES TIMEOUT 300)
endfunction()

file(GLOB conform_sources CONFIGURE_DEPENDS test/conform_*.c)
foreach(source IN LISTS conform_sources)
    cmake_path(GET source STEM name)
    add_executable(${name} "${source}")
    target_link_libraries(${name} PRIVATE test_support)
    add_loop_tests(${name})
    # Once more with the default backend where io_uring cannot be had: the loop falls back to epoll.
    add_test(NAME ${name}.denied.threads1 COMMAND deny EPERM $<TARGET_FILE:${name}>)
    set_tests_properties(${name}.denied.threads1 PROPERTIES
        SKIP_RETURN_CODE 77
        TIMEOUT 180
        ENVIRONMENT "${sanitizer_options};LOOP_TEST_THREADS=1")
endforeach()

target_link_libraries(conform_programs PRIVATE soak_program)

add_executable(denied test/denied.c)
target_link_libraries(denied PRIVATE loop::loop loop_program)
foreach(error IN ITEMS ENOSYS EPERM EMFILE ENOMEM)
    add_test(NAME denied.${error} COMMAND deny ${error} $<TARGET_FILE:denied> ${error})
    set_tests_properties(denied.${error} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 60)
endforeach()

# ---- the HTTP server of the examples -----------------------------------------------------------------

# Over real sockets, with curl and wrk, with bad requests, and without descriptors.
find_package(Python3 REQUIRED COMPONENTS Interpreter)
foreach(backend IN ITEMS io_uring epoll)
    foreach(threads IN ITEMS 1 2)
        if(NOT LOOP_BUILD_EXAMPLES)
            continue()
        endif()
        set(test http.${backend}.threads${threads})
        add_test(NAME ${test} COMMAND "${Python3_EXECUTABLE}" "${CMAKE_CURRENT_SOURCE_DIR}/test/http_test.py"
            $<TARGET_FILE:example_http_server> --backend ${backend} --threads ${threads})
        set_tests_properties(${test} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300)
    endforeach()
endforeach()

# ---- the header --------------------------------------------------------------------------------------

add_executable(header_alone test/header_alone.c)
target_link_libraries(header_alone PRIVATE loop::loop loop_program)
add_test(NAME header_alone COMMAND header_alone)

# ---- misuse --------------------------------------------------------------------------------------------

# The corpus of the fuzz target of the C API, without a fuzzer (test/fuzz/run.sh has one); and that the
# tables of
# misuse are complete.
file(GLOB fuzz_corpus CONFIGURE_DEPENDS test/fuzz/corpus/*.txt)
add_executable(fuzz_replay test/fuzz/replay.c test/fuzz/abi_fuzz.c test/fuzz/descriptors.c test/fuzz/ledger.c
    test/fuzz/loops.c test/fuzz/operations.c)
target_link_libraries(fuzz_replay PRIVATE loop::loop loop_program)
add_test(NAME fuzz_replay COMMAND fuzz_replay ${fuzz_corpus})
set_tests_properties(fuzz_replay PROPERTIES TIMEOUT 180 ENVIRONMENT "${sanitizer_options}")

add_test(NAME misuse_is_complete COMMAND "${Python3_EXECUTABLE}"
    "${CMAKE_CURRENT_SOURCE_DIR}/test/misuse_is_complete.py" "${CMAKE_CURRENT_SOURCE_DIR}")

include(cmake/tests_cpp.cmake)

# What follows tests processes and builds, where sanitizers have no say.
if(LOOP_SANITIZE)
    return()
endif()

add_test(NAME header_rebuild COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/test/header_rebuild.sh")
set_tests_properties(header_rebuild PROPERTIES TIMEOUT 300)

include(cmake/python.cmake)

# ---- soak ----------------------------------------------------------------------------------------------

# Ten seconds of what `test/soak/run.sh` does for as long as one likes, and five of idleness.
add_executable(soak test/soak/soak.c test/soak/idle.c test/soak/measure.c)
target_link_libraries(soak PRIVATE soak_program m)
foreach(backend IN ITEMS io_uring epoll)
    add_test(NAME soak.${backend} COMMAND
        soak --minutes 0.17 --idle-seconds 5 --threads 2 --backend ${backend})
    set_tests_properties(soak.${backend} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 180 LABELS soak)
endforeach()

# ---- the guide -----------------------------------------------------------------------------------------

add_document_test(guide guide "${CMAKE_C_COMPILER}")
add_document_test(porting porting "${CMAKE_C_COMPILER}")

# ---- system calls of an operation --------------------------------------------------------------------

add_executable(count_calls test/count_calls.c)
target_link_libraries(count_calls PRIVATE test_support)
add_test(NAME count_calls COMMAND
    "${Python3_EXECUTABLE}" "${CMAKE_CURRENT_SOURCE_DIR}/test/count_calls.py" $<TARGET_FILE:count_calls>)
set_tests_properties(count_calls PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 180)

# ---- manners of a guest ------------------------------------------------------------------------------

# Each program is a test of its own, with the shared library and with the static one. Those of the
# first list are about the shared library as a file, and not linked with it.
set(guests_unlinked guest_dlopen guest_symbols)
file(GLOB guest_sources CONFIGURE_DEPENDS test/guest_*.c)
list(FILTER guest_sources EXCLUDE REGEX "guest_(support|load)\\.c$")

add_library(guest_support OBJECT test/guest_support.c)
target_link_libraries(guest_support PUBLIC loop_program)

function(add_guest_test program source)
    add_executable(${program} "${source}" ${ARGN})
    target_link_libraries(${program} PRIVATE guest_support ${CMAKE_DL_LIBS})
    add_test(NAME ${program} COMMAND ${program})
    set_tests_properties(${program} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 180)
endfunction()

foreach(source IN LISTS guest_sources)
    cmake_path(GET source STEM name)
    if(name IN_LIST guests_unlinked)
        add_guest_test(${name} "${source}")
        add_dependencies(${name} loop_build)
        target_include_directories(${name} PRIVATE include)
        target_compile_definitions(${name} PRIVATE "LOOP_LIBRARY=\"${loop_shared}\"")
    else()
        foreach(kind IN ITEMS loop static)
            add_guest_test(${name}.${kind} "${source}" test/guest_load.c)
            target_link_libraries(${name}.${kind} PRIVATE loop::${kind})
        endforeach()
    endif()
endforeach()

# A C++ host; there may be no compiler for one.
if(CMAKE_CXX_COMPILER)
    add_guest_test(guest_exception test/guest_exception.cpp)
    target_link_libraries(guest_exception PRIVATE loop::loop)
endif()

# ---- packaging and documents -------------------------------------------------------------------------

include(cmake/package_tests.cmake)
