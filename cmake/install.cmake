# What `cmake --install` puts where, and how others find it: find_package(coeus) gives them every
# library of src/coeus/ as coeus::NAME (coeus::mask, coeus::models, coeus::train, …).
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package_folder ${CMAKE_INSTALL_LIBDIR}/cmake/coeus)

# coeus_libraries_below(FOLDER VARIABLE): appends the folder's libraries and those of its subfolders.
function(coeus_libraries_below folder variable)
  get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
  get_property(subfolders DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
  set(libraries ${${variable}})
  foreach(target ${targets})
    get_target_property(type ${target} TYPE)
    if(type MATCHES "_LIBRARY$")
      list(APPEND libraries ${target})
    endif()
  endforeach()
  foreach(subfolder ${subfolders})
    coeus_libraries_below(${subfolder} libraries)
  endforeach()
  set(${variable} ${libraries} PARENT_SCOPE)
endfunction()

set(libraries coeus_options)
get_property(folders DIRECTORY PROPERTY SUBDIRECTORIES)
set(sources ${CMAKE_SOURCE_DIR}/src)
foreach(folder ${folders})
  cmake_path(IS_PREFIX sources ${folder} is_library)
  if(is_library)
    coeus_libraries_below(${folder} libraries)
  endif()
endforeach()
foreach(library ${libraries})
  string(REGEX REPLACE "^coeus_" "" name ${library})
  set_target_properties(${library} PROPERTIES EXPORT_NAME ${name})
endforeach()
install(TARGETS ${libraries} EXPORT coeus ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})

# Installed programs are stripped of the run path that found LibTorch in the build.
set_target_properties(coeus PROPERTIES INSTALL_RPATH ${COEUS_TORCH_ROOT}/lib)
install(TARGETS coeus RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})

# All headers but those that serve tests alone.
install(DIRECTORY ${CMAKE_SOURCE_DIR}/src/coeus DESTINATION include
        FILES_MATCHING PATTERN "*.h"
        PATTERN testdata EXCLUDE
        PATTERN "test_*.h" EXCLUDE
        PATTERN "*_test.h" EXCLUDE
        PATTERN base/config_example.h EXCLUDE
        PATTERN base/temporary_folder.h EXCLUDE
        PATTERN checkpoint/sharded_run.h EXCLUDE
        PATTERN checkpoint/thread_ranks.h EXCLUDE
        PATTERN "random_*.h" EXCLUDE)

configure_package_config_file(cmake/coeusConfig.cmake.in ${CMAKE_BINARY_DIR}/coeusConfig.cmake
                              INSTALL_DESTINATION ${package_folder})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/coeusConfigVersion.cmake
                                 COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/coeusConfig.cmake ${CMAKE_BINARY_DIR}/coeusConfigVersion.cmake
              cmake/libtorch.cmake
        DESTINATION ${package_folder})
install(EXPORT coeus NAMESPACE coeus:: FILE coeusTargets.cmake DESTINATION ${package_folder})
install(FILES LICENSE NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR})
