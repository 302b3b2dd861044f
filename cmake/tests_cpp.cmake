# The tests of loop.hpp: suites in every configuration of the loop, without exceptions, and by another
# compiler.

include(CheckLanguage)
check_language(CXX)
if(NOT CMAKE_CXX_COMPILER)
    return()
endif()
enable_language(CXX)
find_package(doctest REQUIRED)

# Parameters with the names of locals around them are no mistake in coroutines, which should not capture.
file(GLOB cpp_sources test/cpp_*.cpp)
set_source_files_properties(${cpp_sources} PROPERTIES COMPILE_OPTIONS -Wno-shadow)

set(suites_cxx17 cpp_types cpp_callbacks cpp_timers)
set(suites_cxx20 ${suites_cxx17} cpp_coroutines cpp_tasks cpp_combine cpp_groups cpp_generators)
foreach(standard IN ITEMS 17 20)
    add_library(cpp_support_cxx${standard} OBJECT test/cpp_support.cpp)
    target_compile_features(cpp_support_cxx${standard} PUBLIC cxx_std_${standard})
    target_link_libraries(cpp_support_cxx${standard} PUBLIC loop_program loop::loop doctest::doctest)
    foreach(suite IN LISTS suites_cxx${standard})
        set(program ${suite}_cxx${standard})
        add_executable(${program} test/${suite}.cpp)
        target_link_libraries(${program} PRIVATE cpp_support_cxx${standard})
        add_loop_tests(${program})
    endforeach()

    set(program cpp_without_exceptions_cxx${standard})
    add_executable(${program} test/cpp_without_exceptions.cpp)
    target_compile_features(${program} PRIVATE cxx_std_${standard})
    target_compile_options(${program} PRIVATE -fno-exceptions -fno-rtti -fno-sanitize=vptr)
    target_link_libraries(${program} PRIVATE loop::loop loop_program)
    add_test(NAME ${program} COMMAND ${program})
    set_tests_properties(${program} PROPERTIES TIMEOUT 180 ENVIRONMENT "${sanitizer_options}")
endforeach()

if(LOOP_SANITIZE)
    return()
endif()

find_package(Python3 REQUIRED COMPONENTS Interpreter)
add_document_test(guide_cpp cpp "${CMAKE_CXX_COMPILER}")

# Where Clang is there beside another compiler: the suites of coroutines by it, with optimisation.
find_program(LOOP_CLANGXX clang++)
if(LOOP_CLANGXX AND NOT CMAKE_CXX_COMPILER_ID MATCHES Clang)
    add_test(NAME cpp_clang COMMAND "${CMAKE_CURRENT_SOURCE_DIR}/test/cpp_compiler.sh"
        "${LOOP_CLANGXX}" "${loop_shared}" cpp_coroutines cpp_tasks cpp_combine cpp_groups cpp_generators)
    set_tests_properties(cpp_clang PROPERTIES TIMEOUT 300)
endif()
