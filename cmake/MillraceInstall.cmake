# Installs the static libraries, their headers, the programs, and the package that find_package(millrace) reads.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/millrace)
set(libraries millrace)
set(header_dirs core layers losses optim nets)
set(millrace_dependencies "")
if(MILLRACE_HAVE_ONEDNN)
  string(APPEND millrace_dependencies "list(APPEND CMAKE_MODULE_PATH \${CMAKE_CURRENT_LIST_DIR})\n"
                                      "find_dependency(OneDNN)\n")
  install(FILES cmake/FindOneDNN.cmake DESTINATION ${package_dir})
endif()
if(MILLRACE_DATA)
  list(APPEND libraries millrace_data)
  list(APPEND header_dirs data)
  set_target_properties(millrace_data PROPERTIES EXPORT_NAME data)
  string(APPEND millrace_dependencies "find_dependency(PNG)\n"
                                      "find_dependency(PkgConfig)\n"
                                      "pkg_check_modules(turbojpeg REQUIRED QUIET IMPORTED_TARGET libturbojpeg)\n")
  if(MILLRACE_HAVE_VIDEO)
    string(APPEND millrace_dependencies "pkg_check_modules(ffmpeg REQUIRED QUIET IMPORTED_TARGET "
                                        "libavformat libavcodec libavutil libswscale)\n")
  endif()
endif()

install(TARGETS ${libraries} EXPORT millraceTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT millraceTargets NAMESPACE millrace:: DESTINATION ${package_dir})
foreach(dir IN LISTS header_dirs)
  install(DIRECTORY ${dir} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/millrace FILES_MATCHING PATTERN "*.h")
endforeach()

configure_package_config_file(cmake/millraceConfig.cmake.in ${CMAKE_BINARY_DIR}/millraceConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/millraceConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/millraceConfig.cmake ${CMAKE_BINARY_DIR}/millraceConfigVersion.cmake
        DESTINATION ${package_dir})

if(MILLRACE_APPS)
  get_property(programs DIRECTORY apps PROPERTY BUILDSYSTEM_TARGETS)
  foreach(program IN LISTS programs)
    get_target_property(type ${program} TYPE)
    if(type STREQUAL "EXECUTABLE")
      install(TARGETS ${program} RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
    endif()
  endforeach()
endif()
