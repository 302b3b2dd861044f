# The programs in examples_c/: each file is one, with the parts that are in the folder of its name; and a test
# that fails when its exit status is not 0.

include(CheckLanguage)
check_language(CXX)
if(CMAKE_CXX_COMPILER)
    enable_language(CXX)
    set(example_in_cxx examples_c/*.cpp)
endif()

# One is about a library that is not everywhere.
find_package(PkgConfig QUIET)
if(PkgConfig_FOUND)
    pkg_check_modules(glib QUIET IMPORTED_TARGET glib-2.0)
endif()

# add_example(SOURCE [PART]...): a program, as target example_NAME.
function(add_example source)
    cmake_path(GET source STEM name)
    add_executable(example_${name} "${source}" ${ARGN})
    target_link_libraries(example_${name} PRIVATE loop::loop loop_program)
    set_target_properties(example_${name} PROPERTIES
        OUTPUT_NAME ${name}
        RUNTIME_OUTPUT_DIRECTORY "${CMAKE_CURRENT_BINARY_DIR}/examples")
endfunction()

file(GLOB example_sources CONFIGURE_DEPENDS examples_c/*.c ${example_in_cxx})
if(NOT glib_FOUND)
    list(FILTER example_sources EXCLUDE REGEX "/embed_glib\\.c$")
endif()
foreach(source IN LISTS example_sources)
    cmake_path(GET source STEM name)
    file(GLOB parts CONFIGURE_DEPENDS examples_c/${name}/*.c)
    add_example("${source}" ${parts})
    list(APPEND examples ${name})
endforeach()
if(TARGET example_embed_glib)
    target_link_libraries(example_embed_glib PRIVATE PkgConfig::glib)
endif()

# Those that use loop.hpp, most of them with coroutines.
if(CMAKE_CXX_COMPILER)
    file(GLOB cpp_example_sources CONFIGURE_DEPENDS examples_cpp/*.cpp)
    foreach(source IN LISTS cpp_example_sources)
        cmake_path(GET source STEM name)
        add_example("${source}")
        target_compile_features(example_${name} PRIVATE cxx_std_20)
        list(APPEND examples ${name})
    endforeach()
    set_target_properties(example_callbacks PROPERTIES CXX_STANDARD 17)
endif()

if(NOT LOOP_BUILD_TESTS)
    return()
endif()

# These need arguments; the others run without.
list(REMOVE_ITEM examples checksum checksum_coroutines http_server)
foreach(name IN LISTS examples)
    add_test(NAME example_${name} COMMAND example_${name})
    set_tests_properties(example_${name} PROPERTIES TIMEOUT 120)
endforeach()

# On a real tree that is always there, compared with cksum.
foreach(name IN ITEMS checksum checksum_coroutines)
    if(NOT TARGET example_${name})
        continue()
    endif()
    add_test(NAME example_${name} COMMAND bash -c [=[
        set -o pipefail
        "$1" "$2" | cmp - <(find "$2" -type f -print0 | LC_ALL=C sort -z | xargs -0 cksum)
    ]=] example_${name} $<TARGET_FILE:example_${name}> "${CMAKE_ROOT}/Modules")
    set_tests_properties(example_${name} PROPERTIES TIMEOUT 120)
endforeach()

find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND)
    file(GLOB python_sources CONFIGURE_DEPENDS examples_c/*.py)
    foreach(source IN LISTS python_sources)
        cmake_path(GET source FILENAME name)
        add_test(NAME example_${name} COMMAND Python3::Interpreter "${source}")
        set_tests_properties(example_${name} PROPERTIES
            TIMEOUT 120 ENVIRONMENT "LIBLOOP_LIBRARY=${loop_shared}")
    endforeach()
endif()
