# The Python package: its tests, and CPython's own tests of asyncio on its event loop, on both backends.

# Debian has CPython's tests and aiohttp for its own interpreter, which need not be the first in PATH.
find_program(LOOP_PYTHON python3 PATHS /usr/bin NO_DEFAULT_PATH)
if(NOT LOOP_PYTHON)
    find_package(Python3 REQUIRED COMPONENTS Interpreter)
    set(LOOP_PYTHON "${Python3_EXECUTABLE}")
endif()

set(python_environment
    "LIBLOOP_LIBRARY=${loop_shared}" "PYTHONPATH=${CMAKE_CURRENT_SOURCE_DIR}/python/src"
    "PYTHONDONTWRITEBYTECODE=1" "CC=${CMAKE_C_COMPILER}")

# add_python_test(NAME BACKEND SCRIPT ARGUMENT...)
function(add_python_test name backend script)
    add_test(NAME ${name} COMMAND
        "${LOOP_PYTHON}" "${CMAKE_CURRENT_SOURCE_DIR}/python/tests/${script}" ${ARGN})
    set_tests_properties(${name} PROPERTIES
        SKIP_RETURN_CODE 77 TIMEOUT 300 ENVIRONMENT "${python_environment};LIBLOOP_BACKEND=${backend}")
endfunction()

add_python_test(python.abi auto test_abi.py)
add_python_test(python.wheel auto test_wheel.py)
add_python_test(python.guide auto test_guide.py)
add_python_test(python.types auto test_types.py)
foreach(backend IN ITEMS io_uring epoll)
    foreach(part IN ITEMS loop event_loop process aiohttp)
        add_python_test(python.${part}.${backend} ${backend} test_${part}.py)
    endforeach()
    # The modules that put the loop to work; cpython_suite.py without arguments runs all.
    add_python_test(python.cpython.${backend} ${backend} cpython_suite.py
        test_events test_sock_lowlevel test_sendfile test_server test_buffered_proto test_streams)
endforeach()
add_python_test(python.cpython_more auto cpython_suite.py test_unix_events test_sslproto)
