# Tests of what is given away: the installation, the packages, the documents, and the paths of a new user.

# add_script_test NAME SECONDS SCRIPT ARGUMENT...: a script in test/ with the compilers of this build.
function(add_script_test name seconds script)
    add_test(NAME ${name} COMMAND ${CMAKE_COMMAND} -E env
        "CC=${CMAKE_C_COMPILER}" "CXX=${CMAKE_CXX_COMPILER}"
        "${CMAKE_CURRENT_SOURCE_DIR}/test/${script}" ${ARGN})
    set_tests_properties(${name} PROPERTIES TIMEOUT ${seconds})
endfunction()

add_script_test(reproducible 300 reproducible.sh "${CMAKE_CURRENT_BINARY_DIR}")
add_script_test(abi_breaks 300 abi_breaks.sh)
if(LOOP_INSTALL AND CMAKE_CXX_COMPILER)
    add_script_test(install 600 install.sh "${CMAKE_CURRENT_BINARY_DIR}" "${CMAKE_INSTALL_LIBDIR}")
endif()

# All build in the source tree as documented, which is one place.
foreach(language IN ITEMS c cpp python)
    add_script_test(new_user_${language} 300 new_user_${language}.sh)
    set_tests_properties(new_user_${language} PROPERTIES RESOURCE_LOCK install)
endforeach()

add_script_test(reference 120 docs.sh)
