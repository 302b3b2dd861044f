# Installation: both libraries, the header, what pkg-config and find_package(loop) want, the manual, the
# documents and examples; apart, as component `debug`, what debuggers want; and the target `uninstall`.

include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

install(FILES "${loop_shared}" DESTINATION "${CMAKE_INSTALL_LIBDIR}"
    PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE GROUP_READ GROUP_EXECUTE WORLD_READ WORLD_EXECUTE)
install(FILES ${loop_links} "${loop_archive}" DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(FILES include/loop.h include/loop.hpp DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}")
install(DIRECTORY include/loop DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}" FILES_MATCHING PATTERN "*.hpp")

# The paths in the .pc file are relative to itself, so that the tree may be moved.
set(pc_directory "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
cmake_path(RELATIVE_PATH CMAKE_INSTALL_PREFIX
    BASE_DIRECTORY "${CMAKE_INSTALL_PREFIX}/${pc_directory}" OUTPUT_VARIABLE LOOP_PC_TO_PREFIX)
configure_file(cmake/libloop.pc.in libloop.pc @ONLY)
install(FILES "${CMAKE_CURRENT_BINARY_DIR}/libloop.pc" DESTINATION "${pc_directory}")

# IMPORTED targets cannot be exported by CMake, so the package file is written by hand.
set(config_directory "${CMAKE_INSTALL_LIBDIR}/cmake/loop")
configure_package_config_file(cmake/loopConfig.cmake.in loopConfig.cmake
    INSTALL_DESTINATION "${config_directory}"
    PATH_VARS CMAKE_INSTALL_INCLUDEDIR CMAKE_INSTALL_LIBDIR)
write_basic_package_version_file(loopConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES
    "${CMAKE_CURRENT_BINARY_DIR}/loopConfig.cmake" "${CMAKE_CURRENT_BINARY_DIR}/loopConfigVersion.cmake"
    DESTINATION "${config_directory}")

install(FILES "${loop_shared}.debug" DESTINATION "${CMAKE_INSTALL_LIBDIR}/.debug"
    COMPONENT debug EXCLUDE_FROM_ALL)

# ---- manual, documents, examples ---------------------------------------------------------------------

find_package(Python3 COMPONENTS Interpreter)
if(Python3_FOUND)
    set(manual "${CMAKE_CURRENT_BINARY_DIR}/man")
    add_custom_command(
        OUTPUT "${manual}/man7/libloop.7"
        COMMAND Python3::Interpreter "${CMAKE_CURRENT_SOURCE_DIR}/docs/reference/manual.py"
                "${CMAKE_CURRENT_SOURCE_DIR}/include/loop.h" "${manual}"
        DEPENDS include/loop.h docs/reference/manual.py docs/reference/header.py
        COMMENT "Writing the manual"
        VERBATIM)
    add_custom_target(loop_manual ALL DEPENDS "${manual}/man7/libloop.7")
    install(DIRECTORY "${manual}/" DESTINATION "${CMAKE_INSTALL_MANDIR}")
else()
    message(STATUS "No Python: the pages of the manual are left out")
endif()

set(documents "${CMAKE_INSTALL_DATAROOTDIR}/doc/libloop")
install(FILES LICENSE README.md CHANGELOG.md SECURITY.md DESTINATION "${documents}")
install(DIRECTORY docs/ DESTINATION "${documents}/docs" FILES_MATCHING PATTERN "*.md"
    PATTERN charts EXCLUDE PATTERN reference EXCLUDE)
install(DIRECTORY examples_c examples_cpp DESTINATION "${documents}" PATTERN __pycache__ EXCLUDE)

add_custom_target(uninstall
    COMMAND ${CMAKE_COMMAND} "-DMANIFEST=${CMAKE_CURRENT_BINARY_DIR}/install_manifest.txt"
            -P "${CMAKE_CURRENT_SOURCE_DIR}/cmake/uninstall.cmake"
    VERBATIM)
