# Installs into a staging directory (DESTDIR), and builds and runs a program on what is there: by
# find_package with both libraries, and by pkg-config. For cmake -P, with BUILD, SOURCE, CC and LIBDIR set.

set(stage "${BUILD}/test_install")
set(prefix "${stage}/root/opt/loop")
set(example "${SOURCE}/examples_c/next_tick.c")
file(REMOVE_RECURSE "${stage}")

function(run)
    execute_process(COMMAND ${ARGV} COMMAND_ERROR_IS_FATAL ANY OUTPUT_VARIABLE output ECHO_OUTPUT_VARIABLE)
    set(output "${output}" PARENT_SCOPE)
endfunction()

set(ENV{DESTDIR} "${stage}/root")
run(${CMAKE_COMMAND} --install "${BUILD}" --prefix /opt/loop)
unset(ENV{DESTDIR})

run(${CMAKE_COMMAND} -S "${SOURCE}/cmake/consumer" -B "${stage}/build"
    "-DCMAKE_C_COMPILER=${CC}" "-DCMAKE_PREFIX_PATH=${prefix}" "-DEXAMPLE=${example}")
run(${CMAKE_COMMAND} --build "${stage}/build")
run("${stage}/build/with_shared")
run("${stage}/build/with_static")

set(ENV{PKG_CONFIG_PATH} "${prefix}/${LIBDIR}/pkgconfig")
run(pkg-config --cflags --libs libloop)
separate_arguments(flags UNIX_COMMAND "${output}")
run("${CC}" "${example}" ${flags} "-Wl,-rpath,${prefix}/${LIBDIR}" -o "${stage}/with_pkg_config")
run("${stage}/with_pkg_config")
