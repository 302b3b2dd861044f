# Installation: both libraries, the header, and what pkg-config and find_package(loop) want.

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
